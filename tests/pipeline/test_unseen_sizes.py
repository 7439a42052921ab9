"""That only some sizes of coalitions are known is said, beforehand and with the credits."""

from dataclasses import replace

import numpy as np
import pytest

from crediting.design import Bernoulli, FixedSize, PairedUniform
from crediting.estimators import KernelBanzhaf, KernelShap, LeaveOneOut
from crediting.estimators.uncertainty import unknown
from crediting.game.coalition import all_coalitions
from crediting.game.game import play
from crediting.game.toy import Gloves
from crediting.pipeline.estimate.finding import credits_of, unseen_sizes
from crediting.pipeline.estimate.pairing import advise


@pytest.mark.parametrize(
    ("sizes", "told"),
    [((5,), "5 of 10"), ((4, 6), "4 to 6 of 10"), ((1, 7), "1 to 7 of 10"), ((1, 8), None)],
)
def test_sizes_at_either_end_are_missed(sizes, told):
    rows = all_coalitions(10)
    chosen = rows[np.isin(rows.sum(axis=1), (0, *sizes, 10))]
    said = unseen_sizes(chosen)
    assert (said is None) if told is None else said.startswith(f"Only coalitions of {told} contr")


def test_designs_that_draw_all_sizes_are_not_remarked_upon():
    for n in (2, 3, 10, 60):
        assert unseen_sizes(PairedUniform(3 * n, 0, ends=True).sample(n).coalitions) is None
    assert unseen_sizes(np.zeros((1, 4), dtype=bool)) is None


def test_it_is_said_of_shapley_values_alone(capsys):
    drawn = Bernoulli(200, 0).sample(40)
    shapley = KernelShap(0.95, 50, 0)
    found = credits_of(shapley, play(Gloves(20, 20), drawn))
    assert "of 40 contributors are known, and all sizes count alike" in found.explanation
    banzhaf = credits_of(KernelBanzhaf(0.95), play(Gloves(20, 20), drawn))
    assert "all sizes count alike" not in banzhaf.explanation
    advise(shapley, drawn.coalitions)
    assert found.explanation.split(":")[0] in capsys.readouterr().err
    advise(LeaveOneOut(0.95), FixedSize(0.9, 1, 0).sample(10).coalitions)
    assert "all sizes count alike" not in capsys.readouterr().err


def test_it_is_said_after_what_an_estimator_explains_itself():
    class Own:
        name = "own"

        def __call__(self, sample):
            return replace(unknown(np.zeros(40), sample, "own"), explanation="All are equal.")

    found = credits_of(Own(), play(Gloves(20, 20), Bernoulli(200, 0).sample(40)))
    assert found.explanation.startswith("All are equal. Only coalitions of ")
