"""One experiment: its parts, and where its results lie."""

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crediting.game.axioms import declared_players
from crediting.game.coalition import (
    CoalitionMatrix,
    distinct,
    ends,
    is_proper,
)
from crediting.game.contributor import Partition
from crediting.game.game import Sample
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
from crediting.ledger import EmptyLedger, Ledger, Store
from crediting.pipeline.address import Addressed, GameSpec, locate
from crediting.pipeline.estimate.pairing import check_pairing, drawn, kind_of
from crediting.pipeline.given import contributors
from crediting.pipeline.machine import capacity, gpus, training_processes
from crediting.pipeline.prompts import prompts_of
from crediting.pipeline.refusals import (
    check_names,
    check_payout,
    check_prompts,
    check_stack,
    check_stopping,
    reader_of,
)


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
        check_names(parts["property"])
        check_prompts(parts["model"], parts["generation"])
        readers = {
            name: reader_of(name, measured, parts["extractor"])
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
        check_stopping(study)
        check_stack(study)
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
        return self.configured(replicates=times)

    def configured(self, **settings: Any) -> "Study":
        """Return the study with other settings of its config, on which no address depends."""
        return replace(self, config={**self.config, **settings})

    def stored_in(self, address: Addressed) -> Path:
        """Return the folder of a result in the store, whether or not it is there."""
        return self.store.folder(address.stage, address.fingerprint)

    def has_stored(self, address: Addressed) -> bool:
        """Return whether the store holds a result."""
        return self.store.is_complete(address.stage, address.fingerprint)

    def manifest(self, address: Addressed) -> dict[str, Any]:
        """Return what the store says of a result, its files verified.

        Raises:
            ArtifactError: it is not there, or a file is corrupt.
        """
        return self.store.read(address.stage, address.fingerprint)

    def ledger(self, spec: GameSpec) -> Ledger:
        """Return the ledger of a game; raises LedgerError where nothing was evaluated yet."""
        return Ledger(self.stored_in(spec.address) / "ledger.sqlite", spec.address.fingerprint)

    def recorded(self, spec: GameSpec) -> Ledger:
        """Return the ledger of a game, an empty one where nothing was evaluated yet."""
        game = spec.address.fingerprint
        return Ledger.peek(self.stored_in(spec.address), game) or EmptyLedger(game)

    @property
    def games(self) -> list[GameSpec]:
        """The games to be played: one, or two where the ends come from another."""
        return [self.game] if self.endpoints is self.game else [self.game, self.endpoints]

    def __getstate__(self) -> dict[str, Any]:
        """Drop what is cached; it must not change that the two games may be one."""
        return {k: v for k, v in self.__dict__.items() if k != "sample"}


def has_budget(design: Design) -> bool:
    """Return whether a design can be ended early, having a budget that can be lowered."""
    return is_dataclass(design) and hasattr(design, "budget")
