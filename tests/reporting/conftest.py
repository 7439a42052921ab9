from collections.abc import Callable

import numpy as np
import pytest

from crediting.game.attribution import Attribution
from crediting.reporting import CreditTable, credit_table

MakeTable = Callable[..., CreditTable]


def an_attribution(n: int, known: bool = True) -> Attribution:
    rng = np.random.default_rng(n)
    credits = rng.normal(0.05, 0.1, n)
    errors = rng.uniform(0.01, 0.04, n) if known else np.full(n, np.nan)
    low, high = credits - 1.96 * errors, credits + 1.96 * errors
    v_full = float(1.02 + credits.sum() + 0.001)
    return Attribution(credits, errors, low, high, 0.95, 1.02, v_full, "kernel_shap", 512)


@pytest.fixture
def make_attribution() -> Callable[..., Attribution]:
    return an_attribution


@pytest.fixture
def make_table() -> MakeTable:
    def make(n: int = 5, higher_is_better: bool = True, known: bool = True, names=None):
        names = names or [f"artist {i:03d}" for i in range(n)]
        attribution = an_attribution(len(names), known)
        name, unit = ("inception_score", "score") if higher_is_better else ("fid", "FID")
        counts = range(1, len(names) + 1)
        return credit_table(attribution, names, counts, name, unit, higher_is_better)

    return make
