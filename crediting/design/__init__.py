"""Designs: which coalitions are evaluated."""

from crediting.design.exhaustive import Exhaustive
from crediting.design.leave_one_out import LeaveOneOut
from crediting.design.shapley_kernel import ShapleyKernel

__all__ = ["Exhaustive", "LeaveOneOut", "ShapleyKernel"]
