"""Writing what a calibration found: tables, figures and one page."""

from pathlib import Path

from crediting.files import atomic_write_text
from crediting.pipeline.calibrate import charts
from crediting.pipeline.calibrate.found import Found
from crediting.pipeline.calibrate.remarks import proposal_text, reading_notes
from crediting.pipeline.calibrate.tables import settings_grid, variance_grid
from crediting.reporting.formats import escape_markdown
from crediting.reporting.grid import Grid, grid_csv, grid_markdown
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.page import image_markdown

FOLDER = "calibrate"


def write_calibration(found: Found) -> None:
    """Write all tables and figures under outputs/studies/<name>/calibrate, and print the tables."""
    study = found.settings.own.study
    folder = study.folder / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    proposal = proposal_text(found)
    parts = [f"# {escape_markdown(study.name)}: cheaper settings", proposal]
    for name in study.properties:
        parts.append(f"## {escape_markdown(name)}")
        parts.append(_table(settings_grid(found, name), folder, f"settings_{name}"))
        path = folder / f"agreement_{name}.png"
        path.unlink(missing_ok=True)
        if charts.agreement(found, name, path):
            parts.append(image_markdown(f"Agreement against cost for {name}", path.name))
        parts.append(_table(variance_grid(found, name), folder, f"variance_{name}"))
    notes = list(reading_notes(found))
    parts += ["## How to read this", "\n".join(f"- {escape_markdown(note)}" for note in notes)]
    atomic_write_text(folder / "calibrate.md", "\n\n".join(part.strip() for part in parts) + "\n")
    print("\n".join(["", *notes]))
    print(f"\n{proposal}\nEverything is in {folder}")


def _table(grid: Grid, folder: Path, stem: str) -> str:
    """Print a table, write it in two formats and return it as Markdown."""
    print_grid(grid)
    markdown = grid_markdown(grid)
    atomic_write_text(folder / f"{stem}.md", markdown)
    atomic_write_text(folder / f"{stem}.csv", grid_csv(grid))
    return markdown
