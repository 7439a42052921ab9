"""What of a study cannot work together: refused before anything is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from crediting.errors import ConfigError, did_you_mean
from crediting.executors import Processes, RayCluster, Slurm
from crediting.game.recorded import REPLICATE
from crediting.interfaces import DiffusionModel, Extractor, Generation, Property
from crediting.pipeline.estimate.pairing import check_number
from crediting.pipeline.file_names import LONGEST, can_name_files

if TYPE_CHECKING:
    from crediting.pipeline.study import Study


def check_names(properties: Iterable[str]) -> None:
    """Raise ConfigError if files or columns cannot bear the name of a property."""
    for name in properties:
        if not can_name_files(name):
            raise ConfigError(
                f"property.{name}: files are named after it, so the name must be one of a file, "
                f"of at most {LONGEST} bytes; rename it where it is defined"
            )
        if name.lower() == REPLICATE:
            raise ConfigError(
                f"property.{name}: in tables of utilities the column of that name tells the "
                "replicate; rename it where it is defined"
            )


def check_prompts(model: DiffusionModel, generation: Generation) -> None:
    """Raise ConfigError if a model lacks the prompts that it draws, or is given some in vain."""
    if model.conditional and generation.prompts is None:
        raise ConfigError(
            "generation.prompts: this model draws what a prompt says, and there is none; give a "
            "list of prompts, or generation.prompts=captions for those of the dataset"
        )
    if not model.conditional and generation.prompts is not None:
        raise ConfigError(
            f"generation.prompts: this model reads no prompts, got {generation.prompts!r}; set "
            "generation.prompts=null and generation.guidance=null"
        )


def reader_of(name: str, measured: Property, extractors: Mapping[str, Extractor]) -> str:
    """Return the extractor that a property reads: the one it names, or the first that will do.

    Raises:
        ConfigError: there is none.
    """
    able = [key for key, extractor in extractors.items() if measured.needs in extractor.gives]
    if measured.extractor is None and able:
        return able[0]
    if measured.extractor in able:
        return str(measured.extractor)
    chosen = ", ".join(extractors)
    if measured.extractor is None or measured.extractor in extractors:
        lacking = f"{measured.extractor} does not give"
        if measured.extractor is None:
            lacking = "none of the chosen extractors gives"
        raise ConfigError(
            f"property.{name}: it needs {measured.needs}, which {lacking}; chosen are {chosen}: "
            "choose others with extractor=[...]"
        )
    raise ConfigError(
        f"property.{name}.extractor: {measured.extractor} is not among the chosen extractors "
        f"({chosen}); add it with extractor=[{chosen},{measured.extractor}]"
    )


def check_payout(payout: Mapping[str, float], properties: Sequence[str]) -> None:
    """Check the amounts to share, by property, in report.payout.

    Raises:
        ConfigError: money is for no property of these.
    """
    for name in payout:
        if name not in properties:
            raise ConfigError(
                f"report.payout: expected amounts of money by property, got one for {name!r}; "
                f"{did_you_mean(name, properties)}"
            )


def check_stopping(study: Study) -> None:
    """Raise ConfigError if a study cannot end early as `stop` asks, or would with too little."""
    budget = study.config["stop"]["budget"]
    if budget is not None:
        check_number(study.estimator, study.sample.coalitions[:budget], "stop.budget")
    rules = [f"stop.{name}" for name, value in study.config["stop"].items() if value is not None]
    if rules and not study.can_shrink:
        raise ConfigError(
            f"{rules[0]}: design={study.design.name} always evaluates all of its coalitions, so it "
            f"cannot stop early; choose a design with a budget, or set {rules[0]}=null"
        )


def check_stack(study: Study) -> None:
    """Raise ConfigError if nobody could measure how many coalitions to train at once."""
    if study.runtime["stack"] != "auto":
        return
    executor = study.executor
    if isinstance(executor, RayCluster | Slurm):
        raise ConfigError(
            "runtime.stack: auto is measured on this machine, and coalitions are evaluated on "
            "others; give a number, such as runtime.stack=8"
        )
    if isinstance(executor, Processes) and executor.per_gpu != 1:
        raise ConfigError(
            f"executor.per_gpu: expected 1, got {executor.per_gpu}, as runtime.stack=auto finds "
            "out itself how many processes share a GPU; leave it, or set runtime.stack to a number"
        )
