"""Who may import whom: arrows point downward, groups never meet, heavy libraries stay put."""

import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from source_rules import covers, cycles, imports, module_of

import crediting

ROOT = Path(crediting.__file__).parent
HEAVY_ROW = (
    "datasets",
    "models",
    "pruning",
    "finetuning",
    "generation",
    "extractors",
    "properties",
    "baselines",
)
GAME_ROW = ("design", "estimators", "interactions", "partitions", "agreement")
TRAINING = ("errors", "halving", "lora", "randomness", "training")
FOUNDATIONS = (
    "errors",
    "files",
    "interfaces",
    "game",
    "ledger",
    "executors",
    "reporting",
    "progress",
    "multiprocess",
)

MAY_IMPORT: dict[str, tuple[str, ...]] = {
    "": (),
    "__main__": ("cli",),
    "cli": (
        *("config", "ending", "errors", "progress"),
        *("pipeline.recorded", "pipeline.stages", "pipeline.study"),
    ),
    "ending": ("errors",),
    "config": ("errors",),
    "config.protocols": ("interfaces",),
    "errors": (),
    "interfaces": (),
    "progress": (),
    "files": ("errors",),
    "game": ("errors",),
    **dict.fromkeys(GAME_ROW, ("game", "errors")),
    "ledger": ("errors", "files", "game", "interfaces"),
    "multiprocess": (),
    "executors": ("errors", "files", "interfaces", "multiprocess"),
    "reporting": ("game", "progress"),
    "randomness": (),
    "lora": ("errors", "randomness"),
    "halving": ("errors", "progress"),
    "training": (),
    "training.recipe": ("errors",),
    "training.checkpoint": ("errors", "files"),
    "training.examples": ("randomness",),
    "training.compiling": ("errors",),
    "training.loss": ("errors", "randomness", "training.examples"),
    "training.batches": ("randomness", "training.recipe"),
    "training.optimizers": ("errors", "training.recipe"),
    "training.distributed": ("errors", "multiprocess", "training.batches"),
    "training.cuda_graphs": ("errors", "progress", "training.compiling"),
    "training.stepping": ("halving", "training.cuda_graphs", "training.loss"),
    "training.trainer": ("errors", "halving", "randomness", "training"),
    "training.stacking": ("randomness", "training"),
    "training.footprint": ("training",),
    "assets": ("errors", "files", "interfaces", "progress"),
    **dict.fromkeys(HEAVY_ROW, ("game.contributor", "interfaces", "assets", *TRAINING)),
    "models": ("files", "game.contributor", "interfaces", "assets", *TRAINING),
    **dict.fromkeys(
        ("baselines", "datasets", "generation"),
        ("game.contributor", "interfaces", "assets", "progress", *TRAINING),
    ),
    "pipeline": (
        *FOUNDATIONS,
        *TRAINING,
        *HEAVY_ROW,
        "agreement",
        "assets",
        "design",
        "estimators",
        "interactions",
    ),
}
"""By unit (a package, or a module beside them) or by module: the parts that it may import."""

TORCH = (
    "torch",
    "torchvision",
    "torchmetrics",
    "torch_pruning",
    "diffusers",
    "transformers",
    "accelerate",
    "peft",
    "safetensors.torch",
    "cleanfid",
)
TORCH_STAGES = (
    "pipeline.train",
    "pipeline.prune",
    "pipeline.likeness",
    "pipeline.extract.stage",
    "pipeline.encode",
    "pipeline.extract.gauges",
    "pipeline.machine",
    "pipeline.memory",
    "pipeline.evaluate.coalition_models",
    "pipeline.evaluate.tuning",
    "pipeline.evaluate.step_rates",
    "pipeline.evaluate.diffusion_game",
    "pipeline.pace",
    "pipeline.compare.material",
)
SLOW = ("diffusers", "transformers", "peft", "scipy.stats", "torchmetrics", "cleanfid")
"""Imported where they are used: a study that is finished then starts in half the time."""
NUMBERS = ("numpy", "scipy")
MAY_USE: dict[str, tuple[str, ...]] = {
    "cli": ("hydra", "omegaconf"),
    "config": ("hydra", "omegaconf"),
    "config.settings": (),
    "config.options": (),
    "config.protocols": (),
    "progress": ("tqdm",),
    "game": NUMBERS,
    "game.recorded": (*NUMBERS, "pyarrow"),
    **dict.fromkeys(GAME_ROW, NUMBERS),
    "estimators.trees.boosting": (*NUMBERS, "sklearn"),
    "estimators.shapiq_adapter": (*NUMBERS, "shapiq"),
    "ledger": ("numpy",),
    "executors": ("ray", "submitit"),
    "reporting": ("numpy", "matplotlib", "rich"),
    **dict.fromkeys(("halving", "lora", "training"), (*TORCH, "numpy", "safetensors")),
    "randomness": ("numpy", "torch"),
    "training.recipe": (),
    "training.optimizers": (*TORCH, "bitsandbytes"),
    "assets": ("huggingface_hub", "torch.hub", "torchvision.datasets.utils", "tqdm"),
    **dict.fromkeys(
        HEAVY_ROW, (*TORCH, "numpy", "scipy", "safetensors", "sklearn", "PIL", "pyarrow")
    ),
    "pipeline": ("numpy", "safetensors.numpy"),
    **dict.fromkeys(TORCH_STAGES, (*TORCH, "numpy")),
}
"""By unit or by module: the libraries beyond the standard one that it may use."""


def sources() -> dict[str, str]:
    """Return the text of every module of the package by its dotted name."""
    return {
        ".".join(path.relative_to(ROOT.parent).with_suffix("").parts).removesuffix(
            ".__init__"
        ): path.read_text()
        for path in sorted(ROOT.rglob("*.py"))
    }


SOURCES = sources()


def is_package(module: str) -> bool:
    return (ROOT.parent / Path(*module.split(".")) / "__init__.py").exists()


def unit_of(module: str) -> str:
    """Return `game` for crediting.game.coalition, `cli` for crediting.cli, "" for crediting."""
    return ".".join(module.split(".")[1:2])


def rule_of(module: str, rules: Iterable[str]) -> str:
    """Return the closest rule that covers a module: its own, or that of a package it is in."""
    within = "" if module == "crediting" else module.removeprefix("crediting.")
    return max((rule for rule in rules if covers(rule, within)), key=len, default="")


def forbidden(module: str, source: str) -> list[str]:
    """Return the imports of a module that the tables above do not allow."""
    rule = rule_of(module, MAY_IMPORT)
    own = (rule,) if rule == unit_of(module) and rule else ()  # of a package, its own modules
    inside = (*MAY_IMPORT[rule], *own)
    outside = MAY_USE.get(rule_of(module, MAY_USE), ())
    found = []
    for imported in imports(source, module, is_package(module)):
        name = imported.name
        if covers("crediting", name):
            target = (module_of(name, SOURCES) or name).removeprefix("crediting.")
            allowed = any(covers(part, target) for part in inside)
        else:
            standard = name.split(".")[0] in sys.stdlib_module_names
            allowed = standard or any(covers(library, name) for library in outside)
        if not allowed:
            found.append(f"{module}:{imported.line} imports {name}")
    return found


def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for module, source in SOURCES.items():
        found = imports(source, module, is_package(module))
        targets = {module_of(i.name, SOURCES) for i in found if covers("crediting", i.name)}
        edges[module] = {target for target in targets if target} - {module}
    return edges


def test_every_part_of_the_package_has_its_rule():
    assert {unit_of(module) for module in SOURCES} == {rule.split(".")[0] for rule in MAY_IMPORT}
    named = {f"crediting.{rule}" for rules in (MAY_IMPORT, MAY_USE) for rule in rules if rule}
    assert named <= set(SOURCES)


@pytest.mark.parametrize("module", SOURCES)
def test_a_module_imports_what_it_may(module):
    assert forbidden(module, SOURCES[module]) == []


def slow_at_once(module: str, source: str) -> list[str]:
    """Return the slow libraries that a module imports as soon as it is imported itself."""
    found = imports(source, module, is_package(module), inside_functions=False)
    return [i.name for i in found if any(covers(library, i.name) for library in SLOW)]


@pytest.mark.parametrize("module", SOURCES)
def test_slow_libraries_wait_until_they_are_used(module):
    assert slow_at_once(module, SOURCES[module]) == []


def test_there_is_no_import_cycle():
    assert cycles(graph()) == []


def test_only_the_door_knows_hydra():
    knowing = {
        unit_of(module)
        for module, source in SOURCES.items()
        if any(i.name.split(".")[0] in ("hydra", "omegaconf") for i in imports(source, module))
    }
    assert knowing == {"cli", "config"}


# ------------------------------------------------------------------------------ the rules can fail


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crediting.game.made_up", "import torch"),
        ("crediting.game.made_up", "from crediting.ledger import Ledger"),
        ("crediting.game.made_up", "from crediting import pipeline"),
        ("crediting.estimators.made_up", "def f():\n    from safetensors.torch import save"),
        ("crediting.estimators.made_up", "from crediting.design import Exhaustive"),
        ("crediting.design.made_up", "from ..estimators import exact"),
        ("crediting.partitions.made_up", "import sklearn.datasets"),
        ("crediting.ledger.made_up", "from crediting.pipeline.study import Study"),
        ("crediting.executors.made_up", "import numpy"),
        ("crediting.models.made_up", "import hydra"),
        ("crediting.models.made_up", "from crediting.datasets import Digits"),
        ("crediting.models.made_up", "from crediting.game.coalition import coalition_key"),
        ("crediting.pipeline.study", "import torch.nn as nn"),
        ("crediting.pipeline.made_up", "from crediting import config"),
        ("crediting.pipeline.made_up", "from omegaconf import OmegaConf"),
        ("crediting.pipeline.report.stage", "from safetensors.torch import load_file"),
        ("crediting.training.made_up", "from crediting.pipeline import train"),
        ("crediting.training.batches", "from crediting.training import trainer"),
        ("crediting.reporting.made_up", "from crediting.estimators import Exact"),
        ("crediting.interfaces", "import torch"),
        ("crediting.cli", "from crediting.pipeline.train import train"),
    ],
)
def test_forbidden_imports_are_found(module, source):
    assert len(forbidden(module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("crediting.interfaces", "if TYPE_CHECKING:\n    import torch"),
        ("crediting.game.made_up", "import math, numpy\nfrom .coalition import Coalition"),
        ("crediting.models.made_up", "from crediting.training import Recipe"),
        ("crediting.pipeline.train", "import torch"),
    ],
)
def test_allowed_imports_are_not(module, source):
    assert forbidden(module, source) == []


def test_slow_libraries_are_found():
    late = "def f():\n    import diffusers\nif TYPE_CHECKING:\n    import peft"
    assert slow_at_once("crediting.training", late) == []
    early = "from scipy.stats import t\nclass A:\n    from diffusers import B"
    assert slow_at_once("crediting.training", early) == ["scipy.stats.t", "diffusers.B"]


def test_cycles_are_found():
    assert cycles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c", "a"]]
    assert cycles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_are_read_wherever_they_stand():
    source = (
        "import a.b\nfrom c import d as e\nclass F:\n    def g(self):\n        from h.i import j"
    )
    assert [found.name for found in imports(source, "m")] == ["a.b", "c.d", "h.i.j"]
    assert [found.name for found in imports("from . import x", "p.q", True)] == ["p.q.x"]
    assert [found.name for found in imports("from .r import x", "p.q.s")] == ["p.q.r.x"]
    assert [found.name for found in imports("from ..r import x", "p.q.s")] == ["p.r.x"]
