"""Designs: which coalitions are evaluated."""

from crediting.design.add_one_in import AddOneIn
from crediting.design.bernoulli import Bernoulli
from crediting.design.exhaustive import Exhaustive
from crediting.design.fixed_size import FixedSize
from crediting.design.leave_one_out import LeaveOneOut
from crediting.design.paired import PairedKernel, PairedUniform
from crediting.design.permutation import Permutation
from crediting.design.shapley_kernel import ShapleyKernel
from crediting.design.stratified import Stratified

__all__ = [
    "AddOneIn",
    "Bernoulli",
    "Exhaustive",
    "FixedSize",
    "LeaveOneOut",
    "PairedKernel",
    "PairedUniform",
    "Permutation",
    "ShapleyKernel",
    "Stratified",
]
