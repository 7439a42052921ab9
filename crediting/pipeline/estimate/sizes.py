"""Which sizes of coalitions were evaluated, all of which count alike in a Shapley value."""

from crediting.game.coalition import CoalitionMatrix, is_proper

_MOST = 0.8
"""Share of the sizes from which on nothing is said of the others."""


def unseen_sizes(coalitions: CoalitionMatrix) -> str | None:
    """Return what to say of coalitions (m, n) of few sizes; None if they are of most."""
    n = coalitions.shape[1]
    proper = coalitions[is_proper(coalitions)].sum(axis=1)
    if not len(proper):
        return None
    least, most = int(proper.min()), int(proper.max())
    if most - least + 1 >= _MOST * (n - 1):
        return None
    which = f"{least}" if least == most else f"{least} to {most}"
    return (
        f"Only coalitions of {which} of {n} contributors are known, and all sizes count alike in a "
        "Shapley value: credits and intervals take it that the others are like them."
    )
