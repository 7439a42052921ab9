"""Repositories on the hub: a folder named locally wins, else the cache, else a download."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants

from crediting.assets import HubFolder
from crediting.assets.messages import NotFetchedError
from crediting.errors import DataError

REPO = "example/mini-sd"
FILES = {
    "model_index.json": b"{}",
    "unet/config.json": b"{1}",
    "unet/diffusion_pytorch_model.bin": b"weights",
}


def asset(local=REPO):
    return HubFolder(
        what="the pretrained mini-SD",
        repo=REPO,
        patterns=("*.json", "unet/diffusion_pytorch_model.*"),
        size=3_300_000_000,
        licence="openrail",
        key="model.pretrained",
        local=str(local),
        required=("unet/config.json", "unet/diffusion_pytorch_model.*"),
    )


def write(folder, files=FILES):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def write_cache(cache, repo=REPO, files=FILES, revision="a" * 40):
    """Lay files out as the hub's own cache does: blobs, and snapshots of links to them."""
    home = cache / f"models--{repo.replace('/', '--')}"
    (home / "blobs").mkdir(parents=True)
    (home / "refs").mkdir()
    (home / "refs" / "main").write_text(revision)
    for number, (name, content) in enumerate(files.items()):
        blob = home / "blobs" / str(number)
        blob.write_bytes(content)
        link = home / "snapshots" / revision / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(blob)
    return home / "snapshots" / revision


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """The hub's cache in a folder of its own, in a working directory without other folders."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "hub"


def publish(monkeypatch, names):
    """Let every repository on the hub have files of these names."""
    files = [SimpleNamespace(rfilename=name) for name in names]
    monkeypatch.setattr(
        huggingface_hub.HfApi, "model_info", lambda *_: SimpleNamespace(siblings=files)
    )


@pytest.fixture
def downloads(cache, monkeypatch):
    """Count downloads, which put every file into the cache; look-ups are the library's own."""
    publish(monkeypatch, FILES)
    calls = []
    real = huggingface_hub.snapshot_download

    def snapshot_download(repo, allow_patterns, local_files_only=False):
        if local_files_only:
            return real(repo, allow_patterns=allow_patterns, local_files_only=True)
        calls.append((repo, allow_patterns))
        return str(write_cache(cache, repo))

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_it_is_downloaded_once_and_then_found(downloads, cache):
    with pytest.raises(NotFetchedError):
        asset().find()
    assert downloads == []
    folder = asset().fetch()
    assert folder == asset().find() == asset().fetch()
    assert (folder / "unet" / "config.json").read_bytes() == b"{1}"
    assert downloads == [(REPO, list(FILES))]


def test_the_message_names_key_source_size_licence_and_what_to_do(downloads, cache):
    with pytest.raises(NotFetchedError) as error:
        asset().find()
    message = str(error.value)
    assert message.startswith("model.pretrained: the pretrained mini-SD is not here")
    assert str(cache) in message
    assert f"https://huggingface.co/{REPO}, 3.3 GB, licence openrail" in message
    assert "model.pretrained=<folder>" in message
    assert "HF_HUB_OFFLINE" not in message


def test_a_local_folder_wins_and_the_hub_is_never_asked(tmp_path, monkeypatch):
    def snapshot_download(*args, **kwargs):
        raise AssertionError("the hub was asked")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    folder = write(tmp_path / "mine")
    assert asset(folder).find() == asset(folder).fetch() == folder
    write(tmp_path / "work" / "example" / "mini-sd")  # a folder of the very name of the id
    assert asset().find().absolute() == tmp_path / "work" / "example" / "mini-sd"


@pytest.mark.parametrize(
    "missing", ["unet/config.json", "unet/diffusion_pytorch_model.bin"], ids=["config", "weights"]
)
def test_a_local_folder_that_lacks_a_file_is_told_what(tmp_path, downloads, missing):
    folder = write(tmp_path / "mine", {n: c for n, c in FILES.items() if n != missing})
    for method in (asset(folder).find, asset(folder).fetch, asset(folder).digest):
        with pytest.raises(DataError, match=rf"lacks {missing[:-3]}") as error:
            method()
        assert not isinstance(error.value, NotFetchedError)
        assert str(error.value).startswith("model.pretrained: the folder ")
    assert downloads == []


@pytest.mark.parametrize(
    "local",
    ["/nowhere/model", "./model", "~/no-such-model", "a/b/c", "partly/model", "models/"],
)
def test_what_looks_like_a_path_is_never_looked_for_on_the_hub(tmp_path, downloads, local):
    (tmp_path / "work" / "partly").mkdir()
    weights = asset(local)
    for method in (weights.find, weights.fetch):
        with pytest.raises(DataError, match=r"model\.pretrained: there is no folder") as error:
            method()
        assert not isinstance(error.value, NotFetchedError)
    assert downloads == []


def test_an_id_other_than_the_published_one_is_taken_as_it_is(downloads):
    other = asset("somebody/else")
    with pytest.raises(NotFetchedError, match=r"is not here \(somebody/else in ") as error:
        other.find()
    assert "come from https://huggingface.co/somebody/else," in str(error.value)
    assert REPO not in str(error.value)  # its size and licence say nothing about the other
    assert (other.size, other.licence) == (0, "see there")
    other.fetch()
    assert [repo for repo, _ in downloads] == ["somebody/else"]


def test_a_half_filled_cache_is_completed(downloads, cache):
    snapshot = write_cache(cache, files={"unet/config.json": b"{1}"})
    with pytest.raises(NotFetchedError):
        asset().find()
    shutil.rmtree(snapshot.parent.parent)
    assert asset().fetch()
    assert len(downloads) == 1


def test_a_link_whose_content_is_gone_does_not_count(downloads, cache):
    snapshot = write_cache(cache)
    assert asset().find() == snapshot
    (snapshot / "unet" / "diffusion_pytorch_model.bin").resolve().unlink()
    with pytest.raises(NotFetchedError):
        asset().find()


def test_a_repository_without_the_needed_file_is_told_before_the_download(downloads, monkeypatch):
    publish(monkeypatch, ["unet/config.json", "unet/notes.txt"])
    with pytest.raises(DataError, match=r"has no unet/diffusion_pytorch_model\.\*"):
        asset().fetch()
    assert downloads == []


@pytest.mark.parametrize(
    ("pickle", "twin"),
    [
        ("unet/diffusion_pytorch_model.bin", "unet/diffusion_pytorch_model.safetensors"),
        ("unet/pytorch_model.bin", "unet/model.safetensors"),
    ],
)
def test_weights_in_two_forms_count_and_are_downloaded_once(
    pickle, twin, downloads, monkeypatch, tmp_path
):
    either = replace(asset(), patterns=("unet/*",), required=("unet/*.json", "unet/*model.*"))
    publish(monkeypatch, ["unet/config.json", pickle, twin])
    either.fetch()
    assert downloads == [(REPO, ["unet/config.json", twin])]

    folder = write(tmp_path / "mine", {"unet/config.json": b"{1}", twin: b"weights"})
    alone = replace(either, local=str(folder)).digest()
    write(folder, {pickle: b"the same as a pickle"})
    assert replace(either, local=str(folder)).digest() == alone
    (folder / twin).unlink()
    assert replace(either, local=str(folder)).digest() != alone


def test_of_several_places_one_must_hold_the_file(tmp_path):
    here_or_there = replace(
        asset(write(tmp_path / "mine")),
        patterns=("scheduler/scheduler_config.json", "scheduler_config.json"),
        required=("scheduler/scheduler_config.json or scheduler_config.json",),
    )
    with pytest.raises(DataError, match=r"lacks scheduler/\S+ or scheduler_config\.json\. "):
        here_or_there.find()
    write(tmp_path / "mine", {"scheduler_config.json": b"{}"})
    assert here_or_there.find() == tmp_path / "mine"


def test_offline_mode_is_respected_and_named(downloads, cache, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NotFetchedError, match="HF_HUB_OFFLINE"):
        asset().find()
    with pytest.raises(DataError, match=r"HF_HUB_OFFLINE .* is set in the environment; unset it"):
        asset().fetch()
    assert downloads == []
    snapshot = write_cache(cache)
    assert asset().find() == asset().fetch() == snapshot  # what is in the cache can be used


def test_a_hub_out_of_reach_is_told(monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=f"model.pretrained: .*{REPO}: .*refused"):
        asset().fetch()


def test_the_digest_is_that_of_the_needed_files_wherever_they_lie(tmp_path, cache):
    original = asset(write(tmp_path / "one")).digest()
    assert asset(write(tmp_path / "other" / "place")).digest() == original
    write_cache(cache)
    assert asset().digest() == original  # through the links of the cache
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "unet").symlink_to(tmp_path / "one" / "unet")
    (tmp_path / "linked" / "model_index.json").write_bytes(b"{}")
    assert asset(tmp_path / "linked").digest() == original

    write(tmp_path / "one", {"readme.md": b"not needed", ".cache/notes.json": b"of a tool"})
    assert asset(tmp_path / "one").digest() == original
    write(tmp_path / "one", {"unet/config.json": b"{2}"})
    assert asset(tmp_path / "one").digest() != original


def test_a_folder_called_like_the_owner_makes_no_path_of_the_published_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "work")
    (tmp_path / "work" / REPO.split("/")[0]).mkdir()
    with pytest.raises(NotFetchedError):
        asset().find()
    with pytest.raises(DataError, match="there is no folder"):
        asset(f"{REPO.split('/')[0]}/another").find()


def test_files_of_another_asset_of_the_repository_do_not_count(cache, tmp_path, monkeypatch):
    """An autoencoder beside a U-Net: either may have been fetched first."""
    autoencoder = replace(
        asset(), patterns=("vae/*",), required=("*config.json", "*diffusion_pytorch_model.*")
    )
    assert autoencoder.required != asset().required
    write_cache(tmp_path / "hub", files=FILES)
    asset().find()
    with pytest.raises(NotFetchedError):
        autoencoder.find()
    with pytest.raises(DataError, match="lacks"):
        replace(autoencoder, local=str(write(tmp_path / "work/mine"))).find()
