"""The study's own setting on a few coalitions, and the cheaper ones that are tried beside it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crediting.errors import ConfigError
from crediting.game.coalition import CoalitionMatrix, is_proper
from crediting.pipeline.calibrate.choices import IMAGES, Choice, altered_groups, choices
from crediting.pipeline.calibrate.image_parts import ImagePart
from crediting.pipeline.evaluate.stage import evaluate_coalitions
from crediting.pipeline.study import Study

Alter = Callable[[Mapping[str, Any]], tuple[Mapping[str, Any], Mapping[str, Any]]]
"""From settings of some groups to the whole config and the parts with them; see config."""

OWN = "unchanged"


@dataclass(frozen=True)
class Setting:
    """A way to obtain the utilities of a calibration's coalitions.

    `study` has those coalitions and replicates; `part` says of whose images its own are the first,
    where nothing has to be generated for them.
    """

    chosen: tuple[Choice, ...]
    study: Study
    part: ImagePart | None

    @property
    def name(self) -> str:
        """What to type for it."""
        return " ".join(word for one in self.chosen for word in one.overrides) or OWN

    @property
    def factor(self) -> str:
        """The factor that is otherwise, or all of them."""
        return " and ".join(one.factor for one in self.chosen)

    @property
    def images(self) -> int:
        """How many images of each model are measured."""
        return self.part.last if self.part else self.study.generation.images

    def evaluate(self) -> None:
        """Evaluate all that its ledgers lack.

        Raises:
            EvaluationError: coalitions failed, and allow_missing is off or one of them is an end.
        """
        if self.part:
            self.part.evaluate()
            return
        for spec in self.study.games:
            evaluate_coalitions(self.study, spec, self.study.coalitions(spec))


@dataclass(frozen=True)
class Settings:
    """All settings that a calibration tries at first, and why others are not among them."""

    own: Setting
    tried: Sequence[Setting]
    left_out: Sequence[str]
    alter: Alter

    @property
    def threshold(self) -> float:
        """The rank correlation that is asked for."""
        return float(self.own.study.config["calibrate"]["agreement"])

    @staticmethod
    def assemble(study: Study, alter: Alter) -> "Settings":
        """Return the settings that the config of a study asks for.

        Raises:
            ConfigError: the coalitions are too few for the estimator or the design cannot draw so
                few, or a setting cannot work.
        """
        # of whose images parts are measured later
        keeping = study.configured(runtime={**study.runtime, "keep_images": True})
        own = Setting((), _on_few(keeping), None)
        found, left_out = choices(study.config)
        settings, tried = Settings(own, [], left_out, alter), []
        for one in map(settings.setting, ([choice] for choice in found)):
            try:
                one.study.generation.check(study.model)
                tried.append(one)
            except ConfigError as error:
                left_out.append(f"Not tried: {one.name}, as {error}.")
        return replace(settings, tried=tried)

    def setting(self, chosen: Sequence[Choice]) -> Setting:
        """Return the setting of choices of different factors.

        Fewer images alone are the first of those of the study's own setting.

        Raises:
            ConfigError: it cannot work.
        """
        whole = self.own.study
        if [one.factor for one in chosen] == [IMAGES]:
            part = ImagePart(whole, 0, chosen[0].amount)
            return Setting(tuple(chosen), part.study, part)
        try:
            study = Study.assemble(*self.alter(altered_groups(whole.config, chosen)))
        except ConfigError as error:
            raise ConfigError(f"calibrate: {error}") from error
        return Setting(tuple(chosen), _on_few(study), None)


def proper_coalitions(study: Study) -> CoalitionMatrix:
    """Return the coalitions (m, n) of a study's own game but for the empty and the grand one."""
    rows = study.coalitions(study.game)
    return rows[is_proper(rows)]


def _on_few(study: Study) -> Study:
    """Return the study on the first few coalitions of its design, as often as is asked for."""
    asked = study.config["calibrate"]["coalitions"]
    drawn, least = len(study.sample), study.estimator.minimum_coalitions(len(study.partition))
    if asked < least:
        raise ConfigError(
            f"calibrate.coalitions: estimator={study.estimator.name} needs at least {least} "
            f"coalitions for {len(study.partition)} contributors, got {asked}"
        )
    if asked < drawn and not study.can_shrink:
        raise ConfigError(
            f"calibrate.coalitions: design={study.design.name} has no budget, so all of its "
            f"{drawn} coalitions are needed, got {asked}; raise it, or choose a design with one"
        )
    few = study.with_budget(asked) if asked < drawn else study
    return few.repeated(study.config["calibrate"]["replicates"])
