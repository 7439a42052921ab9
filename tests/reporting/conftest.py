from collections.abc import Callable

import numpy as np
import pytest

from crediting.game.attribution import Attribution
from crediting.reporting.table import CreditTable, credit_table

MakeTable = Callable[..., CreditTable]


TOP = 3


def an_attribution(n: int, known: bool = True) -> Attribution:
    rng = np.random.default_rng(n)
    credits = rng.normal(0.05, 0.1, n)
    errors = rng.uniform(0.01, 0.04, n) if known else np.full(n, np.nan)
    return Attribution(
        credits=credits,
        std_errors=errors,
        ci_low=credits - 1.96 * errors,
        ci_high=credits + 1.96 * errors,
        noise_errors=errors / 2,
        draws=credits + errors * rng.normal(size=(1000 if known else 0, n)),
        confidence=0.95 if known else float("nan"),
        v_empty=1.02,
        v_full=float(1.02 + credits.sum() + 0.001),
        estimator="kernel_shap",
        n_coalitions=512,
        explanation="",
    )


def without_errors(credits, v_empty: float, v_full: float) -> Attribution:
    credits = np.asarray(credits, dtype=float)
    return Attribution(
        credits=credits,
        std_errors=np.zeros_like(credits),
        ci_low=credits,
        ci_high=credits,
        noise_errors=np.full_like(credits, np.nan),
        draws=credits[None],
        confidence=0.95,
        v_empty=v_empty,
        v_full=v_full,
        estimator="exact",
        n_coalitions=2 ** len(credits),
        explanation="",
    )


@pytest.fixture
def exactly() -> Callable[..., Attribution]:
    """Return a function of credits (n,) and both ends that gives an attribution without errors."""
    return without_errors


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
        return credit_table(attribution, names, counts, name, unit, higher_is_better, TOP)

    return make
