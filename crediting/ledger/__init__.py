"""What lies between evaluating and estimating: fingerprints, the store and the ledger."""

from crediting.ledger.fingerprint import SCHEMA_VERSION, canonical_json, fingerprint, short
from crediting.ledger.ledger import Disagreement, Failure, Ledger
from crediting.ledger.store import Production, Store, atomic_write_bytes, atomic_write_text

__all__ = [
    "SCHEMA_VERSION",
    "Disagreement",
    "Failure",
    "Ledger",
    "Production",
    "Store",
    "atomic_write_bytes",
    "atomic_write_text",
    "canonical_json",
    "fingerprint",
    "short",
]
