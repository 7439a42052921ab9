"""Stage estimate: from the ledger to credits. Evaluates nothing."""

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, coalition_key
from crediting.game.game import EvaluatedSample
from crediting.ledger import Ledger
from crediting.pipeline.study import GameSpec, Study


def estimate(study: Study) -> dict[str, Attribution]:
    """Return the credits for every property.

    Raises:
        LedgerError: coalitions of the design are not in the ledger and allow_missing is off.
    """
    return {name: study.estimator(read_sample(study, name)) for name in study.properties}


def read_sample(study: Study, name: str) -> EvaluatedSample:
    """Return the design's coalitions with the mean utility of their replicates."""
    sample = study.sample
    utilities = read_utilities(study, study.game, sample.coalitions, name)
    v_empty, v_full = read_utilities(study, study.endpoints, study.ends, name)
    if np.isnan([v_empty, v_full]).any():
        raise LedgerError(_not_evaluated(study, name, "v(N) or v(empty) is"))
    present = ~np.isnan(utilities)
    if not present.all() and not study.config["allow_missing"]:
        raise LedgerError(
            _not_evaluated(study, name, f"{(~present).sum()} coalitions of the design are")
        )
    return EvaluatedSample(
        sample.coalitions[present],
        sample.log_probabilities[present],
        utilities[present],
        float(v_empty),
        float(v_full),
    )


def read_utilities(
    study: Study, spec: GameSpec, coalitions: CoalitionMatrix, name: str
) -> NDArray[np.float64]:
    """Return mean utilities over replicates, (m,); NaN where a replicate is missing.

    Raises:
        LedgerError: the game has no ledger yet.
    """
    address = spec.address
    folder = study.store.folder(address.stage, address.fingerprint)
    ledger = Ledger.peek(folder, address.fingerprint)
    if ledger is None:
        raise LedgerError(_not_evaluated(study, name, "no coalition is"))
    with ledger:
        keys = [coalition_key(row) for row in coalitions]
        values = ledger.values(keys, len(study.replicates), study.property_fingerprints[name])
    return values.mean(axis=1)


def _not_evaluated(study: Study, name: str, what: str) -> str:
    return (
        f"{what} evaluated yet for property {name} in {study.folder_name(study.game)}; "
        "run stage=evaluate first, or stage=all"
    )
