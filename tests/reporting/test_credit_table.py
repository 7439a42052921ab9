import subprocess
import sys

import numpy as np
import pytest

from crediting.game.attribution import exactly
from crediting.reporting import COLUMNS, credit_table


def test_columns_are_fixed():
    assert COLUMNS == (
        "contributor",
        "examples",
        "credit",
        "std_error",
        "ci_low",
        "ci_high",
        "share",
        "rank",
    )


def exact_table(higher_is_better: bool):
    attribution = exactly(np.array([1.0, -3.0, 2.0]), 5.0, 5.0, "exact", 8)
    return credit_table(attribution, "abc", [7, 8, 9], "fid", "FID", higher_is_better)


def test_highest_credit_ranks_first_where_higher_is_better():
    table = exact_table(higher_is_better=True)
    assert [(row.contributor, row.examples, row.rank) for row in table.rows] == [
        ("c", 9, 1),
        ("a", 7, 2),
        ("b", 8, 3),
    ]
    assert "negative" not in " ".join(table.caption)


def test_most_negative_credit_ranks_first_where_lower_is_better():
    table = exact_table(higher_is_better=False)
    assert [row.contributor for row in table.rows] == ["b", "a", "c"]
    assert [row.credit for row in table.rows] == [-3.0, 1.0, 2.0]
    assert "lower is better; negative credit lowers fid, i.e. improves it" in table.caption[0]


def test_caption_states_every_fact(make_table):
    caption = " ".join(make_table(5).caption)
    for fact in ("inception_score [score]", "higher is better", "kernel_shap", "512 coalitions"):
        assert fact in caption
    for fact in ("v(N) = ", "v(empty) = 1.02", "efficiency gap = 0.001", "confidence level 95%"):
        assert fact in caption


def test_caption_names_exact_and_unknown_uncertainty(make_table):
    assert "no sampling error" in exact_table(True).caption[1]
    assert "uncertainty unknown" in make_table(known=False).caption[1]


def test_numbers_are_plain_python(make_table):
    for row in make_table().rows:
        assert [type(cell) for cell in row] == [str, int, float, float, float, float, float, int]


def test_names_must_match_credits(make_attribution):
    with pytest.raises(ValueError, match="zip"):
        credit_table(make_attribution(3), ["a", "b"], [1, 2, 3], "fid", "FID", False)


def test_importing_the_package_stays_cheap():
    code = (
        "import sys, crediting.reporting;"
        "print({'matplotlib', 'rich', 'torch'} & {m.split('.')[0] for m in sys.modules})"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
