"""Writes what was found: tables, charts, ranks, interactions; whoever found it. Needs no torch."""

import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crediting.errors import LedgerError
from crediting.files import atomic_write_text
from crediting.game import axioms
from crediting.interactions.pairwise import interactions
from crediting.pipeline.estimate.finding import Finding
from crediting.pipeline.file_names import with_ending, write_grid
from crediting.progress import say
from crediting.reporting.figures import credit_chart
from crediting.reporting.formats import escape_markdown, rank_csv, to_csv, to_latex, to_markdown
from crediting.reporting.grid import Grid
from crediting.reporting.grid_terminal import print_grid
from crediting.reporting.heat_map import interaction_chart
from crediting.reporting.interactions import interactions_csv, interactions_markdown
from crediting.reporting.page import report_markdown
from crediting.reporting.payout import Fund, payout_grid
from crediting.reporting.table import CreditTable, credit_table
from crediting.reporting.terminal import print_credits

MOST_RANKED = 200
"""Beyond so many contributors no file holds the probability of every rank of each."""

_PAGE = "report.md"
_MANIFEST = "manifest.json"
_PAYOUT, _PAYOUT_FORMATS = "payout", ("csv", "md")
_CREDITS = "shapley"
_FURTHER = ("ranks", "interactions", "images", "exact")
_ENDINGS = ("csv", "md", "tex", "png")
"""The files of one property are any of <kind>_<property>.<ending>."""


@dataclass(frozen=True)
class Results:
    """What was found about every property, and about whom."""

    findings: Mapping[str, Finding]
    names: Sequence[str]
    examples: Sequence[int] | None
    """The training images of each contributor, if known."""
    config: Mapping[str, Any]
    notes: Mapping[str, Sequence[str]]
    """Sentences for the caption of a property's table."""

    @property
    def tables(self) -> dict[str, CreditTable]:
        """The credit tables by property.

        Raises:
            DataError: the config's axioms name somebody who is no contributor.
        """
        return {name: self._table(name, finding) for name, finding in self.findings.items()}

    @property
    def payout(self) -> Grid | None:
        """What everybody gets of the money that report.payout shares out, if any."""
        funds = {
            name: Fund(amount, found.attribution, found.higher_is_better)
            for name, amount in self.config["report"]["payout"].items()
            for found in [self.findings[name]]
        }
        return payout_grid(funds, self.names) if funds else None

    def _table(self, name: str, finding: Finding) -> CreditTable:
        known = self.config["axioms"]
        judged = axioms.findings(
            finding.sample,
            finding.attribution,
            self.names,
            known["duplicates"],
            known["null_players"],
        )
        return credit_table(
            finding.attribution,
            self.names,
            self.examples,
            name,
            finding.unit,
            finding.higher_is_better,
            self.config["report"]["top"],
            [*judged, *self.notes.get(name, ())],
        )


@dataclass(frozen=True)
class Written:
    """What a report page is made of: tables, Markdown on interactions by property, and pictures."""

    tables: Mapping[str, CreditTable]
    payout: Grid | None
    interactions: Mapping[str, str]
    figures: Mapping[str, str]
    """File names by caption."""


def write_results(results: Results, folder: Path) -> Written:
    """Write the files of all properties into a folder, made if absent.

    For each property: shapley_<property> as .csv, .md, .tex and .png; ranks_<property>.csv, the
    probability of every rank, where that is known and there are at most 200 contributors; and, if
    asked for and possible, interactions_<property> as .csv, .md and .png. For all of them, where
    money is to be shared out, payout as .csv and .md. Whatever else an earlier report left of
    these properties, or of others that it had, is removed, and so is its page.
    """
    tables = results.tables
    folder.mkdir(parents=True, exist_ok=True)
    _remove_earlier(folder, tables)
    told = _tell_interactions(results, folder) if results.config["report"]["interactions"] else {}
    figures: dict[str, str] = {}
    for name, table in tables.items():
        _write_table(table, folder / f"{_CREDITS}_{name}")
        figures[f"Credit for {name}"] = f"shapley_{name}.png"
        _write_ranks(results, name, folder / f"ranks_{name}.csv")
        if with_ending(folder / f"interactions_{name}", "png").exists():
            figures[f"Interactions in {name}"] = f"interactions_{name}.png"
    payout = results.payout
    if payout:
        write_grid(payout, folder / _PAYOUT, _PAYOUT_FORMATS)
    return Written(tables, payout, told, figures)


def print_tables(tables: Mapping[str, CreditTable], payout: Grid | None) -> None:
    """Print the tables of all properties, and who gets what."""
    print_credits(list(tables.values()))
    if payout:
        print()
        print_grid(payout)


def write_page(
    written: Written,
    folder: Path,
    manifest: Mapping[str, Any],
    fingerprints: Mapping[str, str],
    forecast: str = "",
) -> None:
    """Write the page of a report, of which the manifest tells, and print its tables and forecast.

    Args:
        written: the parts of the page.
        folder: of the study, where they lie.
        manifest: of the report.
        fingerprints: by stage.
        forecast: what more certainty would cost.
    """
    page = report_markdown(
        manifest["study"],
        list(written.tables.values()),
        written.payout,
        written.interactions,
        written.figures,
        forecast,
        fingerprints,
        manifest["versions"],
        manifest.get("seconds", {}),
    )
    atomic_write_text(folder / _PAGE, page)
    print_tables(written.tables, written.payout)
    print("\n".join(["", *([forecast] if forecast else []), f"Everything is in {folder}"]))


def property_facts(findings: Mapping[str, Finding]) -> dict[str, dict[str, Any]]:
    """Return what a manifest says of every property."""
    return {name: _facts(finding) for name, finding in findings.items()}


def write_manifest(manifest: Mapping[str, Any], folder: Path) -> None:
    """Write manifest.json, in which an infinite or unknown number is text."""
    plain = json.loads(json.dumps(manifest), parse_constant=str)
    atomic_write_text(folder / _MANIFEST, json.dumps(plain, indent=2) + "\n")


def _write_table(table: CreditTable, stem: Path) -> None:
    texts = {"csv": to_csv(table), "md": to_markdown(table), "tex": to_latex(table)}
    for ending, text in texts.items():
        atomic_write_text(with_ending(stem, ending), text)
    credit_chart(table, with_ending(stem, "png"))


def _write_ranks(results: Results, name: str, path: Path) -> None:
    found = results.findings[name]
    known = len(found.attribution.draws) > 0
    if known and len(results.names) <= MOST_RANKED:
        probabilities = found.attribution.rank_probabilities(found.higher_is_better)
        atomic_write_text(path, rank_csv(results.names, probabilities))


def _tell_interactions(results: Results, folder: Path) -> dict[str, str]:
    """Write those of all properties and return them as Markdown, or why there are none.

    What there is no coalition for is said once for all properties.
    """
    told: dict[str, str] = {}
    without: dict[str, list[str]] = {}
    for name in results.findings:
        try:
            told[name] = _write_interactions(results, name, folder / f"interactions_{name}")
        except LedgerError as error:
            told[name] = escape_markdown(f"Left out: {error}")
            without.setdefault(str(error), []).append(name)
    for reason, names in without.items():
        say(f"report: no interactions in {', '.join(names)}: {reason}")
    return told


def _write_interactions(results: Results, name: str, stem: Path) -> str:
    """Write the interactions in a property and return them as Markdown."""
    finding = results.findings[name]
    found = interactions(finding.sample)
    higher_is_better = finding.higher_is_better
    text = interactions_markdown(results.names, found, finding.unit, higher_is_better)
    atomic_write_text(with_ending(stem, "csv"), interactions_csv(results.names, found))
    atomic_write_text(with_ending(stem, "md"), text)
    chart = with_ending(stem, "png")
    interaction_chart(results.names, found, name, finding.unit, higher_is_better, chart)
    return text


def _facts(finding: Finding) -> dict[str, Any]:
    attribution, noise = finding.attribution, finding.sample.noise_variance
    return {
        "v_full": attribution.v_full,
        "v_empty": attribution.v_empty,
        "efficiency_gap": attribution.efficiency_gap,
        "estimator": attribution.estimator,
        "explanation": attribution.explanation,
        "coalitions": attribution.n_coalitions,
        "noise_variance": None if math.isnan(noise) else noise,
    }


def _remove_earlier(folder: Path, kept: Collection[str]) -> None:
    """Remove what an earlier report left, but for credits that are written anew.

    Of other properties than these it is known by the manifest, if it is still there. The page goes
    first: whatever interrupts the new report, none of other tables is beside them.
    """
    (folder / _PAGE).unlink(missing_ok=True)
    try:
        earlier = json.loads((folder / _MANIFEST).read_text())["properties"]
    except (OSError, ValueError, KeyError):
        earlier = ()
    for ending in _PAYOUT_FORMATS:
        with_ending(folder / _PAYOUT, ending).unlink(missing_ok=True)
    for name in {*earlier, *kept}:
        for kind in _FURTHER if name in kept else (_CREDITS, *_FURTHER):
            for ending in _ENDINGS:
                with_ending(folder / f"{kind}_{name}", ending).unlink(missing_ok=True)
