"""What the grand coalition loses with each contributor."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.estimators.beside_an_end import BesideAnEnd


@dataclass(frozen=True)
class LeaveOneOut(BesideAnEnd):
    """Credits v(N) - v(N without i); they need not sum to v(N) - v(empty).

    Source: Cook, "Detection of influential observation in linear regression", 1977; as a baseline,
    Lu et al. 2025.
    """

    name: ClassVar[str] = "leave_one_out"
    estimates: ClassVar[str] = "leave-one-out effect"
    designs: ClassVar[tuple[str, ...]] = (name, "paired_uniform", "exhaustive", "recorded")
    at_everybody: ClassVar[bool] = True
