"""Where the results of a study lie: each is addressed by a fingerprint of what produced it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from crediting.assets import assets_of
from crediting.errors import ConfigError
from crediting.game.contributor import Partition
from crediting.interfaces import DiffusionModel, FineTuning, Pruning
from crediting.ledger import fingerprint
from crediting.pipeline.given import digest_of


@dataclass(frozen=True)
class Addressed:
    """A result's stage, the fingerprint that addresses it, and the content behind that."""

    stage: str
    fingerprint: str
    content: Mapping[str, Any]
    parents: tuple[str, ...]


def addressed(stage: str, content: Mapping[str, Any], *parents: str) -> Addressed:
    """Return the address of a result, given its content and the fingerprints of its parents."""
    return Addressed(stage, fingerprint(stage, content, parents), content, parents)


@dataclass(frozen=True)
class GameSpec:
    """Which model every coalition starts from, and how its own model is obtained from that."""

    address: Addressed
    start: Addressed
    pruning: Pruning
    finetuning: FineTuning


def locate(
    config: Mapping[str, Any],
    parts: Mapping[str, Any],
    partition: Partition,
    readers: Mapping[str, str],
) -> dict[str, Any]:
    """Return the addresses of all results: each hashes its own config and its parents.

    Args:
        config: resolved.
        parts: what each group of it describes.
        partition: the contributors.
        readers: the extractor that each property reads.

    Raises:
        ConfigError: the model says that encoding depends on what its config does not give.
        DataError: published weights or data are not on this machine.
    """
    seed = {"seed": config["seed"]}
    data = fingerprint("dataset", {"digest": digest_of(parts["dataset"])})
    family = identified(config["model"], parts["model"])
    encoder = _encoder(family, parts["model"])
    drawing, prompts = _drawing(config["generation"], parts["generation"])

    trained = addressed("model", {"model": family, **seed}, data)

    def game(settings: Mapping[str, Any], pruning: Pruning, finetuning: FineTuning) -> GameSpec:
        start = addressed("sparse", {"pruning": settings["pruning"], **seed}, trained.fingerprint)
        content = {
            "players": partition.digest(),
            "finetuning": settings["finetuning"],
            "generation": drawing,
            **seed,
        }
        return GameSpec(addressed("game", content, start.fingerprint), start, pruning, finetuning)

    extracted = {
        name: addressed(
            "extractor", {"extractor": identified(node, parts["extractor"][name])}, data
        )
        for name, node in config["extractor"].items()
    }
    own = game(config, parts["pruning"], parts["finetuning"])
    dense = _dense(game)
    return {
        "examples": addressed("examples", {"encoder": encoder}, data),
        "prompts": addressed("prompts", {"encoder": encoder, **prompts}, data),
        "trained": trained,
        "extracted": extracted,
        "game": own,
        "dense": dense,
        "endpoints": own if config["endpoints"] == "same" else dense,
        "property_fingerprints": {
            name: fingerprint("property", _measure(node), [extracted[readers[name]].fingerprint])
            for name, node in config["property"].items()
        },
    }


def identified(node: Mapping[str, Any], part: Any) -> dict[str, Any]:
    """Return a part's config without what only bounds memory, and with assets as their content."""
    only_memory = getattr(part, "memory_settings", ())
    settings = {key: value for key, value in node.items() if key not in only_memory}
    return settings | {key: asset.digest() for key, asset in assets_of(part).items()}


def _encoder(family: Mapping[str, Any], model: DiffusionModel) -> dict[str, Any]:
    """Return the part of a model's config that its training examples in model space depend on."""
    if unknown := [key for key in model.encoder_settings if key not in family]:
        raise ConfigError(
            f"model.{unknown[0]}: missing; encoder_settings of {type(model).__name__} names it, "
            "and encoded examples are found by its value: give it, even where it has a default"
        )
    return {key: family[key] for key in ("_target_", *model.encoder_settings)}


def _measure(node: Mapping[str, Any]) -> dict[str, Any]:
    """Return a property's config; the extractor that it reads, named or not, stands beside it."""
    return {key: None if key == "extractor" else value for key, value in node.items()}


def _drawing(node: Mapping[str, Any], generation: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return how images are drawn, and what tells the embedded prompts of it apart."""
    drawing, prompts = identified(node, generation), generation.prompts
    if prompts != "captions":
        return drawing, {"prompts": None if prompts is None else list(prompts)}
    # which of them are drawn depends on the number of images; once it was the first ones
    spread = {"prompts": "captions", "spread": True}
    return drawing | spread, spread | {"images": generation.images}


def _dense(game: Callable[..., GameSpec]) -> GameSpec:
    """Return the game of the full model as trained: the authors' v(N) and v(empty)."""
    from crediting.finetuning import Unchanged
    from crediting.pruning import NoPruning

    settings = {
        "pruning": {"_target_": "crediting.pruning.NoPruning"},
        "finetuning": {"_target_": "crediting.finetuning.Unchanged"},
    }
    return game(settings, NoPruning(), Unchanged())
