"""How many more coalitions and hours until the intervals are half as wide, from how they shrank."""

import math
from collections.abc import Mapping
from contextlib import suppress

import numpy as np

from crediting.errors import LedgerError
from crediting.game.coalition import coalition_keys
from crediting.pipeline.estimate.finding import Finding, estimates_shapley_values
from crediting.pipeline.estimate.stage import read_sample
from crediting.pipeline.evaluate.stopping import FIRST_LOOK
from crediting.pipeline.evaluate.tuning import known_width
from crediting.pipeline.study import Study
from crediting.reporting.forecast import Precision, Spent, forecast, noise_floor


def outlook(study: Study, findings: Mapping[str, Finding], mean_seconds: float) -> str:
    """Return what halving the intervals of a finished study would cost, in a few sentences.

    The rate at which they narrow is that from the first half of the coalitions to all of them,
    which takes the estimator once more. `mean_seconds` is the time of one evaluation.
    """
    half = _half(study)
    precisions = {
        name: _precision(study, half, name, finding) for name, finding in findings.items()
    }
    least = min((finding.sample for finding in findings.values()), key=len)
    known = set(coalition_keys(np.concatenate([study.ends, least.coalitions])))
    with study.recorded(study.game) as ledger:
        known |= set(ledger.coalitions())  # whoever asked for them
    left = 2 ** len(study.partition) - len(known)
    width = known_width(study, study.game)
    spent = Spent(len(least), left, len(study.replicates), mean_seconds, width)
    failed = len(study.sample) - len(least)
    notes = [f"{failed:,} of {len(study.sample):,} coalitions failed, and count as not evaluated."]
    return " ".join([forecast(precisions, spent), *(notes if failed else [])])


def _half(study: Study) -> Study | None:
    """Return the study with half of its budget, in whole pairs, if that tells errors well."""
    budget, n_players = len(study.sample) // 4 * 2, len(study.partition)
    least = max(study.estimator.minimum_coalitions(n_players), FIRST_LOOK * n_players)
    return study.with_budget(budget) if study.can_shrink and budget >= least else None


def _precision(study: Study, half: Study | None, name: str, finding: Finding) -> Precision:
    now, earlier = float(finding.attribution.std_errors.mean()), math.nan
    if half is not None and now > 0:
        with suppress(LedgerError):  # too few are left of them, where some may be missing
            earlier = float(half.estimator(read_sample(half, name)).std_errors.mean())
    growth = 1.0 if half is None else len(study.sample) / len(half.sample)
    return Precision(now, earlier, growth, _floor(study, finding, now))


def _floor(study: Study, finding: Finding, now: float) -> float:
    """Return what noise leaves of the error when nothing is left to evaluate; NaN where unknown."""
    if estimates_shapley_values(study.estimator):
        return noise_floor(finding.sample.n_players, finding.sample.noise_variance)
    return math.nan if study.can_shrink else now  # other values: no more coalitions are in them
