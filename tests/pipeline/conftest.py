"""A miniature study: the default one with so few steps that it takes seconds."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from crediting import config
from crediting.pipeline import stages
from crediting.pipeline.study import Study

MINIATURE = (
    "partition=by_shards",
    "partition.contributors=4",
    "model.training.steps=6",
    "pruning.recovery.steps=3",
    "finetuning.recipe.steps=2",
    "generation.images=12",
    "generation.steps=2",
    "extractor.steps=20",
    "executor=serial",
    "report.grid=4",
)


def make_study(outputs: Path, *overrides: str) -> Study:
    config.register()
    if not any(word.startswith(("design", "estimator=")) for word in overrides):
        overrides = ("design.budget=6", *overrides)
    shared = [w for w in MINIATURE if "pruning=none" not in overrides or w[:8] != "pruning."]
    with initialize_config_dir(version_base="1.3", config_dir=str(config.CONFIG_DIR)):
        composed = compose("config", [*shared, f"paths.outputs={outputs}", *overrides])
    plain = config.resolve(composed)
    return Study.assemble(plain, config.build(plain))


@pytest.fixture
def study(tmp_path):
    """Return a function that makes miniature studies which share one outputs folder."""
    return lambda *overrides: make_study(tmp_path / "outputs", *overrides)


@pytest.fixture
def prepared(study):
    """Return a function that makes such studies with all in the store that evaluation needs."""

    def prepare(*overrides: str) -> Study:
        made = study(*overrides)
        for stage in ("train", "prune", "extract"):
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
