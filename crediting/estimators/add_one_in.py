"""What each contributor is worth alone."""

from dataclasses import dataclass
from typing import ClassVar

from crediting.estimators.beside_an_end import BesideAnEnd


@dataclass(frozen=True)
class AddOneIn(BesideAnEnd):
    """Credits v({i}) - v(empty); they need not sum to v(N) - v(empty)."""

    name: ClassVar[str] = "add_one_in"
    estimates: ClassVar[str] = "add-one-in effect"
    designs: ClassVar[tuple[str, ...]] = (name, "paired_uniform", "exhaustive", "recorded")
    at_everybody: ClassVar[bool] = False
