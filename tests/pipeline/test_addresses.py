"""Results are addressed by what produced them: content, never places."""

import importlib.util
import inspect
import shutil
from pathlib import Path

import pytest
import torch
from miniature_study import make_study
from safetensors.torch import load_file, save_file

from crediting import baselines, extractors, generation, models
from crediting.datasets import Digits
from crediting.pipeline import stages
from crediting.pipeline.compare.baselines import address_of
from crediting.pipeline.encode import load_prompts
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame

SCRIPT = Path(__file__).parents[2] / "scripts" / "miniature_files.py"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Return a folder with the miniature files in it, without the largest network."""
    spec = importlib.util.spec_from_file_location("miniature_files", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    folder = tmp_path_factory.mktemp("files")
    script.write(folder / "miniature", inception=False)
    return folder


@pytest.fixture
def faces(files, tmp_path, monkeypatch):
    """Return a function that makes the miniature study of faces in a folder of its own."""
    place = tmp_path / "place"
    shutil.copytree(files, place)
    monkeypatch.chdir(place)

    def make(*overrides):
        return make_study(tmp_path / "outputs", "+experiment=celeba_ldm", *overrides, shared=())

    return make


def test_where_weights_and_data_lie_does_not_matter(faces):
    first = faces("+size=miniature")
    shutil.move("miniature", "elsewhere")
    moved = faces(
        "+size=miniature",
        "dataset.root=elsewhere/data",
        "dataset.reference=elsewhere/data/celeba_reference",
        "model.autoencoder=elsewhere/models/ldm-celebahq-256",
        "extractor.blip_vqa.weights=elsewhere/models/blip-vqa-base",
    )
    assert moved.examples.fingerprint == first.examples.fingerprint
    assert moved.trained.fingerprint == first.trained.fingerprint
    assert moved.game.address.fingerprint == first.game.address.fingerprint
    assert moved.property_fingerprints == first.property_fingerprints


def test_other_weights_under_the_same_name_are_other_results(faces):
    before = faces("+size=miniature")
    path = Path("miniature/models/ldm-celebahq-256/vqvae/diffusion_pytorch_model.safetensors")
    weights = load_file(path)
    name = next(iter(weights))
    save_file({**weights, name: weights[name] + 1}, path)
    after = faces("+size=miniature")
    assert after.examples.fingerprint != before.examples.fingerprint
    assert after.game.address.fingerprint != before.game.address.fingerprint
    assert after.property_fingerprints == before.property_fingerprints


def test_nothing_that_was_made_of_other_data_is_found(tmp_path, monkeypatch):
    def found():
        study = make_study(tmp_path, "property=[fid]", "endpoints=dense")
        starts = [spec.start for spec in study.games]
        own = [study.examples, study.prompts, study.trained, *study.extracted.values(), *starts]
        games = [spec.address for spec in study.games]
        return {one.fingerprint for one in own + games} | {*study.property_fingerprints.values()}

    before = found()
    monkeypatch.setattr(Digits, "digest", lambda self: "of other pixels")
    assert len(before) == len(found() - before) > 8


def addresses(study):
    """Return all addresses of a study but those of its coalitions' properties, which hold them."""
    return {
        "examples": study.examples.fingerprint,
        "trained": study.trained.fingerprint,
        "games": [spec.address.fingerprint for spec in study.games],
        "extracted": {name: one.fingerprint for name, one in study.extracted.items()},
        "properties": study.property_fingerprints,
    }


def test_what_only_bounds_memory_is_free(faces):
    first = faces("+size=miniature")
    less = ("model.batch_size=1", "extractor.blip_vqa.batch_size=1", "generation.batch_size=1")
    assert addresses(faces("+size=miniature", *less)) == addresses(first)
    trained_on_less = faces("+size=miniature", "model.training.batch_size=1")
    assert trained_on_less.trained.fingerprint != first.trained.fingerprint


def test_scores_are_found_again_with_other_memory(tmp_path):
    def lie_at(*overrides):
        study = make_study(tmp_path, "baseline=[pixel_similarity_mean,d_trak]", *overrides)
        return {name: address_of(study, name).fingerprint for name in study.baselines}

    first = lie_at()
    assert lie_at("baseline.d_trak.memory_mb=7") == first
    assert lie_at("baseline.pixel_similarity_mean.batch_size=7") == first
    assert lie_at("baseline.d_trak.timesteps=7") != first


def classes_with_memory_settings():
    """Return all classes of the package's parts that name settings which only bound memory."""
    modules = (baselines, extractors, generation, models)
    named = [getattr(module, name) for module in modules for name in module.__all__]
    return [one for one in named if hasattr(one, "memory_settings")]


def test_settings_of_memory_are_settings():
    found = classes_with_memory_settings()
    assert len(found) > 15
    for one in found:
        assert set(one.memory_settings) <= set(inspect.signature(one).parameters), one


def test_naming_the_extractor_that_is_read_anyway_changes_nothing(faces):
    named = faces("+size=miniature", "property.cluster_diversity.extractor=blip_vqa")
    assert addresses(named) == addresses(faces("+size=miniature"))


def test_images_are_encoded_once_whatever_is_trained_on_them(faces, monkeypatch):
    study = faces("+size=miniature")
    encoded = []
    original = type(study.model).encode

    def counting(self, images, columns):
        encoded.append(len(images))
        return original(self, images, columns)

    monkeypatch.setattr(type(study.model), "encode", counting)
    stages.run(study, "encode")
    assert encoded == [study.partition.n_examples]
    for changed in ("model.training.steps=2", "seed=1", "model.unet.layers_per_block=2"):
        again = faces("+size=miniature", changed)
        stages.run(again, "encode")
        assert again.trained.fingerprint != study.trained.fingerprint
    assert encoded == [study.partition.n_examples]


def test_coalitions_share_what_none_of_them_trains(files, tmp_path, monkeypatch):
    monkeypatch.chdir(files)
    study = make_study(
        tmp_path / "outputs", "+experiment=artbench_sd_lora", "+size=miniature", shared=()
    )
    for stage in ("encode", "train", "prune", "extract"):
        stages.run(study, stage)
    game = DiffusionGame(study, study.game)
    one, other = game.models.stored("denoiser"), game.models.stored("denoiser")
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
        assert (a is b) is (not a.requires_grad)
    adapters = [p for p in one.parameters() if p.requires_grad]
    with torch.no_grad():
        adapters[0].add_(1.0)
    assert not torch.equal(adapters[0], next(p for p in other.parameters() if p.requires_grad))


def test_captions_are_drawn_and_addressed_by_the_number_of_images(
    files, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(files)

    def embedded(images):
        study = make_study(
            tmp_path / "outputs",
            "+experiment=artbench_sd_lora",
            "+size=miniature",
            "dataset=image_folder",
            "dataset.root=miniature/data",
            "dataset.manifest=miniature/data/photos.csv",
            "dataset.size=64",
            "generation.prompts=captions",
            f"generation.images={images}",
            shared=(),
        )
        stages.run(study, "encode")
        return study, load_prompts(study, torch.device("cpu"))

    few, two = embedded(2)
    known = len(set(few.dataset.columns()["caption"].tolist()))
    assert f"images show 2 of the {known} captions" in capsys.readouterr().err
    many, others = embedded(1000)
    assert "captions" not in capsys.readouterr().err
    assert (len(two), len(others)) == (1 + 2, 1 + known)
    torch.testing.assert_close(two, others[:3])
    assert many.game.address.fingerprint != few.game.address.fingerprint
