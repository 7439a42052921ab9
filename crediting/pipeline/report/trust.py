"""Whether the utilities of a game can be trusted: what comparing with retraining found of them.

It is kept beside the ledger of the game, so every study that plays the game can tell it.
"""

import json
import math
import re
from pathlib import Path

from crediting.agreement import Fidelity, verdict
from crediting.files import atomic_write_text
from crediting.finetuning import Retrain
from crediting.pipeline.study import Study


def remember_fidelity(study: Study, name: str, found: Fidelity) -> None:
    """Keep how well the utilities of a study's game stand for retraining, for a property."""
    atomic_write_text(_path(study, name), json.dumps(found._asdict(), indent=1))


def trust(study: Study) -> str:
    """Say how well a coalition's utility stands for that of a model trained from scratch."""
    if isinstance(study.game.finetuning, Retrain):
        return "Coalitions' models are trained from scratch."
    known = {name: _path(study, name) for name in study.properties}
    threshold = study.config["compare"]["fidelity"]
    told = [
        _told(name, Fidelity(**json.loads(path.read_text())), threshold)
        for name, path in known.items()
        if path.exists()
    ]
    if told:
        return "\n".join(told)
    return (
        "Whether utilities rank coalitions as those of models trained from scratch do was not "
        "checked; stage=compare does."
    )


def mixture(study: Study) -> str:
    """Say if the utilities of a game were computed in several ways; "" if not."""
    with study.recorded(study.game) as ledger:
        ways = sorted({re.sub(r":\d+", "", device) for device in ledger.devices()})
    if len(ways) < 2:
        return ""
    return (
        f"Utilities of this game were computed in several ways ({', '.join(ways)}), which may tell "
        "coalitions apart that are alike; evaluate all in one, in another paths.outputs."
    )


def _path(study: Study, name: str) -> Path:
    """Return the file of a property, its own, as several comparisons may end at the same time."""
    folder = study.stored_in(study.game.address)
    return folder / f"fidelity-{study.property_fingerprints[name]}.json"


def _told(name: str, found: Fidelity, threshold: float) -> str:
    if math.isnan(found.spearman) or math.isnan(found.spearman_low):
        return f"{name}: {verdict(found, threshold)}"
    said = (
        f"{name}: over {found.n} coalitions utilities rank as those of models trained from scratch "
        f"with a correlation of {found.spearman:.2f} (95 % interval {found.spearman_low:.2f} to "
        f"{found.spearman_high:.2f}), R2 {found.r2:.2f}."
    )
    warning = verdict(found, threshold)
    return f"{said} {warning}" if warning else said
