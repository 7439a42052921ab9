"""Stage export: the ledger of a study as a table that other tools can read. Evaluates nothing."""

import numpy as np
from numpy.typing import NDArray

from crediting.errors import DataError, LedgerError
from crediting.files import atomic_write_text
from crediting.game.coalition import CoalitionMatrix, coalition_from_key, is_proper
from crediting.game.recorded import REPLICATE
from crediting.pipeline.address import GameSpec
from crediting.pipeline.estimate.stage import read_replicates
from crediting.pipeline.study import Study
from crediting.reporting.formats import csv_text

FILE = "utilities.csv"


def export(study: Study) -> None:
    """Write utilities.csv under outputs/studies/<name>/, in the form that `read_recorded` reads.

    One column per contributor, 0 or 1, then one per property, to the last bit. Rows are all
    coalitions in the ledger, whichever study evaluated them, that have every property of this one;
    by size, then by key. There is a row for every replicate, told apart by a last column if there
    are several, so that a recorded game measures the noise as this study does. The ends are those
    of the endpoints.

    Raises:
        LedgerError: nothing is evaluated yet, or the empty or the grand coalition is not.
        DataError: a contributor has the name of a property, or of that column.
    """
    names, properties = study.partition.names, list(study.properties)
    several = [REPLICATE] if len(study.replicates) > 1 else []
    both = sorted(name for name in names if name in properties or name.lower() == REPLICATE)
    if both:
        raise DataError(
            f"{FILE} has columns for contributors, properties and the replicate, and these names "
            f"are both: {', '.join(both)}; rename the contributor or the property"
        )
    coalitions, utilities = measured(study)
    rows = (
        [*members, *values, *([number] if several else [])]
        for members, replicates in zip(
            coalitions.astype(int).tolist(), utilities.tolist(), strict=True
        )
        for number, values in enumerate(replicates)
    )
    study.folder.mkdir(parents=True, exist_ok=True)
    text = csv_text([*names, *properties, *several], rows)
    atomic_write_text(study.folder / FILE, text)
    print(f"{len(coalitions)} coalitions and their utilities are in {study.folder / FILE}")
    lower = [name for name, known in study.properties.items() if not known.higher_is_better]
    if lower:
        print(f'+experiment=recorded reads them with "game.lower_is_better=[{",".join(lower)}]"')


def measured(study: Study) -> tuple[CoalitionMatrix, NDArray[np.float64]]:
    """Return the coalitions (m, n) that have every property and these, (m, replicates, p).

    They go by size, then by key.

    Raises:
        LedgerError: nothing is evaluated yet, or the empty or the grand coalition is not.
    """
    ends = _utilities(study, study.endpoints, study.ends)
    if np.isnan(ends).any():
        raise LedgerError(
            f"v(N) or v(empty) is not evaluated yet for one of the properties "
            f"{', '.join(study.properties)} in {study.stored_in(study.endpoints.address).name}; "
            "run stage=evaluate first, or stage=all"
        )
    proper = _recorded(study)
    within = _utilities(study, study.game, proper)
    complete = ~np.isnan(within).any(axis=(1, 2))
    return (
        np.concatenate([study.ends[:1], proper[complete], study.ends[1:]]),
        np.concatenate([ends[:1], within[complete], ends[1:]]),
    )


def _utilities(study: Study, spec: GameSpec, coalitions: CoalitionMatrix) -> NDArray[np.float64]:
    columns = [read_replicates(study, spec, coalitions, name) for name in study.properties]
    return np.stack(columns, axis=2)


def _recorded(study: Study) -> CoalitionMatrix:
    """Return all coalitions but the ends in the ledger of the game, (m, n), by size and key."""
    with study.ledger(study.game) as ledger:
        keys = ledger.coalitions()
    rows = np.array([coalition_from_key(key) for key in keys], dtype=bool)
    rows = rows.reshape(-1, len(study.partition))
    proper = rows[is_proper(rows)]
    return proper[np.argsort(proper.sum(axis=1), kind="stable")]
