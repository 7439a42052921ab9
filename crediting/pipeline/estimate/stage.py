"""Stage estimate: from the ledger to credits. Evaluates nothing."""

import numpy as np
from numpy.typing import NDArray

from crediting.errors import LedgerError
from crediting.game.coalition import CoalitionMatrix, coalition_keys, first_appearances
from crediting.game.game import EvaluatedSample
from crediting.game.noise import noise_of_means
from crediting.ledger import Ledger
from crediting.pipeline.address import GameSpec
from crediting.pipeline.estimate.finding import Finding, credits_of
from crediting.pipeline.study import Study
from crediting.progress import say


def estimate(study: Study) -> dict[str, Finding]:
    """Return the credits for every property.

    Raises:
        LedgerError: as `read_sample`.
    """
    return {name: _find(study, name) for name in study.properties}


def _find(study: Study, name: str) -> Finding:
    sample = read_sample(study, name)
    left_out = len(study.sample) - len(sample)
    if left_out:
        say(
            f"estimate: {name} without {left_out} of {len(study.sample)} coalitions, "
            "as allow_missing=true allows"
        )
    measured = study.properties[name]
    credits = credits_of(study.estimator, sample)
    return Finding(measured.unit, measured.higher_is_better, sample, credits)


def read_sample(study: Study, name: str, alone: int | None = None) -> EvaluatedSample:
    """Return the design's coalitions with the mean utility of their replicates, or that of one.

    The empty and the grand coalition have the utility of the endpoints, in the design as well. The
    noise is measured over all of them that have every replicate.

    Raises:
        LedgerError: a coalition was not evaluated and allow_missing is off, or it is an end, or the
            others are too few for the estimator.
    """
    sample = study.sample
    asked = slice(None) if alone is None else slice(alone, alone + 1)
    ends = read_replicates(study, study.endpoints, study.ends, name)[:, asked]
    if np.isnan(ends).any():
        raise _not_evaluated(study, study.endpoints, name, "v(N) or v(empty) is")
    values = read_replicates(study, study.game, sample.coalitions, name)[:, asked]
    sizes = sample.coalitions.sum(axis=1)
    values[sizes == 0], values[sizes == len(study.partition)] = ends
    utilities = values.mean(axis=1)
    present = ~np.isnan(utilities)
    if not present.all():
        _judge_missing(study, name, sample.coalitions[~present])
    v_empty, v_full = ends.mean(axis=1)
    both = np.concatenate([study.ends, sample.coalitions[present]])
    once = first_appearances(both)
    evaluated = np.concatenate([ends, values[present]])[once]
    which, replicate = np.indices(evaluated.shape)
    return EvaluatedSample(
        sample.coalitions[present],
        sample.log_probabilities[present],
        utilities[present],
        float(v_empty),
        float(v_full),
        *noise_of_means(evaluated.ravel(), which.ravel(), replicate.ravel()),
        examples=study.partition.sizes,
    )


def read_utilities(
    study: Study, spec: GameSpec, coalitions: CoalitionMatrix, name: str
) -> NDArray[np.float64]:
    """Return mean utilities over replicates, (m,); NaN where a replicate is missing.

    Raises:
        LedgerError: the game has no ledger yet.
    """
    return read_replicates(study, spec, coalitions, name).mean(axis=1)


def read_replicates(
    study: Study, spec: GameSpec, coalitions: CoalitionMatrix, name: str
) -> NDArray[np.float64]:
    """Return the utilities of every replicate, (m, replicates); NaN where one is missing."""
    ledger = Ledger.peek(study.stored_in(spec.address), spec.address.fingerprint)
    if ledger is None:
        raise _not_evaluated(study, spec, name, "the coalitions are")
    with ledger:
        keys = coalition_keys(coalitions)
        return ledger.values(keys, len(study.replicates), study.property_fingerprints[name])


def _judge_missing(study: Study, name: str, missing: CoalitionMatrix) -> None:
    """Raise if the coalitions (k, n) that have no value must not be left out, or are too many.

    Only those may be that were evaluated and failed.
    """
    left_out, drawn = len(missing), len(study.sample)
    if not study.config["allow_missing"]:
        raise _not_evaluated(study, study.game, name, f"{left_out} of {drawn} coalitions are")
    failed = _failed(study, name)
    if never := sum(key not in failed for key in coalition_keys(missing)):
        raise _not_evaluated(study, study.game, name, f"{never} of {drawn} coalitions are")
    least = study.estimator.minimum_coalitions(len(study.partition))
    if drawn - left_out < least:
        raise LedgerError(
            f"{left_out} of {drawn} coalitions have no value of property {name}, and "
            f"estimator={study.estimator.name} needs {least}. Why evaluations failed is in the "
            f"table `failures` of {study.stored_in(study.game.address) / 'ledger.sqlite'}"
        )


def _failed(study: Study, name: str) -> set[str]:
    """Return the keys of the coalitions of which a property could not be measured."""
    measured = study.property_fingerprints[name]
    with study.ledger(study.game) as ledger:
        failures = ledger.failures()
    return {failure.coalition for failure in failures if failure.property_fingerprint == measured}


def _not_evaluated(study: Study, spec: GameSpec, name: str, what: str) -> LedgerError:
    return LedgerError(
        f"{what} not evaluated yet for property {name} in {study.stored_in(spec.address).name}; "
        "run stage=evaluate first, or stage=all"
    )
