"""The statistics of proof: how well credits and cheap utilities agree with retraining."""

from crediting.agreement.correlation import (
    bootstrap_interval,
    mean_absolute_error,
    pearson,
    spearman,
)
from crediting.agreement.counterfactual import (
    Change,
    against_random,
    kept,
    relative_change,
    removed,
)
from crediting.agreement.datamodel_score import (
    DatamodelScore,
    ScoreDifference,
    datamodel_score,
    difference,
)
from crediting.agreement.fidelity import Fidelity, fidelity, verdict
from crediting.agreement.variance_components import (
    Component,
    VarianceComponents,
    variance_components,
)

__all__ = [
    "Change",
    "Component",
    "DatamodelScore",
    "Fidelity",
    "ScoreDifference",
    "VarianceComponents",
    "against_random",
    "bootstrap_interval",
    "datamodel_score",
    "difference",
    "fidelity",
    "kept",
    "mean_absolute_error",
    "pearson",
    "relative_change",
    "removed",
    "spearman",
    "variance_components",
    "verdict",
]
