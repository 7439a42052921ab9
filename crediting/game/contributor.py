"""Contributors (the players of the game) and the partition of the training examples among them."""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from crediting.errors import DataError


@dataclass(frozen=True)
class Contributor:
    """One player: a name and the indices of the examples it supplied, int64 (examples,)."""

    name: str
    examples: NDArray[np.int64]


@dataclass(frozen=True)
class Partition:
    """The contributors in a fixed order; every training example belongs to exactly one of them.

    Raises:
        DataError: a contributor is empty, a name repeats, or an example is shared or unassigned.
    """

    contributors: Sequence[Contributor]
    n_examples: int

    def __post_init__(self) -> None:
        names = [contributor.name for contributor in self.contributors]
        if len(names) < 2:
            raise DataError(
                f"a game needs at least 2 contributors, got {len(names)}: {names}; choose another "
                "partition, or, if contributors are folders, as dataset.root the folder of these"
            )
        looks = Counter(map(look, names))
        repeated = sorted(name for name, count in looks.items() if count > 1)
        if repeated:
            raise DataError(
                f"contributor names must be unique, got twice: {repeated}; names that only differ "
                "in how an accent is stored look the same in every table"
            )
        empty = [c.name for c in self.contributors if len(c.examples) == 0]
        if empty:
            raise DataError(
                f"contributors without a single training image: {empty}. "
                "Remove them from the partition or give them images."
            )
        assigned = np.concatenate([c.examples for c in self.contributors])
        if assigned.min() < 0 or assigned.max() >= self.n_examples:
            raise DataError(
                f"example indices must lie in 0..{self.n_examples - 1}, got "
                f"{assigned.min()}..{assigned.max()}"
            )
        owners = np.bincount(assigned, minlength=self.n_examples)
        if np.any(owners != 1):
            odd = np.flatnonzero(owners != 1)
            raise DataError(
                "every training example must belong to exactly one contributor; "
                f"{len(odd)} do not, for instance example {odd[0]} with {owners[odd[0]]} owners"
            )

    def __len__(self) -> int:
        return len(self.contributors)

    @property
    def names(self) -> list[str]:
        """Contributor names in player order."""
        return [contributor.name for contributor in self.contributors]

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """Training examples per contributor, (n,)."""
        return np.array([len(c.examples) for c in self.contributors], dtype=np.int64)

    @cached_property
    def owner(self) -> NDArray[np.int64]:
        """Player index of every training example, (n_examples,)."""
        owner = np.empty(self.n_examples, dtype=np.int64)
        for player, contributor in enumerate(self.contributors):
            owner[contributor.examples] = player
        return owner

    def examples(self, coalition: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the sorted indices of all examples that a coalition, bool (n,), owns."""
        return np.flatnonzero(coalition[self.owner])

    def digest(self) -> str:
        """Return the sha256 of names and ownership: equal exactly when the games' players are."""
        sha = hashlib.sha256("\0".join(self.names).encode())
        sha.update(self.owner.astype("<i8").tobytes())
        return sha.hexdigest()


def group_examples(values: NDArray) -> Partition:
    """Partition examples by equal value of an array (n_examples,); players in sorted order."""
    return Partition(
        [Contributor(str(v), np.flatnonzero(values == v)) for v in np.unique(values)], len(values)
    )


def look(name: str) -> str:
    """Return what all names share that look the same: an accent can be stored in two ways."""
    return unicodedata.normalize("NFC", name)


def as_stored(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Return names as those known ones are stored that look the same, others as they are."""
    stored = {look(one): one for one in known}
    return [stored.get(look(name), name) for name in names]


def name_problem(name: str) -> str | None:
    """Return why a contributor cannot be called so, or None; names end up in tables."""
    if not name.isprintable():
        return "holds line breaks or other characters that cannot be printed"
    if name != name.strip():
        return "begins or ends with a space"
    if name.startswith("=") or (name[:1] in ("+", "-", "@") and set(name) & set("(|!")):
        return "would be computed as a formula by a spreadsheet that opens the tables"
    return None
