"""One experiment: its parts, the fingerprints that address its results, and where those lie."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from crediting.errors import ConfigError
from crediting.game.coalition import CoalitionMatrix, distinct, empty_coalition, grand_coalition
from crediting.game.contributor import Partition
from crediting.game.game import Sample
from crediting.interfaces import (
    Dataset,
    Design,
    DiffusionModel,
    Estimator,
    Executor,
    Extractor,
    FineTuning,
    Generation,
    Property,
    Pruning,
)
from crediting.ledger import Store, fingerprint
from crediting.pipeline.machine import capacity


@dataclass(frozen=True)
class Addressed:
    """A result's stage, the fingerprint that addresses it, and the content behind that."""

    stage: str
    fingerprint: str
    content: Mapping[str, Any]
    parents: tuple[str, ...]


@dataclass(frozen=True)
class GameSpec:
    """Which model every coalition starts from, and how its own model is obtained from that."""

    address: Addressed
    start: Addressed
    pruning: Pruning
    finetuning: FineTuning


@dataclass(frozen=True)
class Study:
    """Everything that the stages need; plain data and idle parts, so it can be sent to workers."""

    config: Mapping[str, Any]
    dataset: Dataset
    partition: Partition
    model: DiffusionModel
    generation: Generation
    extractor: Extractor
    properties: Mapping[str, Property]
    design: Design
    estimator: Estimator
    executor: Executor
    trained: Addressed
    extracted: Addressed
    game: GameSpec
    endpoints: GameSpec
    """The game that v(N) and v(empty) are taken from: the same one unless endpoints=dense."""
    property_fingerprints: Mapping[str, str]

    @staticmethod
    def assemble(config: Mapping[str, Any], parts: Mapping[str, Any]) -> "Study":
        """Put the parts together; the partition is made and the pairing checked here.

        Raises:
            ConfigError: the estimator cannot use the design, or the budget is too small for it; a
                property's name is no file name; the device asked for is not there.
            DataError: the partition is not one.
        """
        _check_names(parts["property"])
        partition = parts["partition"].partition(parts["dataset"].columns())
        study = Study(
            config=config,
            dataset=parts["dataset"],
            partition=partition,
            model=parts["model"],
            generation=parts["generation"],
            extractor=parts["extractor"],
            properties=parts["property"],
            design=parts["design"],
            estimator=parts["estimator"],
            executor=parts["executor"].sized(capacity(config["runtime"])),
            **_address(config, parts, partition),
        )
        _check_pairing(study)
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
        return self.design.sample(len(self.partition))

    @property
    def ends(self) -> CoalitionMatrix:
        """The empty and the grand coalition, (2, n)."""
        n_players = len(self.partition)
        return np.stack([empty_coalition(n_players), grand_coalition(n_players)])

    def coalitions(self, spec: GameSpec) -> CoalitionMatrix:
        """Return the distinct coalitions to evaluate in a game, (m, n), the ends first.

        The ends belong to the game that they are taken from, even if the design asks for them.
        """
        sizes = self.sample.coalitions.sum(axis=1)
        proper = self.sample.coalitions[(sizes > 0) & (sizes < len(self.partition))]
        rows = [self.ends] if spec is self.endpoints else []
        rows += [proper] if spec is self.game else []
        return distinct(np.concatenate(rows))

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
        if Path(name).name != name:
            raise ConfigError(
                f"property.{name}: files are named after it, so the name must be one of a file; "
                "rename it where it is defined"
            )


def _check_pairing(study: Study) -> None:
    design, estimator, n_players = study.design, study.estimator, len(study.partition)
    if design.name not in estimator.designs:
        raise ConfigError(
            f"estimator={estimator.name} cannot use the coalitions of design={design.name}; "
            f"it can use design={' or design='.join(estimator.designs)}"
        )
    drawn = len(study.sample)
    least = estimator.minimum_coalitions(n_players)
    if drawn < least:
        raise ConfigError(
            f"design.budget: estimator={estimator.name} needs at least {least} coalitions for "
            f"{n_players} contributors, got {drawn}"
        )


def _address(
    config: Mapping[str, Any], parts: Mapping[str, Any], partition: Partition
) -> dict[str, Any]:
    """Return the addresses of all results: each hashes its own config and its parents."""
    seed = {"seed": config["seed"]}
    data = fingerprint("dataset", {"digest": parts["dataset"].digest()})

    def address(stage: str, content: Mapping[str, Any], *parents: str) -> Addressed:
        return Addressed(stage, fingerprint(stage, content, parents), content, parents)

    trained = address("model", {"model": config["model"], **seed}, data)
    extracted = address("extractor", {"extractor": config["extractor"]}, data)

    def game(settings: Mapping[str, Any], pruning: Pruning, finetuning: FineTuning) -> GameSpec:
        start = address("sparse", {"pruning": settings["pruning"], **seed}, trained.fingerprint)
        content = {
            "players": partition.digest(),
            "finetuning": settings["finetuning"],
            "generation": _without(config["generation"], "batch_size"),
            **seed,
        }
        return GameSpec(address("game", content, start.fingerprint), start, pruning, finetuning)

    own = game(config, parts["pruning"], parts["finetuning"])
    ends = own if config["endpoints"] == "same" else _dense_endpoints(game)
    return {
        "trained": trained,
        "extracted": extracted,
        "game": own,
        "endpoints": ends,
        "property_fingerprints": {
            name: fingerprint("property", subtree, [extracted.fingerprint])
            for name, subtree in config["property"].items()
        },
    }


def _dense_endpoints(game: Callable[..., GameSpec]) -> GameSpec:
    """Return the game of the full model as trained: the authors' v(N) and v(empty)."""
    from crediting.finetuning import Unchanged
    from crediting.pruning import NoPruning

    settings = {
        "pruning": {"_target_": "crediting.pruning.NoPruning"},
        "finetuning": {"_target_": "crediting.finetuning.Unchanged"},
    }
    return game(settings, NoPruning(), Unchanged())


def _without(settings: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {k: v for k, v in settings.items() if k != key}
