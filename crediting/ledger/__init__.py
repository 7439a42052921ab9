"""What lies between evaluating and estimating: fingerprints, the store and the ledger."""

from crediting.ledger.empty import EmptyLedger
from crediting.ledger.fingerprint import SCHEMA_VERSION, canonical_json, fingerprint, short
from crediting.ledger.ledger import Ledger
from crediting.ledger.store import Production, Store, versions
from crediting.ledger.tables import Disagreement, Failure

__all__ = [
    "SCHEMA_VERSION",
    "Disagreement",
    "EmptyLedger",
    "Failure",
    "Ledger",
    "Production",
    "Store",
    "canonical_json",
    "fingerprint",
    "short",
    "versions",
]
