"""The one line in which every benchmark says what it found; bench.py puts them into a table."""

HEADER = ("what", "ours", "reference", "ratio")


def row(*cells: str) -> None:
    """Print a row of the table: what was measured, ours, the reference, and their ratio."""
    assert len(cells) == len(HEADER)
    print("| " + " | ".join(cells) + " |", flush=True)
