"""Equal images of several contributors are told of, whatever the contributors are."""

import shutil

import numpy as np
import pytest
import torch
from miniature_study import make_study
from PIL import Image

from crediting.pipeline import stages
from crediting.pipeline.encode import _alike


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """Return a folder of six photographs by two people, and who took which with which camera."""
    rng = np.random.default_rng(0)
    lines = ["path,contributor,camera"]
    for number in range(6):
        file = tmp_path / f"{number}.png"
        pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
        owner, camera = ("ada", "bo")[number // 3], ("nikon", "canon")[number % 2]
        lines.append(f"{number}.png,{owner},{camera}")
    (tmp_path / "photos.csv").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def encoded(folder, column):
    study = make_study(
        folder / "outputs",
        "dataset=image_folder",
        "dataset.root=.",
        "dataset.manifest=photos.csv",
        "dataset.channels=1",
        "partition=by_label",
        f"partition.column={column}",
        "property=[fid]",
        shared=(),
    )
    stages.run(study, "encode")


@pytest.mark.parametrize(("pairs", "how_many"), [(1, ""), (2, "; such images: 2")])
def test_it_is_said_whose_they_are_on_every_run(photos, capsys, pairs, how_many):
    for first in (0, 4)[:pairs]:  # of one contributor and two cameras
        shutil.copy(photos / f"{first}.png", photos / f"{first + 1}.png")
    told = "encode: contributors who own the same image share its credit: "
    for _ in range(2):
        encoded(photos, "camera")
        said = capsys.readouterr().err
        assert f"{told}0.png (nikon), 1.png (canon){how_many}\n" in said
    encoded(photos, "contributor")
    assert "same image" not in capsys.readouterr().err


def test_of_many_who_own_it_the_rest_is_counted(photos, capsys):
    table = (photos / "photos.csv").read_text()
    for camera in range(5):
        shutil.copy(photos / "0.png", photos / f"copy{camera}.png")
        table += f"\ncopy{camera}.png,ada,camera{camera}"
    (photos / "photos.csv").write_text(table)
    encoded(photos, "camera")
    shared = "0.png (nikon), copy0.png (camera0), copy1.png (camera1) and 3 more\n"
    assert f"share its credit: {shared}" in capsys.readouterr().err


def test_images_in_any_order_of_memory_are_told_apart():
    images = torch.arange(96, dtype=torch.uint8).view(2, 4, 4, 3)[[0, 1, 0]].permute(0, 3, 1, 2)
    assert not images[0].is_contiguous()
    assert _alike(images) == [[0, 2]]
