"""Whether the utilities of a game can be trusted: what comparing with retraining found of them.

It is kept beside the ledger of the game, so every study that plays the game can tell it.
"""

import json
from collections.abc import Mapping

from crediting.agreement import Fidelity, verdict
from crediting.finetuning import Retrain
from crediting.ledger import atomic_write_text
from crediting.pipeline.study import Study

_FILE = "fidelity.json"


def remember_fidelity(study: Study, found: Mapping[str, Fidelity]) -> None:
    """Keep how well the utilities of a study's game stand for retraining, by property."""
    path = study.stored_in(study.game.address) / _FILE
    known = json.loads(path.read_text()) if path.exists() else {}
    for name, one in found.items():
        known[study.property_fingerprints[name]] = one._asdict()
    atomic_write_text(path, json.dumps(known, indent=1))


def trust(study: Study) -> str:
    """Say how well a coalition's utility stands for that of a model trained from scratch."""
    if isinstance(study.game.finetuning, Retrain):
        return "Coalitions' models are trained from scratch."
    path = study.stored_in(study.game.address) / _FILE
    known = json.loads(path.read_text()) if path.exists() else {}
    told = [
        _told(name, Fidelity(**known[key]), study.config["compare"]["fidelity"])
        for name, key in study.property_fingerprints.items()
        if key in known
    ]
    if told:
        return "\n".join(told)
    return (
        "Whether utilities rank coalitions as those of models trained from scratch do was not "
        "checked; stage=compare does."
    )


def _told(name: str, found: Fidelity, threshold: float) -> str:
    said = (
        f"{name}: over {found.n} coalitions utilities rank as those of models trained from scratch "
        f"with a correlation of {found.spearman:.2f} (95 % interval {found.spearman_low:.2f} to "
        f"{found.spearman_high:.2f}), R2 {found.r2:.2f}."
    )
    warning = verdict(found, threshold)
    return f"{said} {warning}" if warning else said
