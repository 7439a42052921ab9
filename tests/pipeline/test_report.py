"""The report: whole, valid and readable, whatever names and numbers go into it."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from crediting import config
from crediting.errors import EvaluationError
from crediting.pipeline import stages
from crediting.pipeline.estimate.stage import read_sample
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.report import stage as report_stage
from crediting.pipeline.study import Study

QUICKLY = pytest.mark.usefixtures("begun", "undrawn")
"""With the models that all have, and figures that nobody looks at."""


def read_manifest(study):
    def refuse(word):
        pytest.fail(f"the manifest holds {word}, which is not JSON")

    return json.loads((study.folder / "manifest.json").read_text(), parse_constant=refuse)


@QUICKLY
def test_more_top_contributors_than_there_are_and_unknown_uncertainty(study, monkeypatch):
    titles, draw = [], report_stage.image_grid

    def keep(panels, *rest):
        titles.extend(title for title, _ in panels)
        draw(panels, *rest)

    monkeypatch.setattr(report_stage, "image_grid", keep)
    bare = study("estimator=leave_one_out", "property=[fid]", "report.top=9")
    stages.run(bare, "all")
    assert (bare.folder / "images_fid.png").exists()
    with (bare.folder / "shapley_fid.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["std_error"] for row in rows} == {""}
    left_out = [name for name in bare.partition.names if name != rows[-1]["contributor"]]
    assert titles == ["all contributors", f"without {', '.join(left_out)}"]
    assert read_manifest(bare)["properties"]["fid"]["coalitions"] == 4


@QUICKLY
def test_files_of_properties_that_are_no_longer_asked_for_are_removed(study):
    both = study("property=[fid,diversity]")
    stages.run(both, "all")
    (both.folder / "shapley_diversity_of_mine.csv").write_text("by hand")
    stages.run(study("property=[diversity]"), "all")
    left = {path.name for path in both.folder.iterdir()}
    assert not [name for name in left if "fid" in name]
    assert {"shapley_diversity.tex", "images_diversity.png"} <= left
    assert "shapley_diversity_of_mine.csv" in left


@QUICKLY
def test_a_report_cut_short_leaves_nothing_that_tells_of_other_tables(study, monkeypatch):
    """The second report is interrupted where it draws images, which may take hours."""

    def interrupt(*_):
        raise KeyboardInterrupt

    first, second = study("property=[fid]"), study("property=[diversity]")
    stages.run(first, "all")
    assert (first.folder / "report.md").exists()
    with monkeypatch.context() as cut:
        cut.setattr(report_stage, "image_grid", interrupt)
        with pytest.raises(KeyboardInterrupt):
            stages.run(second, "all")
    assert (second.folder / "shapley_diversity.csv").exists()
    assert not (second.folder / "report.md").exists()
    assert list(read_manifest(second)["properties"]) == ["diversity"]
    stages.run(first, "report")
    assert not [path.name for path in first.folder.iterdir() if "diversity" in path.name]
    assert "shapley_fid.png" in (first.folder / "report.md").read_text()


@QUICKLY
def test_an_infinite_setting_leaves_the_manifest_valid(study):
    unclipped = study("finetuning.recipe.gradient_clip=inf", "property=[fid]")
    stages.run(unclipped, "all")
    recipe = read_manifest(unclipped)["config"]["finetuning"]["recipe"]
    assert recipe["gradient_clip"] == "Infinity"


class OddlyNamed:
    def __init__(self, partition, names):
        self.original, self.names = partition, names

    def partition(self, columns):
        made = self.original.partition(columns)
        contributors = [
            replace(c, name=n) for c, n in zip(made.contributors, self.names, strict=True)
        ]
        return replace(made, contributors=contributors)


def test_odd_names_of_contributors_and_properties(study):
    names = ["a/b, c", 'Ö "q" | $x_1$', "../..", "\n"]
    plain = dict(study().config)
    plain["property"] = {"my fid, 50% <b>": plain["property"]["fid"]}
    parts = config.build(plain)
    odd = Study.assemble(plain, {**parts, "partition": OddlyNamed(parts["partition"], names)})
    stages.run(odd, "all")
    with (odd.folder / "shapley_my fid, 50% <b>.csv").open(newline="") as file:
        assert {row["contributor"] for row in csv.DictReader(file)} == set(names)
    assert set(read_manifest(odd)["contributors"]) == set(names)
    assert "(shapley_my%20fid%2C%2050%25%20%3Cb%3E.png)" in (odd.folder / "report.md").read_text()


@QUICKLY
def test_a_report_without_pictures_if_they_cannot_be_generated(study, monkeypatch, capsys):
    ready = study("property=[fid]", "runtime.keep_images=false")
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(ready, stage)

    def fail(*_, **__):
        raise EvaluationError("NaN instead of images")

    monkeypatch.setattr(DiffusionGame, "images", fail)
    ready.folder.mkdir(parents=True)
    for earlier in ("images_fid.png", "exact_fid.csv"):
        (ready.folder / earlier).write_text("of other contributors")
    stages.run(ready, "report")
    assert not [*ready.folder.glob("images_*"), *ready.folder.glob("exact_*")]
    assert "report: left without images" in capsys.readouterr().err
    page = (ready.folder / "report.md").read_text()
    assert "shapley_fid.png" in page
    assert "images_fid.png" not in page
    assert read_manifest(ready)["study"] == ready.name


@QUICKLY
def test_only_pictures_without_those_whose_models_fail_are_left_out(study, monkeypatch, capsys):
    ready = study("property=[fid,diversity]", "runtime.keep_images=false", "report.top=1")
    for stage in ("encode", "train", "prune", "extract", "evaluate"):
        stages.run(ready, stage)
    original, asked = DiffusionGame.images, []

    def fail(self, coalition, replicate, keep):
        asked.append(coalition)
        if len(asked) == 2:
            raise ValueError("too few images")
        return original(self, coalition, replicate, keep)

    monkeypatch.setattr(DiffusionGame, "images", fail)
    stages.run(ready, "report")
    said = capsys.readouterr().err
    assert f"without images of coalition {asked[1]} (ValueError: too few images)" in said
    page = (ready.folder / "report.md").read_text()
    drawn = {name for name in ("fid", "diversity") if f"images_{name}.png" in page}
    assert drawn == ({"diversity"} if len(asked) == 3 else set())


def test_a_whole_game_has_ranks_and_interactions_and_its_axioms_judged(study):
    names = study().partition.names
    whole = study(
        *("estimator=exact", "property=[fid]", f"axioms.duplicates=[[{names[0]},{names[1]}]]")
    )
    stages.run(whole, "all")
    with (whole.folder / "ranks_fid.csv").open(newline="") as file:
        assert {row["contributor"] for row in csv.DictReader(file)} == set(names)
    with (whole.folder / "interactions_fid.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 4 * 3 / 2
    page = (whole.folder / "report.md").read_text()
    assert "## Interactions in fid" in page
    assert "(interactions_fid.png)" in page
    assert "Symmetry cannot be judged" in (whole.folder / "shapley_fid.tex").read_text()


@QUICKLY
def test_the_report_is_of_the_coalitions_after_which_evaluating_stopped(study):
    ended = study("property=[fid]", "stop.budget=4")
    assert len(ended.sample) > 4
    stages.run(ended, "all")
    assert read_manifest(ended)["properties"]["fid"]["coalitions"] == 4


@QUICKLY
def test_dense_endpoints_make_one_game_with_the_others(study):
    names = ("estimator=exact", "design=exhaustive")
    exact, kernel = (study(name, "endpoints=dense", "property=[fid]") for name in names)
    stages.run(exact, "all")
    assert len(exact.coalitions(exact.game)) == 2**4 - 2
    assert read_manifest(exact)["properties"]["fid"]["efficiency_gap"] == pytest.approx(0, abs=1e-9)
    credits = [s.estimator(read_sample(s, "fid")).credits for s in (exact, kernel)]
    np.testing.assert_allclose(*credits, rtol=0, atol=1e-9)
