"""Credits from a table of utilities: what is read, refused, compared and written."""

import csv
import hashlib
import json
import math
from dataclasses import replace
from typing import ClassVar

import numpy as np
import pytest

from crediting import config
from crediting.errors import ConfigError, DataError
from crediting.estimators import Exact
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample, play
from crediting.game.toy import Additive, SymmetricMajority, UnanimitySum
from crediting.pipeline import recorded
from crediting.pipeline.estimate.against_exact import Comparison
from crediting.pipeline.report import tables

NAMES = ["ann", "bob", "cem", "dan"]
TOY = UnanimitySum.random(4, (4, 3, 2), seed=0)
OTHER = Additive((4.0, -1.0, 0.0, 2.0))


def write(path, rows, header=(*NAMES, "toy", "fid")):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def rows_of(coalitions):
    return [
        [*row.astype(int), *values]
        for row, *values in zip(coalitions, TOY(coalitions), OTHER(coalitions), strict=True)
    ]


@pytest.fixture
def table(tmp_path):
    """Return a table of all coalitions of two games."""
    return write(tmp_path / "game.csv", rows_of(all_coalitions(4)))


@pytest.fixture
def run(resolved, tmp_path):
    """Return a function that runs `credit +experiment=recorded game.path=... <overrides>`."""

    def run_recorded(path, *overrides):
        words = ["+experiment=recorded", f"game.path={path}", *overrides]
        plain = resolved(*words, f"paths.outputs={tmp_path / 'outputs'}")
        recorded.run(plain, config.build(plain, recorded.GROUPS), words)
        return tmp_path / "outputs/studies" / plain["name"]

    return run_recorded


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def credits_in(path):
    by_name = {row["contributor"]: float(row["credit"]) for row in read(path)}
    return [by_name[name] for name in NAMES]


def test_a_column_that_cannot_name_a_file_is_refused(run, tmp_path):
    header = (*NAMES, "toy", "eval/fid")
    path = write(tmp_path / "slash.csv", rows_of(all_coalitions(4)), header)
    with pytest.raises(DataError, match=r"'eval/fid' does not allow; rename it, or leave it out"):
        run(path)
    run(path, "game.properties=[toy]")


# ------------------------------------------------------------------------------ what comes out


def test_all_rows_give_the_values_of_the_game_and_every_file(run, table, capsys):
    folder = run(table, "estimator=exact", "game.lower_is_better=[fid]")
    for name, game in (("toy", TOY), ("fid", OTHER)):
        np.testing.assert_allclose(
            credits_in(folder / f"shapley_{name}.csv"), game.shapley_values, rtol=0, atol=1e-12
        )
        for row in read(folder / f"exact_{name}.csv"):
            assert float(row["error"]) == pytest.approx(0, abs=1e-12)
        ranks = read(folder / f"ranks_{name}.csv")
        assert [row["contributor"] for row in ranks] == NAMES
        assert [sum(map(float, list(row.values())[1:])) for row in ranks] == [1] * 4
        (first,) = [row["contributor"] for row in ranks if float(row["1"]) == 1]
        assert first == read(folder / f"shapley_{name}.csv")[0]["contributor"]
        turned = "turns the signs round" in (folder / f"interactions_{name}.md").read_text()
        assert turned == (name == "fid")
    assert first == "bob"  # who lowers it
    endings = {f"{kind}_{name}" for kind in ("shapley", "interactions") for name in ("toy", "fid")}
    assert endings <= {path.stem for path in folder.glob("*.png")}
    printed = capsys.readouterr()
    said = "4 contributors (ann, bob, cem, dan), all 16 coalitions on 16 rows, properties toy, fid"
    assert f"{said}; lower is better for fid\n" in printed.err
    assert "4 of 4 exact values lie in their intervals" in " ".join(printed.out.split())


def test_that_no_property_is_named_as_lower_is_better_is_said(run, table, capsys):
    run(table, "estimator=exact")
    said = "properties toy, fid; higher is better for each, as game.lower_is_better names none\n"
    assert said in capsys.readouterr().err


def test_colours_of_interactions_mean_the_opposite_where_lower_is_better(run, table, monkeypatch):
    drawn = {}
    monkeypatch.setattr(tables, "interaction_chart", lambda *told: drawn.update({told[2]: told[4]}))
    run(table, "estimator=exact", "game.lower_is_better=[fid]")
    assert drawn == {"toy": True, "fid": False}


def test_the_manifest_tells_the_table_apart(run, table):
    folder = run(table, "estimator=kernel_shap", "seed=3")
    manifest = json.loads((folder / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert manifest["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert manifest["contributors"] == NAMES
    assert manifest["config"]["estimator"]["seed"] == manifest["seed"] == 3
    assert {"dataset", "model", "design"} & set(manifest["config"]) == set()
    assert manifest["properties"]["toy"]["noise_variance"] is None
    assert manifest["properties"]["toy"]["squared_error"] == pytest.approx(0, abs=1e-12)
    assert manifest["sha256"] in (folder / "report.md").read_text()


def test_replicates_give_the_noise_error(run, tmp_path):
    noise = np.random.default_rng(0).normal(size=(3, 16, 2))
    repeated = np.array([rows_of(all_coalitions(4))] * 3)
    repeated[:, :, 4:] += noise
    folder = run(write(tmp_path / "noisy.csv", repeated.reshape(-1, 6)), "estimator=exact")
    rows = read(folder / "shapley_toy.csv")
    manifest = json.loads((folder / "manifest.json").read_text())
    residuals = noise[..., 0] - noise[..., 0].mean(axis=0)
    variance = (residuals**2).sum() / (16 * 2) / 3
    assert manifest["properties"]["toy"]["noise_variance"] == pytest.approx(variance)
    squares = sum(2 * math.comb(3, s) / (4 * math.comb(3, s)) ** 2 for s in range(4))
    errors = [float(row["noise_error"]) for row in rows]
    assert errors == pytest.approx([math.sqrt(variance * squares)] * 4)


def test_rows_of_a_design_are_looked_up(run, table):
    folder = run(
        table, "game.rows=design", "estimator=kernel_shap", "design=exhaustive", "name=looked_up"
    )
    assert folder.name == "looked_up"
    np.testing.assert_allclose(
        credits_in(folder / "shapley_toy.csv"), TOY.shapley_values, rtol=0, atol=1e-12
    )
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["config"]["design"]["_target_"] == "crediting.design.Exhaustive"


@pytest.mark.parametrize("words", [[], ["dry_run=true"]])
def test_a_design_that_asks_for_more_than_is_recorded_is_told_what_is_missing(words, run, tmp_path):
    proper = all_coalitions(4)
    few = write(tmp_path / "few.csv", rows_of(proper[proper.sum(axis=1) != 2]))
    with pytest.raises(DataError, match="6 of 16 coalitions that were asked for are not recorded"):
        run(few, "game.rows=design", "estimator=exact", "design=exhaustive", *words)


@pytest.mark.parametrize("words", [["stage=estimate"], ["dry_run=true"]])
def test_nothing_is_written_unless_asked_for(words, run, table, capsys):
    folder = run(table, "estimator=exact", *words)
    assert not folder.exists()
    printed = capsys.readouterr().out
    assert ("credit" in printed) == (words == ["stage=estimate"])
    assert ("exact on 16 coalitions of recorded" in printed) == (words == ["dry_run=true"])


def test_a_direction_is_known_however_an_accent_is_stored(run, tmp_path):
    header = (*NAMES, "toy", "e\u0301cart")
    path = write(tmp_path / "accents.csv", rows_of(all_coalitions(4)), header)
    folder = run(path, "estimator=exact", 'game.lower_is_better=["\xe9cart"]', "stage=report")
    assert read(folder / "shapley_e\u0301cart.csv")[0]["contributor"] == "bob"  # who lowers it


def test_what_is_known_beforehand_is_judged_under_every_table(run, table):
    folder = run(table, "estimator=exact", "axioms.null_players=[cem]", "stage=report")
    for ending, name in (("md", "cem"), ("tex", "cem")):
        text = (folder / f"shapley_fid.{ending}").read_text()
        assert f"Null player holds: the credit of {name}" in text
        assert "Null player cannot be judged" in (folder / f"shapley_toy.{ending}").read_text()


def test_money_is_shared_out_by_credits_good_in_either_direction(run, table, capsys):
    # the second property's Shapley values are 4, -1, 0 and 2, and there lower is better
    words = ["estimator=exact", "game.lower_is_better=[fid]", "+report.payout.fid=30"]
    folder = run(table, *words)
    paid = read(folder / "payout.csv")
    assert {row["contributor"]: float(row["payout"]) for row in paid} == {
        **{"bob": 30.0},
        **dict.fromkeys(["ann", "cem", "dan"], 0.0),
    }
    assert "30.00 for fid" in capsys.readouterr().out
    assert "## Payout" in (folder / "report.md").read_text()

    run(table, *words[:2])
    assert not (folder / "payout.csv").exists()
    assert not (folder / "payout.md").exists()
    assert "Payout" not in capsys.readouterr().out + (folder / "report.md").read_text()


def test_money_for_what_is_no_property_of_the_table_is_refused(run, table):
    with pytest.raises(ConfigError, match=r"report.payout: .* got one for 'fit'; did you mean fid"):
        run(table, "+report.payout.fit=30")


# ------------------------------------------------------------------------------ files of before


def test_files_that_a_second_report_has_not_are_gone(run, table, monkeypatch):
    folder = run(table, "estimator=exact")
    before = {path.name for path in folder.iterdir()}
    monkeypatch.setattr(tables, "MOST_RANKED", 3)
    run(table, "estimator=exact", "report.interactions=false")
    after = {path.name for path in folder.iterdir()}
    assert after < before
    assert {name.split("_")[0] for name in before - after} == {"ranks", "interactions"}


def test_a_report_cut_short_leaves_no_page_of_other_tables(run, table, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    folder = run(table, "estimator=exact")
    assert (folder / "report.md").exists()
    monkeypatch.setattr(tables, "credit_chart", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run(table, "estimator=kernel_shap")
    assert not (folder / "report.md").exists()


def test_too_few_coalitions_for_interactions_are_said_and_not_fatal(run, tmp_path, capsys):
    proper = all_coalitions(4)
    some = proper[np.isin(proper.sum(axis=1), (0, 1, 3, 4))]
    folder = run(write(tmp_path / "few.csv", rows_of(some)), "estimator=kernel_shap")
    assert not list(folder.glob("interactions_*"))
    assert not list(folder.glob("exact_*"))
    said = capsys.readouterr().err
    assert "no interactions in toy, fid: interactions of 4 contributors" in said
    assert said.count("no interactions") == 1
    assert "Left out: interactions of 4 contributors need" in (folder / "report.md").read_text()


# ------------------------------------------------------------------------------ exact values


def compared(credits, half_width=0.0):
    """Return credits of the toy game with intervals of this width beside its exact values."""
    sample = play(TOY, Sample(all_coalitions(4), np.zeros(16)))
    found = replace(
        Exact(0.95)(sample),
        credits=np.asarray(credits),
        ci_low=credits - half_width,
        ci_high=credits + half_width,
    )
    return Comparison(found, TOY.shapley_values)


def test_an_equal_split_has_error_1():
    exact = TOY.shapley_values
    assert compared(np.full(4, exact.mean())).squared_error == pytest.approx(1)
    halfway = (exact + exact.mean()) / 2
    assert compared(halfway).squared_error == pytest.approx(1 / 4)
    assert compared(exact).squared_error == 0


def test_exact_values_in_intervals_are_counted():
    apart = np.array([0.0, 0.5, -1.5, 3.0])
    counts = [compared(TOY.shapley_values + apart, width).inside for width in (0.0, 1.0, 2.0, 4.0)]
    assert counts == [1, 2, 3, 4]
    for rounding in (1 + 1e-15, 1 - 1e-15):
        assert compared(TOY.shapley_values * rounding).inside == 4
    for unknown in (np.nan, np.array([1.0, 1.0, np.nan, 1.0])):
        assert compared(TOY.shapley_values, unknown).inside is None


def test_an_error_is_what_a_credit_is_too_much():
    text = compared(TOY.shapley_values + np.array([0.0, 0.5, -1.5, 3.0])).to_csv(NAMES)
    rows = list(csv.DictReader(text.splitlines()))
    assert [row["contributor"] for row in rows] == NAMES
    assert [float(row["error"]) for row in rows] == pytest.approx([0.0, 0.5, -1.5, 3.0])


def test_where_an_equal_split_is_right_the_error_has_no_unit():
    game = SymmetricMajority(3)
    sample = play(game, Sample(all_coalitions(3), np.zeros(8)))
    for exact in (np.full(3, 1 / 3), 1 / 3 + 1e-16 * np.array([0, 1, -1]), np.zeros(3)):
        comparison = Comparison(Exact(0.95)(sample), exact)
        assert math.isnan(comparison.squared_error)
        assert "nan" not in comparison.sentence


def test_other_values_than_shapleys_are_not_compared_with_them(resolved, table):
    class Banzhaf(Exact):
        estimates: ClassVar[str] = "Banzhaf value"

    plain = resolved("+experiment=recorded", f"game.path={table}", "estimator=exact")
    parts = config.build(plain, recorded.GROUPS)
    for estimator, properties in ((Exact(0.95), {"toy", "fid"}), (Banzhaf(0.95), set())):
        study = recorded.RecordedStudy.assemble(plain, parts | {"estimator": estimator}, [])
        assert set(recorded.compare(study, recorded.estimate(study))) == properties


# ------------------------------------------------------------------------------ refusals


def test_tables_of_the_default_study_are_not_replaced(resolved, table, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [f"game.path={table}", f"paths.outputs={tmp_path / 'outputs'}"]
    plain = resolved(*words)
    parts = config.build(plain, recorded.GROUPS)
    with pytest.raises(ConfigError, match=r"^name: .* digits_ddpm; add \+experiment=recorded"):
        recorded.run(plain, parts, words)
    assert not (tmp_path / "outputs").exists()
    named = [*words, "name=mine"]
    recorded.run(resolved(*named), parts, named)
    assert (tmp_path / "outputs/studies/mine/report.md").exists()


def test_a_folder_that_cannot_be_made_is_told_before_anything_is_estimated(
    run, table, tmp_path, monkeypatch
):
    (tmp_path / "outputs/studies").mkdir(parents=True)
    (tmp_path / "outputs/studies/recorded").write_text("in the way")
    monkeypatch.setattr(recorded, "estimate", pytest.fail)
    with pytest.raises(FileExistsError):  # of which the user is told in one message
        run(table)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["stage=train"], "stage: a recorded game is evaluated already; expected all, estimate"),
        (["game.lower_is_better=[fdi]"], "got 'fdi'; did you mean fid?"),
        (["dataset=digits", "replicates=2"], "remove them: dataset=digits, replicates=2$"),
        (["design=exhaustive"], "design=exhaustive; a design chooses rows only with game.rows="),
        (["model.training.steps=3"], "remove them: model.training.steps=3$"),
        (
            ["game.rows=design", "estimator=exact", "design=leave_one_out"],
            "estimator=exact cannot use the coalitions of design=leave_one_out; it can use design=",
        ),
        (["game.path="], r"game.path: expected a table .* add game.path=utilities.csv"),
    ],
)
def test_what_makes_no_sense_is_refused(overrides, complaint, run, table):
    with pytest.raises(ConfigError, match=complaint):
        run(table, *overrides)


def test_an_estimator_that_needs_more_rows_is_refused(run, tmp_path):
    few = write(tmp_path / "few.csv", rows_of(all_coalitions(4)[[0, 3, 15]]))
    with pytest.raises(ConfigError, match=r"game\.path: estimator=exact needs at least 16 .* 3$"):
        run(few, "estimator=exact")


def test_it_says_if_the_rows_are_too_few_to_be_of_use(run, tmp_path, capsys):
    several = [0, 1, 2, 4, 7, 8, 11, 13, 14, 3, 12, 5, 10, 15]  # 12 besides the ends
    for rows, few in (([*several[:9], 15], True), (several, False)):
        path = write(tmp_path / "game.csv", rows_of(all_coalitions(4)[rows]))
        run(path, "estimator=bayesian", "stage=estimate")
        said = capsys.readouterr().err
        assert ("bayesian: 8 coalitions are few for 4 contributors" in said) == few
        assert ("are few" in said) == few


def test_an_estimator_that_needs_a_design_is_told_how(table, resolved):
    class Picky(Exact):
        designs: ClassVar[tuple[str, ...]] = ("permutation",)

    plain = resolved("+experiment=recorded", f"game.path={table}", "estimator=exact")
    parts = config.build(plain, recorded.GROUPS) | {"estimator": Picky(0.95)}
    with pytest.raises(ConfigError, match=r"set game\.rows=design, with design=permutation"):
        recorded.RecordedStudy.assemble(plain, parts, [])
