"""Exact Shapley values of the recorded digits, as the scores that +experiment=digits_proof reads.

python benchmarks/estimators/exact_scores.py

Scores are higher for those who do more for a property: of FID, which improves as it falls, they are
the credits turned around.
"""

import csv
import io
from pathlib import Path

from crediting.game.enumeration import complete_utilities, shapley_values
from crediting.game.recorded import read_recorded

ROOT = Path(__file__).resolve().parents[2]
GAME = ROOT / "benchmarks/estimators/digits_game.csv"
SCORES = ROOT / "configs/experiment/digits_proof_exact.csv"
LOWER_IS_BETTER = ("fid",)


def main() -> None:
    SCORES.write_text(exact_scores())
    print(f"written: {SCORES}")


def exact_scores() -> str:
    """Return the table: a contributor a row, a property a column."""
    game = read_recorded(GAME, None)
    columns = []
    for name in game.properties:
        utilities = game.of(name)(game.coalitions)
        values = shapley_values(complete_utilities(game.coalitions, utilities))
        columns.append(-values if name in LOWER_IS_BETTER else values)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["contributor", *game.properties])
    for who, row in zip(game.names, zip(*columns, strict=True), strict=True):
        writer.writerow([who, *(f"{value:.6g}" for value in row)])
    return text.getvalue()


if __name__ == "__main__":
    main()
