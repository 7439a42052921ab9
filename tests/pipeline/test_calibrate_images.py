"""Calibrating real, tiny models: parts of images are measured as such, and nothing is lost."""

import csv

import numpy as np
import pytest
import torch

from crediting.game.coalition import coalition_key
from crediting.ledger import Ledger
from crediting.pipeline.calibrate.image_parts import ImagePart
from crediting.pipeline.estimate.stage import read_utilities
from crediting.pipeline.evaluate.diffusion_game import images_path, read_images
from crediting.pipeline.evaluate.stage import evaluate, evaluate_coalitions
from crediting.pipeline.extract.gauges import Gauges

PROPERTIES = ("property=[inception_score,fid]",)


def test_the_first_images_are_those_that_fewer_images_would_be(prepared, study, trainings):
    whole = prepared(*PROPERTIES)
    evaluate(whole)
    trainings.clear()
    part = ImagePart(whole, 0, 5)
    part.evaluate()
    assert trainings == []
    rows = whole.coalitions(whole.game)
    few = study(*PROPERTIES, "generation.images=5")
    evaluate_coalitions(few, few.game, rows)
    gauges = Gauges(whole, torch.device("cpu"))
    for name in whole.properties:
        found = read_utilities(part.study, part.study.game, rows, name)
        for row, value in zip(rows, found, strict=True):
            images = read_images(images_path(whole, whole.game, coalition_key(row), 0))
            assert dict(gauges.measure(images[:5], [name])) == {name: value}
        np.testing.assert_allclose(found, read_utilities(few, few.game, rows, name), rtol=1e-3)


def test_another_part_has_other_images_and_another_ledger(prepared):
    whole = prepared(*PROPERTIES, "endpoints=dense")
    evaluate(whole)
    parts = [ImagePart(whole, 0, 6), ImagePart(whole, 6, 12)]
    rows = whole.coalitions(whole.game)
    for part in parts:
        part.evaluate()
        assert len(part.study.games) == 2
        assert not {g.address.fingerprint for g in part.study.games} & {
            g.address.fingerprint for g in whole.games
        }
    first, second = (read_utilities(p.study, p.study.game, rows, "fid") for p in parts)
    assert (first != second).all()
    last = images_path(whole, whole.game, coalition_key(rows[0]), 0)
    gauges = Gauges(whole, torch.device("cpu"))
    assert dict(gauges.measure(read_images(last)[6:], ["fid"]))["fid"] == second[0]


def test_without_kept_images_they_are_made_once_for_all_parts(prepared, study, trainings):
    off = (*PROPERTIES, "runtime.keep_images=false")
    evaluate(prepared(*off))
    keeping = study(*PROPERTIES)
    rows = keeping.coalitions(keeping.game)
    trainings.clear()
    ImagePart(keeping, 0, 6).evaluate()
    assert len(trainings) == len(rows) - 1  # nobody's model needs none
    ImagePart(keeping, 6, 12).evaluate()
    assert len(trainings) == len(rows) - 1


def test_what_a_part_took_is_not_told_as_the_time_of_fewer_images(prepared, study):
    whole = prepared(*PROPERTIES)
    evaluate(whole)
    ImagePart(whole, 0, 5).evaluate()
    few = study(*PROPERTIES, "generation.images=5")
    assert Ledger.peek(few.stored_in(few.game.address), few.game.address.fingerprint) is None


@pytest.mark.slow
def test_the_command_calibrates_and_the_study_goes_on_from_there(credit, miniature, tmp_path):
    words = (
        *("plan.finetuning_steps=4", "generation.steps=4", "generation=ddim"),
        *("calibrate.coalitions=6", "calibrate.agreement=-1", "calibrate.sampler_steps=[2]"),
        *("calibrate.finetuning_steps=[0.5]", "calibrate.generation_steps=[0.5]"),
        *("calibrate.images=[0.5]", "property=[fid]"),
    )
    keys = {word.partition("=")[0] for word in words}
    shrunk = [*words, *(word for word in miniature if word.partition("=")[0] not in keys)]
    done = credit("stage=calibrate", *shrunk, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "credit ... " in done.stdout or "stay with the study's own" in done.stdout
    folder = tmp_path / "outputs/studies/digits_ddpm/calibrate"
    with (folder / "settings_fid.csv").open() as file:
        settings = [row["setting"] for row in csv.DictReader(file)]
    assert settings[:5] == [
        "unchanged, second replicate",
        "finetuning.recipe.steps=2",
        "generation.steps=2",
        "generation=dpm_solver generation.steps=2",
        "generation.images=4",
    ]
    assert (folder / "agreement_fid.png").stat().st_size > 0
    rows = (folder / "variance_fid.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [
        *("component", "coalition", "training", "generation"),
    ]
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    again = credit("stage=calibrate", *shrunk, cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert ", 0 to evaluate" in again.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    study = credit("stage=evaluate", *shrunk, cwd=tmp_path)
    assert " 8 reused, " in study.stderr  # 6 coalitions and both ends
