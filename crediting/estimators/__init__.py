"""Estimators: from evaluated coalitions to credits."""

from crediting.estimators.bayesian import Bayesian
from crediting.estimators.exact import Exact
from crediting.estimators.kernel_shap import KernelShap
from crediting.estimators.leave_one_out import LeaveOneOut

__all__ = ["Bayesian", "Exact", "KernelShap", "LeaveOneOut"]
