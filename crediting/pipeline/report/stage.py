"""Stage report: what was found by a study, with images of its models and where it all came from."""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from crediting.errors import ANY_FAILURE, NO_FAULT_OF_A_COALITION
from crediting.game.attribution import Attribution
from crediting.game.coalition import Coalition, coalition_key, grand_coalition
from crediting.ledger import short, versions
from crediting.pipeline.estimate.finding import Finding
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame, images_path, read_images
from crediting.pipeline.report.outlook import outlook
from crediting.pipeline.report.tables import (
    Results,
    property_facts,
    write_manifest,
    write_page,
    write_results,
)
from crediting.pipeline.report.trust import mixture, trust
from crediting.pipeline.study import Study
from crediting.progress import say
from crediting.reporting.figures import image_grid

_ONE_COALITION = "evaluate one coalition"


def report(study: Study, findings: Mapping[str, Finding]) -> None:
    """Write everything under outputs/studies/<name>/ and print the tables."""
    written = write_results(results_of(study, findings), study.folder)
    manifest = _manifest(study, findings)
    write_manifest(manifest, study.folder)  # images may take long: it fits the tables until then
    images = {
        f"Images with and without the top contributors to {name}": f"images_{name}.png"
        for name in _draw_images(study, findings)
    }
    forecast = outlook(study, findings, manifest["seconds"][_ONE_COALITION])
    forecast = f"{forecast}\n{trust(study)}\n{mixture(study)}".rstrip()
    fingerprints = {stage: short(value) for stage, value in manifest["fingerprints"].items()}
    written = replace(written, figures={**written.figures, **images})
    write_page(written, study.folder, manifest, fingerprints, forecast)


def results_of(study: Study, findings: Mapping[str, Finding]) -> Results:
    """Return what was found by a study, with the names of its contributors."""
    sizes = study.partition.sizes.tolist()
    return Results(findings, study.partition.names, sizes, study.config, notes={})


# ------------------------------------------------------------------------------ images


def _draw_images(study: Study, findings: Mapping[str, Finding]) -> list[str]:
    """Draw images from everybody's model beside those without the top contributors.

    Return the properties for which that was possible: tables are worth having without.
    """
    everybody = grand_coalition(len(study.partition))
    remaining = {
        name: _without_top(study, name, finding.attribution) for name, finding in findings.items()
    }
    failed = _generate_missing(study, [everybody, *remaining.values()])
    if coalition_key(everybody) in failed:
        return []
    side = math.isqrt(study.config["report"]["grid"] - 1) + 1
    drawn = {name: one for name, one in remaining.items() if coalition_key(one) not in failed}
    for name, coalition in drawn.items():
        left_out = ", ".join(
            c.name
            for c, stays in zip(study.partition.contributors, coalition, strict=True)
            if not stays
        )
        panels = [
            ("all contributors", _kept_images(study, everybody)),
            (f"without {left_out}", _kept_images(study, coalition)),
        ]
        image_grid(panels, study.folder / f"images_{name}.png", side, side)
    return list(drawn)


def _without_top(study: Study, name: str, attribution: Attribution) -> Coalition:
    return attribution.ranks(study.properties[name].higher_is_better) > study.top


def _generate_missing(study: Study, coalitions: list[Coalition]) -> set[str]:
    """Keep the images of these coalitions, whatever runtime.keep_images says of all the others.

    Return the keys of those that failed, which may have failed in the study as well.
    """
    keys = dict.fromkeys(coalition_key(row) for row in coalitions)
    missing = [key for key in keys if not _path(study, key).exists()]
    if not missing:
        return set()
    say(f"report: generating images of {len(missing)} coalition{'s' if len(missing) > 1 else ''}")
    game, failed = DiffusionGame(study, study.game), set()
    for key in missing:
        try:
            game.images(key, replicate=0, keep=True)
        except NO_FAULT_OF_A_COALITION:
            raise
        except ANY_FAILURE as error:
            failed.add(key)
            say(f"report: left without images of coalition {key} ({type(error).__name__}: {error})")
    return failed


def _kept_images(study: Study, coalition: Coalition) -> np.ndarray:
    return read_images(_path(study, coalition_key(coalition))).numpy()


def _path(study: Study, key: str) -> Path:
    return images_path(study, study.game, key, replicate=0)


# ------------------------------------------------------------------------------ provenance


def _manifest(study: Study, findings: Mapping[str, Finding]) -> dict[str, Any]:
    artifacts = {
        "encode": study.examples,
        "train": study.trained,
        "prune": study.game.start,
        **{f"extract {name}": address for name, address in study.extracted.items()},
    }
    stored = {label: study.manifest(address) for label, address in artifacts.items()}
    with study.ledger(study.game) as ledger:
        seconds_per_coalition = ledger.mean_seconds() or 0.0
        disagreements = len(ledger.disagreements())
    return {
        "study": study.name,
        "config": study.config,
        "seed": study.seed,
        "contributors": dict(
            zip(study.partition.names, study.partition.sizes.tolist(), strict=True)
        ),
        "fingerprints": {
            **{label: address.fingerprint for label, address in artifacts.items()},
            "game": study.game.address.fingerprint,
            "endpoints": study.endpoints.address.fingerprint,
            **{f"property {k}": v for k, v in study.property_fingerprints.items()},
        },
        "facts": {label: manifest["facts"] for label, manifest in stored.items()},
        "versions": dict(versions()),
        "seconds": {
            **{label: manifest["seconds"] for label, manifest in stored.items()},
            _ONE_COALITION: seconds_per_coalition,
        },
        "disagreeing_repeats": disagreements,
        "properties": property_facts(findings),
    }
