from pathlib import Path
from unittest.mock import patch

from matplotlib.figure import Figure


def figure_of(draw, *shown):
    """Return the figure that a chart is drawn in, without a file of it."""
    with patch.object(Figure, "savefig", autospec=True) as saved:
        draw(Path("nowhere.png"), *shown)
    return saved.call_args.args[0]
