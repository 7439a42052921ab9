"""A study among the methods that it is compared with, and the retraining that judges them all."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from crediting.design import FixedSize
from crediting.errors import ConfigError
from crediting.finetuning import Retrain
from crediting.game.coalition import CoalitionMatrix
from crediting.ledger import canonical_json
from crediting.pipeline.address import GameSpec
from crediting.pipeline.estimate.finding import estimates_shapley_values
from crediting.pipeline.evaluate.stopping import stopped
from crediting.pipeline.study import Study, has_budget
from crediting.randomness import derive_seed

OWN = "own"
"""The name of the study's own credits among those that are compared."""


@dataclass(frozen=True)
class Contest:
    """The study, the methods by name, and the game of models trained from scratch.

    `paced` are the study with other numbers of steps, of which the utilities alone are compared;
    where their credits are, too, they are among the methods.
    """

    own: Study
    methods: Mapping[str, Study]
    paced: Mapping[str, Study]
    truth: Study

    @staticmethod
    def assemble(
        own: Study, variants: Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]
    ) -> "Contest":
        """Return the contest of a study and its variants, `truth` among them.

        Raises:
            ConfigError: a method's estimator cannot use its design, or a share of compare.alphas is
                less than one contributor.
        """
        studies = {name: _variant(name, *made) for name, made in variants.items()}
        truth = studies.pop("truth")
        asked = {f"steps_{count}" for count in own.config["compare"]["steps"]}  # as config.methods
        paced = {name: studies.pop(name) for name in list(studies) if name in asked}
        if own.config["compare"]["credits_of_steps"]:
            known = own.game.address.fingerprint
            others = {n: s for n, s in paced.items() if s.game.address.fingerprint != known}
            studies, paced = {**studies, **others}, {}
        contest = Contest(own, studies, paced, truth)
        _ = contest.tests  # refused now rather than after hours of evaluating
        return contest

    @property
    def settings(self) -> Mapping[str, Any]:
        """The section `compare` of the config."""
        return self.own.config["compare"]

    @property
    def retrains(self) -> bool:
        """Whether what credits are judged by is training from scratch, as it is unless changed."""
        return isinstance(self.truth.game.finetuning, Retrain)

    @property
    def games(self) -> dict[str, Study]:
        """All whose credits come from evaluated coalitions, the study itself first."""
        return {OWN: self.own, **self.methods}

    def reached(self) -> dict[str, Study]:
        """Return the same with the budgets at which their rules ended evaluating.

        Where that is not known yet, it is all that they might be evaluated at. As asking rules may
        take as long as estimating, they are asked once: not before methods are evaluated.
        """
        return self._reached

    @cached_property
    def _reached(self) -> dict[str, Study]:
        return {name: stopped(study) for name, study in self.games.items()}

    @property
    def distinct_games(self) -> dict[str, Study]:
        """One study for every way of obtaining a coalition's model, but for retraining."""
        known = {self.truth.game.address.fingerprint}
        found = {}
        for name, study in {**self.games, **self.paced}.items():
            if study.game.address.fingerprint not in known:
                known.add(study.game.address.fingerprint)
                found[name] = study
        return found

    def steps_as_own(self, name: str) -> int | None:
        """Return the steps of a method that is the study's own fine-tuning but for them."""
        study = self.distinct_games.get(name)
        if study is None or but_for_steps(study.game) != but_for_steps(self.own.game):
            return None
        recipe = study.game.finetuning.recipe
        return recipe.steps if recipe else None

    @property
    def reference(self) -> str:
        """The method whose credits come nearest to the definition: by retraining, or the study."""
        exact = self.truth.game.address.fingerprint
        for name, study in self.games.items():
            shapley = estimates_shapley_values(study.estimator)
            if shapley and study.game.address.fingerprint == exact:
                return name
        return OWN

    @property
    def trainings(self) -> int:
        """How often each test coalition is trained."""
        return int(self.settings["trainings"])

    @cached_property
    def tests(self) -> dict[float, CoalitionMatrix]:
        """The test coalitions by the share of contributors that they hold, each (m, n)."""
        return {
            alpha: self.of_size(alpha, self.settings["coalitions"])
            for alpha in self.settings["alphas"]
        }

    @property
    def main_alpha(self) -> float:
        """The size at which methods are ranked: the one nearest to half of the contributors."""
        return min(self.tests, key=lambda alpha: (abs(alpha - 0.5), alpha))

    def of_size(self, share: float, count: int) -> CoalitionMatrix:
        """Return random coalitions of a size, (at most count, n), always the same.

        Raises:
            ConfigError: the share is less than one contributor.
        """
        n_players = len(self.own.partition)
        if math.floor(round(share * n_players, 9)) < 1:
            raise ConfigError(
                f"compare.alphas: {share:g} of {n_players} contributors is less than one; choose "
                f"shares from {1 / n_players:.2g}"
            )
        seed = derive_seed("test coalitions", self.own.seed)
        return FixedSize(alpha=share, budget=count, seed=seed).sample(n_players).coalitions


def but_for_steps(spec: GameSpec) -> str:
    """Return what obtains the models of a game, whatever its number of steps, as canonical text."""
    finetuning = spec.address.content["finetuning"]
    recipe = {**(finetuning.get("recipe") or {}), "steps": None}
    return canonical_json([spec.start.fingerprint, {**finetuning, "recipe": recipe}])


def _variant(name: str, config: Mapping[str, Any], parts: Mapping[str, Any]) -> Study:
    if not has_budget(parts["design"]):  # needs all its coalitions, whatever ends the others
        config = {**config, "stop": dict.fromkeys(config["stop"])}
    try:
        return Study.assemble(config, parts)
    except ConfigError as error:
        raise ConfigError(f"method.{name}: {error}") from error
