"""The scores of baselines: computed once, kept in the store."""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crediting.errors import ConfigError, naming
from crediting.files import atomic_write_text
from crediting.game.coalition import CoalitionMatrix, coalition_key
from crediting.interfaces import Baseline
from crediting.pipeline.address import Addressed, addressed, identified
from crediting.pipeline.artifact import completed, produce_once
from crediting.pipeline.compare.costs import costs_of
from crediting.pipeline.compare.material import StudyMaterial, extractor_for
from crediting.pipeline.compare.needs import Lack
from crediting.pipeline.extract.gauges import try_out
from crediting.pipeline.machine import open_machine
from crediting.pipeline.prune import prune_for
from crediting.pipeline.study import Study

_FILE = "scores.json"
_UTILITIES = "utilities.json"
_CHEAP = "evaluations without training"

Scores = Mapping[str, NDArray[np.float64]]
"""By property, (n,): the higher, the more a contributor is said to do for it."""


def score_baselines(study: Study, material: StudyMaterial) -> None:
    """Compute the scores of all chosen baselines that the store lacks, from a study's material.

    Raises:
        ConfigError: a baseline cannot work with this study; the message names it.
    """
    missing = {name: b for name, b in study.baselines.items() if not is_scored(study, name)}
    if not missing:
        return
    prune_for(study, study.dense)
    for name, baseline in missing.items():
        with naming(f"baseline.{name}", ConfigError):
            score = partial(_score, name, baseline, material)
            produce_once(study, address_of(study, name), name, score)


def check_baselines(study: Study) -> None:
    """Raise ConfigError now if a baseline cannot work, or reads what no chosen extractor gives."""
    for name, baseline in study.baselines.items():
        with naming(f"baseline.{name}", ConfigError):
            if hasattr(baseline, "extractor"):
                extractor_for(study, baseline.extractor)
            if hasattr(baseline, "check") and not is_scored(study, name):
                baseline.check(study)


def try_out_baselines(study: Study) -> None:
    """Refuse now, when data are encoded and extracted, what would else be after all is trained.

    Raises:
        CreditingError: the images of which a baseline measures properties are too few for one, or
            it says itself that it cannot work.
    """
    for name, baseline in study.baselines.items():
        if is_scored(study, name):
            continue
        images = getattr(baseline, "images", None)
        if isinstance(images, int) and images != study.generation.images:
            device = open_machine(study.runtime).device
            try_out(study, images, f"baseline.{name}.images", device)
        if hasattr(baseline, "try_out"):
            with naming(f"baseline.{name}", ConfigError):
                baseline.try_out(StudyMaterial(study))


def evaluate_proxies(study: Study, material: StudyMaterial, coalitions: CoalitionMatrix) -> None:
    """Compute the utilities by which proxies among the baselines stand for coalitions' models.

    A proxy is a baseline that has a method `utilities`, which trains nothing.
    """
    proxies = {name: b for name, b in study.baselines.items() if hasattr(b, "utilities")}
    missing = [name for name in proxies if read_proxy(study, name, coalitions) is None]
    if not missing or not len(coalitions):
        return
    prune_for(study, study.dense)
    for name in missing:
        evaluate = partial(_evaluate, name, proxies[name], material, coalitions)
        produce_once(study, _proxy_address(study, name, coalitions), f"proxy {name}", evaluate)


def _evaluate(
    name: str, proxy: Any, material: StudyMaterial, coalitions: CoalitionMatrix, folder: Path
) -> dict[str, Any]:
    found = proxy.utilities(material, coalitions)
    plain = {key: values.tolist() for key, values in found.items()}
    atomic_write_text(folder / _UTILITIES, json.dumps(plain))
    return {"proxy": name}


def read_proxy(study: Study, name: str, coalitions: CoalitionMatrix) -> Scores | None:
    """Return the utilities (m,) of a proxy by property, or None if there are none."""
    return _stored(study, _proxy_address(study, name, coalitions), _UTILITIES)


def _proxy_address(study: Study, name: str, coalitions: CoalitionMatrix) -> Addressed:
    content = {"coalitions": [coalition_key(row) for row in coalitions]}
    return addressed("proxy", content, address_of(study, name).fingerprint)


def lacks_of_baselines(study: Study, coalitions: CoalitionMatrix) -> Iterator[Lack]:
    """Yield whose scores, and which proxies' utilities of coalitions, are not computed yet."""
    missing = [name for name in study.baselines if not is_scored(study, name)]
    if missing:
        yield Lack(f"scores of {', '.join(missing)}", len(missing), None, "computations")
    proxies = [name for name, one in study.baselines.items() if hasattr(one, "utilities")]
    for name in proxies if len(coalitions) else ():
        if read_proxy(study, name, coalitions) is None:
            yield Lack(f"utilities by {name}", len(coalitions), None, _CHEAP)


def read_scores(study: Study, name: str) -> Scores | None:
    """Return the scores of a baseline, or None if they were not computed yet."""
    return _stored(study, address_of(study, name), _FILE)


def _stored(study: Study, address: Addressed, file: str) -> Scores | None:
    if not study.has_stored(address):
        return None
    stored = json.loads((completed(study, address, "compare") / file).read_text())
    return {key: np.array(values) for key, values in stored.items()}


def hours_of(study: Study, name: str) -> float:
    """Return the hours that the scores of a baseline took, what it shares with others included."""
    return sum(costs_of(study.manifest(address_of(study, name))).values()) / 3600


def _score(name: str, baseline: Baseline, material: StudyMaterial, folder: Path) -> dict[str, Any]:
    with material.costs.making(f"scores by {name}") as seconds:
        found = baseline.scores(material)
    by_property = found if isinstance(found, Mapping) else dict.fromkeys(material.properties, found)
    plain = {key: np.asarray(scores, dtype=float) for key, scores in by_property.items()}
    for key, scores in plain.items():
        odd = np.count_nonzero(~np.isfinite(scores))
        if scores.shape != (material.n_contributors,) or odd:
            raise ConfigError(
                "_target_: expected scores() to return a finite number for each of "
                f"{material.n_contributors} contributors, got for {key} an array of shape "
                f"{scores.shape} with {odd} that are NaN or infinite; mend "
                f"{type(baseline).__name__}, or leave it out"
            )
    text = json.dumps({key: scores.tolist() for key, scores in plain.items()}, indent=1)
    atomic_write_text(folder / _FILE, text)
    return {"seconds": seconds}


def is_scored(study: Study, name: str) -> bool:
    """Return whether the store holds the scores of a baseline."""
    return study.has_stored(address_of(study, name))


def address_of(study: Study, name: str) -> Addressed:
    """Return where scores lie: they depend on the full model, its images and what is measured."""
    content = {
        "baseline": identified(study.config["baseline"][name], study.baselines[name]),
        "players": study.partition.digest(),
        "generation": study.dense.address.content["generation"],
        "properties": dict(study.property_fingerprints),
        "seed": study.seed,
    }
    extracted = (address.fingerprint for address in study.extracted.values())
    parents = (study.trained.fingerprint, study.examples.fingerprint, *extracted)
    return addressed("baseline", content, *parents)
