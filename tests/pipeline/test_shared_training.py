"""A study whose models several processes train is the study that one would have made."""

import pytest
import torch
from miniature_study import make_study
from safetensors.torch import load_file

from crediting.pipeline import stages
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.train import RAW
from crediting.randomness import derive_seed

pytestmark = pytest.mark.slow


def weights(outputs):
    return {
        path.relative_to(outputs).as_posix(): load_file(path)
        for stage in ("model", "sparse")
        for path in outputs.glob(f"store/{stage}-*/*.safetensors")
    }


def test_two_processes_make_the_models_of_one(tmp_path, capfd):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    for outputs, processes in ((alone, 1), (shared, 2)):
        study = make_study(
            outputs,
            f"runtime.training_processes={processes}",
            "runtime.device=cpu",
            "model.unet.dropout=0",
        )
        for stage in ("encode", "train", "prune"):
            stages.run(study, stage)
    expected, found = weights(alone), weights(shared)
    assert len(expected) == 4
    assert found.keys() == expected.keys()  # fingerprints do not know who trained
    for name, tensors in expected.items():
        for key, tensor in tensors.items():
            torch.testing.assert_close(found[name][key], tensor, atol=3e-5, rtol=0, msg=name)
    assert not list(shared.rglob("checkpoint"))
    told = capfd.readouterr().err
    assert "OMP_NUM_THREADS" not in told
    assert "Warning" not in told


def test_what_trains_from_scratch_begins_alike_and_is_made_once(prepared, monkeypatch):
    ready = prepared("property=[fid]")
    models, made = DiffusionGame(ready, ready.game).models, []
    ready.config["seed"] = 5
    plain = type(ready.model).reinitialise

    def counted(self, denoiser, seed):
        made.append(seed)
        return plain(self, denoiser, seed)

    monkeypatch.setattr(type(ready.model), "reinitialise", counted)
    first, again, other = (numbers_of(models.untrained(replicate)) for replicate in (0, 0, 1))
    assert made == [derive_seed("initialise", 5, replicate) for replicate in (0, 1)]
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    models.untrained(0).conv_in.weight.data.zero_()
    assert torch.equal(numbers_of(models.untrained(0)), first)
    stored = numbers_of(models.stored(RAW))
    assert models._untrained is None  # two would take the memory twice
    assert torch.equal(numbers_of(models.untrained(0)), first)
    assert models._untrained is None
    assert torch.equal(numbers_of(models.stored(RAW)), stored)


def numbers_of(denoiser):
    return torch.nn.utils.parameters_to_vector(denoiser.parameters()).detach()
