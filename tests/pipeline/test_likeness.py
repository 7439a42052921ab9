"""How alike the full and the pruned model draw is told before any coalition is evaluated."""

from dataclasses import dataclass

import pytest
import torch
from torchmetrics.image import StructuralSimilarityIndexMeasure

from crediting.errors import EvaluationError
from crediting.pipeline import likeness as module
from crediting.pipeline import stages
from crediting.pipeline.likeness import likeness


@pytest.fixture
def stored(prepared):
    """Return a study and the folders of its full and its pruned model."""
    ready = prepared("property=[fid]")
    return ready, ready.stored_in(ready.trained), ready.stored_in(ready.game.start)


def test_a_model_is_like_itself_and_less_like_its_pruned_twin(stored, monkeypatch):
    study, full, pruned = stored
    drawn = []
    monkeypatch.setattr(module, "_drawn", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    found = likeness(study, full, pruned)
    known = StructuralSimilarityIndexMeasure(data_range=1.0)
    assert found == pytest.approx(float(known(drawn[0] / 255, drawn[1] / 255)), abs=1e-4)
    assert found < 0.999
    assert likeness(study, full, full) == pytest.approx(1)
    assert all(images.shape == drawn[0].shape for images in drawn)
    manifest = study.store.read(study.game.start.stage, study.game.start.fingerprint)
    assert manifest["facts"]["likeness"] == pytest.approx(found)


draw = module._drawn


@pytest.mark.parametrize(("images", "looked_at"), [(12, 12), (51, 50)])
def test_fifty_images_are_enough(images, looked_at, stored):
    study, full, _ = stored
    study.generation.images = images
    assert len(draw(study, full)) == looked_at
    assert study.generation.images == images


def test_what_draws_nothing_is_like_nothing(stored, monkeypatch):
    def fails(*given):
        raise EvaluationError("NaN")

    monkeypatch.setattr(module, "_drawn", fails)
    assert likeness(*stored) is None


@pytest.mark.parametrize(("shape", "known"), [((5, 9), False), ((9, 5), False), ((6, 6), True)])
def test_images_of_fewer_pixels_than_the_measure_takes_are_not_measured(
    stored, monkeypatch, shape, known
):
    monkeypatch.setattr(module, "_drawn", lambda *given: torch.full((2, 1, *shape), 7.0))
    assert likeness(*stored) == (1 if known else None)


def test_it_is_said_where_something_was_pruned(study, capsys):
    fresh = study("property=[fid]")
    for stage in ("encode", "train", "prune"):
        stages.run(fresh, stage)
    assert "prune: SSIM to images of the full model" in capsys.readouterr().err
    whole = study("property=[fid]", "pruning=none")
    stages.run(whole, "prune")
    assert "SSIM" not in capsys.readouterr().err


def test_images_are_numbers_of_pixels(stored):
    study, full, _ = stored
    images = draw(study, full)
    assert images.dtype == torch.float32
    assert images.max() > 1
    assert torch.equal(images, images.round())


def test_a_generation_that_cannot_be_changed_draws_all_of_its_images():
    @dataclass(frozen=True)
    class Own:
        images: int

    own = Own(80)
    assert module._few(own) is own
