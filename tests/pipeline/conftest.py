"""Miniature studies of one test, and a count of what they train."""

import shutil

import pytest
from miniature_study import make_study

from crediting.pipeline import stages
from crediting.pipeline.study import Study

STAGES = ("encode", "train", "prune", "extract")


@pytest.fixture(autouse=True)
def _no_waiting(undurable, answered_once):
    pass


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return outputs with all that miniature studies need which evaluate with the same models."""
    outputs = tmp_path_factory.mktemp("made") / "outputs"
    for stage in STAGES:
        stages.run(make_study(outputs), stage)
    stages.run(make_study(outputs, "pruning=none"), "prune")  # what retraining starts from
    return outputs


@pytest.fixture
def begun(made, tmp_path):
    """Let the outputs folder of a test hold what is made already."""
    shutil.copytree(made, tmp_path / "outputs")


@pytest.fixture
def study(tmp_path):
    """Return a function that makes miniature studies which share one outputs folder."""
    return lambda *overrides: make_study(tmp_path / "outputs", *overrides)


@pytest.fixture
def prepared(begun, study):
    """Return a function that makes such studies with all in the store that evaluation needs."""

    def prepare(*overrides: str) -> Study:
        asked = study(*overrides)
        for stage in STAGES:
            stages.run(asked, stage)
        return asked

    return prepare


@pytest.fixture
def trainings(monkeypatch):
    """Return a list that grows by the number of examples of every training there is."""
    from crediting.training.trainer import Trainer

    counted: list[int] = []
    original = Trainer.train

    def counting(self, training, *rest, **options):
        counted.append(len(training.examples))
        return original(self, training, *rest, **options)

    monkeypatch.setattr(Trainer, "train", counting)
    return counted
