"""Miniature studies of one test, and a count of what they train."""

from pathlib import Path

import pytest
from matplotlib.figure import Figure
from miniature_study import make_study

from crediting.pipeline import stages
from crediting.pipeline.study import Study


@pytest.fixture
def study(tmp_path):
    """Return a function that makes miniature studies which share one outputs folder."""
    return lambda *overrides: make_study(tmp_path / "outputs", *overrides)


@pytest.fixture
def prepared(study):
    """Return a function that makes such studies with all in the store that evaluation needs."""

    def prepare(*overrides: str) -> Study:
        made = study(*overrides)
        for stage in ("encode", "train", "prune", "extract"):
            stages.run(made, stage)
        return made

    return prepare


@pytest.fixture
def trainings(monkeypatch):
    """Return a list that grows by the number of examples of every training there is."""
    from crediting.training import Trainer

    counted: list[int] = []
    original = Trainer.train

    def counting(self, denoiser, recipe, examples, *rest, **options):
        counted.append(len(examples))
        return original(self, denoiser, recipe, examples, *rest, **options)

    monkeypatch.setattr(Trainer, "train", counting)
    return counted


@pytest.fixture
def undrawn(monkeypatch):
    """Figures are made, but not drawn, which takes seconds; tests of reporting draw them all."""
    monkeypatch.setattr(Figure, "savefig", lambda self, path, **_: Path(path).write_text("drawn"))
