"""All that a calibration found, as tables, figures and sentences are made of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from crediting.agreement import VarianceComponents
from crediting.game.attribution import Attribution
from crediting.pipeline.calibrate.costs import Costs
from crediting.pipeline.calibrate.judged import Judgements
from crediting.pipeline.calibrate.proposal import Tried, proposed
from crediting.pipeline.calibrate.settings import Settings


@dataclass(frozen=True)
class Found:
    """The settings, the replicates of the own one held against each other, and the variances."""

    settings: Settings
    tried: Sequence[Tried]
    repeat: Judgements
    costs: Costs
    credits: Mapping[str, Attribution | None]
    """Of the study's own setting on these coalitions, by property; None if too few are left."""
    components: Mapping[str, VarianceComponents]

    @property
    def threshold(self) -> float:
        """The rank correlation that is asked for."""
        return float(self.settings.own.study.config["calibrate"]["agreement"])

    @property
    def proposal(self) -> Tried | None:
        """The setting that is proposed, if any is."""
        return proposed(self.tried, self.costs.own, self.threshold)
