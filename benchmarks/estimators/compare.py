"""Error against exact Shapley values of every design with every estimator, at equal budgets.

    python benchmarks/estimators/compare.py [--draws 20] [--workers 2] [--quick]
    python benchmarks/estimators/compare.py --coverage 500

Games: all properties of recorded games of digits, and toy games of 10 to 200 players, with and
without noise (whose variance the estimators are told, as replicates would). Errors are squared,
over the centred variance of the exact values: 1 is no better than an equal split. Medians over
draws of coalitions; toy games are drawn anew each time. shapiq's approximators choose their own
coalitions; they play the same games with the same noise, as many coalitions and the same seeds. Two
of them need Python 3.12 and shapiq[proxy]: where they are, --only shapiq adds them to the rest.

Writes results.csv, results.md and results.png beside this file. With --coverage: how many exact
values lie in the 95 % intervals of the default, over so many draws, into coverage.md.
"""

import argparse
import csv
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import schemes
from games import NOISE_SHARES, TOY_PLAYERS, KnownGame, recorded_games, toy_game
from tables import Row, as_markdown, coverage_markdown
from tqdm import tqdm

HERE = Path(__file__).resolve().parent
TIMES_N = (2, 3, 5, 10, 20)
LARGE, FEWER_DRAWS = 60, 4
"""From so many players on, draws are fewer by this factor: each holds more players to average."""
COVERAGE_TIMES_N = (3, 5, 10, 20)
COVERAGE_RECORDED = "digits"
COVERAGE_TOYS = ((10, 0.1), (10, 0.3), (20, 0.1), (20, 0.3))

Cell = tuple[str, str, int, int, int]  # game, scheme, times n, first draw, draws


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--coverage", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="a miniature; needs --into")
    parser.add_argument("--only", default="", help="schemes that contain this; others are kept")
    parser.add_argument("--into", type=Path, default=HERE)
    asked = parser.parse_args()
    if asked.quick and asked.into == HERE:
        parser.error("--quick would write its miniature over the results; say where by --into")
    if asked.coverage:
        rows = _run(_coverage_cells(asked.coverage), asked.workers)
        text = coverage_markdown(rows, asked.coverage)
        (asked.into / "coverage.md").write_text(text)
        print(text)
        return
    from plot import draw

    cells = (cell for cell in _cells(asked.draws, asked.quick) if asked.only in cell[1])
    rows = _run(cells, asked.workers)
    if asked.only:
        rows = _merged(_read(asked.into / "results.csv"), rows)
    with (asked.into / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["game", "scheme", "times_n", "median_error", "inside"])
        writer.writerows(rows)
    text = as_markdown(rows)
    (asked.into / "results.md").write_text(text)
    draw(rows, asked.into / "results.png")
    print(text)


def _read(path: Path) -> list[Row]:
    with path.open(newline="") as stream:
        return [
            (game, scheme, int(times_n), float(error), float(inside))
            for game, scheme, times_n, error, inside in list(csv.reader(stream))[1:]
        ]


def _merged(old: list[Row], new: list[Row]) -> list[Row]:
    """Return old rows with new ones in their place; games stay in the order of the old ones."""
    again = {row[:3]: row for row in new}
    rows = [again.pop(row[:3], row) for row in old] + list(again.values())
    games = list(dict.fromkeys(row[0] for row in rows))
    return sorted(rows, key=lambda row: games.index(row[0]))


def _cells(draws: int, quick: bool) -> Iterator[Cell]:
    toys = [(n, share) for n in TOY_PLAYERS for share in NOISE_SHARES]
    games = [game.name for game in recorded_games()] + [f"toy {n} {share}" for n, share in toys]
    times_n = TIMES_N
    if quick:
        games, times_n, draws = [games[0], "toy 10 0.1"], (3, 5), 1
    for game in games:
        n = _players(game)
        for scheme in schemes.names(n):
            for times in times_n:
                yield game, scheme, times, 0, draws if n < LARGE else max(1, draws // FEWER_DRAWS)


def _coverage_cells(draws: int) -> Iterator[Cell]:
    games = [game.name for game in recorded_games() if game.name.startswith(COVERAGE_RECORDED)]
    games += [f"toy {n} {share}" for n, share in COVERAGE_TOYS]
    for game in games:
        for times in COVERAGE_TIMES_N:
            yield game, schemes.DEFAULT, times, 1000, draws


def _players(game: str) -> int:
    return int(game.split()[1]) if game.startswith("toy") else len(_recorded()[game].values)


def _recorded() -> dict[str, KnownGame]:
    return {game.name: game for game in recorded_games()}


def _run(cells: Iterator[Cell], workers: int) -> list[Row]:
    todo = list(cells)
    with ProcessPoolExecutor(workers) as pool:
        done = pool.map(_measure, todo)
        return [row for row in tqdm(done, total=len(todo), file=sys.stderr) if row is not None]


def _measure(cell: Cell) -> Row | None:
    """Return one cell of the table: median error and mean share inside the intervals."""
    game, scheme, times, first, draws = cell
    recorded = None if game.startswith("toy") else _recorded()[game]
    found = []
    for seed in range(first, first + draws):
        played = recorded or toy_game(_players(game), float(game.split()[2]), seed)
        outcome = schemes.estimate(scheme, played, times * len(played.values), seed)
        if outcome is not None:
            found.append(outcome)
    if not found:
        return None
    errors, inside = ([getattr(o, key) for o in found] for key in ("error", "inside"))
    return game, scheme, times, float(np.median(errors)), float(np.mean(inside))


if __name__ == "__main__":
    main()
