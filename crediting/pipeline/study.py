"""One experiment: its parts, and where its results lie."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crediting.errors import ConfigError
from crediting.executors import Processes, RayCluster, Slurm
from crediting.game.axioms import declared_players
from crediting.game.coalition import (
    CoalitionMatrix,
    distinct,
    ends,
    is_proper,
)
from crediting.game.contributor import Partition
from crediting.game.game import Sample
from crediting.game.recorded import REPLICATE
from crediting.interfaces import (
    Baseline,
    Dataset,
    Design,
    DiffusionModel,
    Estimator,
    Executor,
    Extractor,
    Generation,
    Property,
)
from crediting.ledger import Store
from crediting.pipeline.address import Addressed, GameSpec, locate
from crediting.pipeline.estimate.pairing import check_number, check_pairing, drawn, kind_of
from crediting.pipeline.file_names import LONGEST, can_name_files
from crediting.pipeline.given import contributors
from crediting.pipeline.machine import capacity, gpus, training_processes
from crediting.pipeline.prompts import prompts_of
from crediting.pipeline.report.tables import check_payout


@dataclass(frozen=True)
class Study:
    """Everything that the stages need; plain data and idle parts, so it can be sent to workers."""

    config: Mapping[str, Any]
    dataset: Dataset
    partition: Partition
    model: DiffusionModel
    generation: Generation
    extractors: Mapping[str, Extractor]
    properties: Mapping[str, Property]
    readers: Mapping[str, str]
    """The extractor that each property reads."""
    design: Design
    estimator: Estimator
    executor: Executor
    baselines: Mapping[str, Baseline]
    examples: Addressed
    prompts: Addressed
    trained: Addressed
    extracted: Mapping[str, Addressed]
    game: GameSpec
    dense: GameSpec
    """The full model as trained, whatever the coalition."""
    endpoints: GameSpec
    """The game that v(N) and v(empty) are taken from: the same one unless endpoints=dense."""
    property_fingerprints: Mapping[str, str]

    @staticmethod
    def assemble(config: Mapping[str, Any], parts: Mapping[str, Any]) -> "Study":
        """Put the parts together; the partition is made and the pairing checked here.

        Raises:
            ConfigError: the estimator cannot use the design, or the budget is too small for it, or
                evaluating is to stop early and the design has no budget; a
                property's name is no file name or that of another column, or nothing gives what it
                needs; the device asked for is not there, or too few of them; the model needs
                prompts, or cannot read any, or the dataset has no captions to draw.
            DataError: the partition is not one, or published weights are not on this machine.
        """
        runtime = config["runtime"]
        training_processes(runtime)
        _check_names(parts["property"])
        _check_prompts(parts["model"], parts["generation"])
        readers = {
            name: _reader(name, measured, parts["extractor"])
            for name, measured in parts["property"].items()
        }
        partition = contributors(parts["partition"], parts["dataset"])
        study = Study(
            config=config,
            dataset=parts["dataset"],
            partition=partition,
            model=parts["model"],
            generation=parts["generation"],
            extractors=parts["extractor"],
            properties=parts["property"],
            readers=readers,
            design=parts["design"],
            estimator=parts["estimator"],
            executor=parts["executor"].sized(capacity(runtime), gpus(runtime)),
            baselines=parts["baseline"],
            **locate(config, parts, partition, readers),
        )
        prompts_of(study)  # captions may be asked for where there are none
        declared_players(partition.names, **config["axioms"])
        check_payout(config["report"]["payout"], list(parts["property"]))
        check_pairing(study.estimator, kind_of(study.design), study.sample.coalitions)
        _check_stopping(study)
        _check_stack(study)
        return study

    @property
    def name(self) -> str:
        """The study's name."""
        return self.config["name"]

    @property
    def seed(self) -> int:
        """The seed that every random number descends from."""
        return self.config["seed"]

    @property
    def replicates(self) -> range:
        """The independent repetitions of every coalition."""
        return range(self.config["replicates"])

    @property
    def top(self) -> int:
        """How many contributors are the top ones; at least one is not."""
        return min(self.config["report"]["top"], len(self.partition) - 1)

    @property
    def runtime(self) -> Mapping[str, Any]:
        """How things run (configs/runtime)."""
        return self.config["runtime"]

    @property
    def store(self) -> Store:
        """Where results are addressed by fingerprint."""
        return Store(Path(self.config["paths"]["outputs"]) / "store")

    @property
    def folder(self) -> Path:
        """Where tables, figures and the manifest of this study go."""
        return Path(self.config["paths"]["outputs"]) / "studies" / self.name

    @cached_property
    def sample(self) -> Sample:
        """What the design asks for."""
        return drawn(self.design, len(self.partition))

    @property
    def drawn_prompts(self) -> list[str]:
        """The prompts that images show, in turn; none where the model reads none."""
        return prompts_of(self)

    @property
    def ends(self) -> CoalitionMatrix:
        """The empty and the grand coalition, (2, n)."""
        return ends(len(self.partition))

    def coalitions(self, spec: GameSpec) -> CoalitionMatrix:
        """Return the distinct coalitions to evaluate in a game, (m, n), the ends first.

        The ends belong to the game that they are taken from, even if the design asks for them.
        """
        proper = self.sample.coalitions[is_proper(self.sample.coalitions)]
        rows = [self.ends] if spec is self.endpoints else []
        rows += [proper] if spec is self.game else []
        return distinct(np.concatenate(rows))

    @property
    def can_shrink(self) -> bool:
        """Whether the design has a budget, which a study can have less of."""
        return has_budget(self.design)

    def with_budget(self, budget: int) -> "Study":
        """Return the study whose design draws so many coalitions, the first of those of this one.

        Being a study with a smaller budget, not a part of one, it knows with what probability it
        has each of them.
        """
        if budget == len(self.sample):
            return self
        return replace(self, design=replace(self.design, budget=budget))  # type: ignore[type-var]

    def repeated(self, times: int) -> "Study":
        """Return the study with so many replicates."""
        return replace(self, config={**self.config, "replicates": times})

    def stored_in(self, address: Addressed) -> Path:
        """Return the folder of a result in the store, whether or not it is there."""
        return self.store.folder(address.stage, address.fingerprint)

    @property
    def games(self) -> list[GameSpec]:
        """The games to be played: one, or two where the ends come from another."""
        return [self.game] if self.endpoints is self.game else [self.game, self.endpoints]

    def __getstate__(self) -> dict[str, Any]:
        """Drop what is cached; it must not change that the two games may be one."""
        return {k: v for k, v in self.__dict__.items() if k != "sample"}


def _check_names(properties: Iterable[str]) -> None:
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


def _check_prompts(model: DiffusionModel, generation: Generation) -> None:
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


def _reader(name: str, measured: Property, extractors: Mapping[str, Extractor]) -> str:
    """Return the extractor that a property reads: the one it names, or the first that will do."""
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


def has_budget(design: Design) -> bool:
    """Return whether a design can be ended early, having a budget that can be lowered."""
    return is_dataclass(design) and hasattr(design, "budget")


def _check_stopping(study: Study) -> None:
    budget = study.config["stop"]["budget"]
    if budget is not None:
        check_number(study.estimator, study.sample.coalitions[:budget], "stop.budget")
    rules = [f"stop.{name}" for name, value in study.config["stop"].items() if value is not None]
    if rules and not study.can_shrink:
        raise ConfigError(
            f"{rules[0]}: design={study.design.name} always evaluates all of its coalitions, so it "
            f"cannot stop early; choose a design with a budget, or set {rules[0]}=null"
        )


def _check_stack(study: Study) -> None:
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
