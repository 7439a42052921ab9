"""A study of utilities that somebody recorded: estimated and reported, nothing is evaluated."""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import Any

import numpy as np

from crediting.errors import ConfigError, DataError, did_you_mean
from crediting.files import atomic_write_text
from crediting.game.axioms import declared_players
from crediting.game.coalition import all_coalitions
from crediting.game.contributor import as_stored, name_problem
from crediting.game.enumeration import shapley_values
from crediting.game.game import EvaluatedSample, Sample, play
from crediting.game.recorded import RecordedGame, read_recorded
from crediting.interfaces import Design, Estimator
from crediting.ledger import versions
from crediting.pipeline.estimate.against_exact import Comparison
from crediting.pipeline.estimate.finding import Finding, credits_of, estimates_shapley_values
from crediting.pipeline.estimate.pairing import RECORDED, advise, check_pairing, drawn, kind_of
from crediting.pipeline.file_names import can_name_files, make_folder
from crediting.pipeline.refusals import check_payout
from crediting.pipeline.report.tables import (
    Results,
    print_tables,
    property_facts,
    write_manifest,
    write_page,
    write_results,
)
from crediting.progress import say

GROUPS = ("design", "estimator")
"""The parts of a config that such a study is made of."""
STAGES = ("all", "estimate", "report")
SETTINGS = ("name", "seed", "stage", "dry_run", "game", "axioms", "report", "paths", "estimator")
OF_THE_DESIGN = ("design", "plan")
"""What else a command may set where game.rows=design."""


@dataclass(frozen=True)
class RecordedStudy:
    """A recorded game, the rows of it to estimate from, and what to do with them."""

    config: Mapping[str, Any]
    game: RecordedGame
    design: str
    sample: Sample
    estimator: Estimator

    @staticmethod
    def assemble(
        config: Mapping[str, Any], parts: Mapping[str, Any], overrides: Sequence[str]
    ) -> "RecordedStudy":
        """Read the table and choose its rows.

        Args:
            config: the resolved config, whose game.path is a table.
            parts: the design and the estimator.
            overrides: what the command line sets, to be refused where it means nothing here.

        Raises:
            ConfigError: a setting means nothing for a table, or the estimator cannot use it.
            DataError: the table holds no game.
        """
        _check_settings(config, overrides)
        asked = config["game"]
        game = read_recorded(Path(asked["path"]), asked["properties"])
        lower = as_stored(asked["lower_is_better"], game.properties)
        _check_directions(lower, game)
        config = {**config, "game": {**asked, "lower_is_better": lower}}
        _check_names(game)
        whole = asked["rows"] == "all"
        design: Design = parts["design"]
        sample = _all_rows(game) if whole else drawn(design, game.n_players)
        study = RecordedStudy(
            config, game, RECORDED if whole else kind_of(design), sample, parts["estimator"]
        )
        declared_players(game.names, **config["axioms"])
        check_payout(config["report"]["payout"], game.properties)
        check_pairing(study.estimator, study.design, sample.coalitions)
        return study

    @property
    def folder(self) -> Path:
        """Where tables, figures and the manifest go."""
        return Path(self.config["paths"]["outputs"]) / "studies" / self.config["name"]

    @property
    def contents(self) -> str:
        """Say what was read."""
        game = self.game
        who = shorten(", ".join(game.names), 200, placeholder=" ...")
        which = "all " if game.is_complete else ""
        lower = ", ".join(self.config["game"]["lower_is_better"])
        better = (
            f"lower is better for {lower}"
            if lower
            else "higher is better for each, as game.lower_is_better names none"
        )
        return (
            f"{game.source}: {len(game.names)} contributors ({who}), "
            f"{which}{game.n_coalitions:,} coalitions on {game.n_rows:,} rows, properties "
            f"{', '.join(game.properties)}; {better}"
        )


def run(config: Mapping[str, Any], parts: Mapping[str, Any], overrides: Sequence[str]) -> None:
    """Run the stage that the config asks for, or only say what it would do.

    Raises:
        ConfigError, DataError: as `RecordedStudy.assemble` and `estimate`.
        LedgerError: as `estimate`.
    """
    _check_place(config, overrides)
    study = RecordedStudy.assemble(config, parts, overrides)
    say(study.contents)
    advise(study.estimator, study.sample.coalitions)
    if config["dry_run"]:
        for name in study.game.properties:
            _played(study, name)  # tells what is not recorded
        print(
            f"estimate  {study.estimator.name} on {len(study.sample):,} coalitions of "
            f"{study.design}\nreport    {study.folder}\nNothing was run."
        )
        return
    if config["stage"] != "estimate":
        make_folder(study.folder)
    findings = estimate(study)
    compared = compare(study, findings)
    notes = {name: (comparison.sentence,) for name, comparison in compared.items()}
    results = Results(findings, study.game.names, None, config, notes)
    if config["stage"] == "estimate":
        print_tables(results.tables, results.payout)
    else:
        report(study, results, compared)


def estimate(study: RecordedStudy) -> dict[str, Finding]:
    """Return the credits for every property.

    Raises:
        DataError: the design asks for a coalition that is not recorded.
        LedgerError: the estimator lacks a coalition.
    """
    return {name: _find(study, name) for name in study.game.properties}


def _find(study: RecordedStudy, name: str) -> Finding:
    sample = _played(study, name)
    higher_is_better = name not in study.config["game"]["lower_is_better"]
    return Finding("", higher_is_better, sample, credits_of(study.estimator, sample))


def _played(study: RecordedStudy, name: str) -> EvaluatedSample:
    return play(study.game.of(name), study.sample, *study.game.noises[name])


def compare(study: RecordedStudy, findings: Mapping[str, Finding]) -> dict[str, Comparison]:
    """Return estimated beside exact values by property; nothing where either is not to be had."""
    if not study.game.is_complete or not estimates_shapley_values(study.estimator):
        return {}
    coalitions = all_coalitions(study.game.n_players)
    return {
        name: Comparison(finding.attribution, shapley_values(study.game.of(name)(coalitions)))
        for name, finding in findings.items()
    }


def report(study: RecordedStudy, results: Results, compared: Mapping[str, Comparison]) -> None:
    """Write everything under outputs/studies/<name>/ and print the tables."""
    written = write_results(results, study.folder)
    for name, comparison in compared.items():
        path = study.folder / f"exact_{name}.csv"
        atomic_write_text(path, comparison.to_csv(study.game.names))
    manifest = _manifest(study, results, compared)
    write_manifest(manifest, study.folder)
    write_page(written, study.folder, manifest, {"table": manifest["sha256"]})


def _all_rows(game: RecordedGame) -> Sample:
    """Return every recorded coalition once, whichever it is as probable as the others."""
    coalitions = game.coalitions
    return Sample(coalitions, np.full(len(coalitions), -math.log(len(coalitions))))


def _manifest(
    study: RecordedStudy, results: Results, compared: Mapping[str, Comparison]
) -> dict[str, Any]:
    facts = property_facts(results.findings)
    for name, comparison in compared.items():
        facts[name]["squared_error"] = comparison.squared_error
        facts[name]["exact_values_in_intervals"] = comparison.inside
    used = SETTINGS + (OF_THE_DESIGN if study.design != RECORDED else ())
    return {
        "study": study.config["name"],
        "config": {key: study.config[key] for key in used},
        "seed": study.config["seed"],
        "contributors": study.game.names,
        "table": str(study.game.source),
        "sha256": hashlib.sha256(study.game.source.read_bytes()).hexdigest(),
        "versions": dict(versions()),
        "properties": facts,
    }


# ------------------------------------------------------------------------------ problems


def _check_settings(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    if not config["game"]["path"]:
        raise ConfigError(
            "game.path: expected a table of coalitions and their utilities, got nothing; "
            "add game.path=utilities.csv"
        )
    if config["stage"] not in STAGES:
        raise ConfigError(
            f"stage: a recorded game is evaluated already; expected {', '.join(STAGES)}, "
            f"got {config['stage']}"
        )
    by_design = config["game"]["rows"] == "design"
    known = {"experiment", *SETTINGS, *(OF_THE_DESIGN if by_design else ())}
    idle = [text for text in overrides if _key(text) not in known]
    if idle:
        of_design = any(_key(text) in OF_THE_DESIGN for text in idle)
        raise ConfigError(
            f"these settings have no effect on a recorded game, remove them: {', '.join(idle)}"
            + ("; a design chooses rows only with game.rows=design" if of_design else "")
        )


def _check_place(config: Mapping[str, Any], overrides: Sequence[str]) -> None:
    if not {"experiment", "name"} & {_key(text) for text in overrides}:
        raise ConfigError(
            f"name: without a name of its own this run would overwrite the tables of the study "
            f"{config['name']}; add +experiment=recorded, or name=<yours>"
        )


def _key(override: str) -> str:
    """Return the first part of what an override sets: design of design.budget=3."""
    name = override.partition("=")[0].lstrip("+~")
    return name.replace("@", ".").replace("/", ".").partition(".")[0]


def _check_names(game: RecordedGame) -> None:
    for name in game.names:
        if problem := name_problem(name):
            raise DataError(f"{game.source}: the contributor {name!r} {problem}; rename the column")
    for name in game.properties:
        if not can_name_files(name):
            raise DataError(
                f"{game.source}: files are named after properties, which the column {name!r} does "
                "not allow; rename it, or leave it out of game.properties"
            )


def _check_directions(names: Sequence[str], game: RecordedGame) -> None:
    for name in names:
        if name not in game.properties:
            raise ConfigError(
                f"game.lower_is_better: expected properties of {game.source}, got {name!r}; "
                f"{did_you_mean(name, game.properties)}"
            )
