"""What baselines may look at, from the store of a study; see interfaces.Material."""

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from crediting.errors import ConfigError
from crediting.game.coalition import coalition_key, grand_coalition
from crediting.interfaces import Features
from crediting.models.checkpoint import load_weights, save_weights
from crediting.pipeline.address import Addressed, addressed
from crediting.pipeline.artifact import completed, produce_once
from crediting.pipeline.compare.costs import SharedCosts, costs_of
from crediting.pipeline.encode import load_examples, load_prompts
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.extract.gauges import Gauge
from crediting.pipeline.machine import open_machine
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED
from crediting.training.examples import Examples

_FILE = "remembered.safetensors"

T = TypeVar("T")


class StudyMaterial:
    """The data, the full model and its images; each is made when it is first asked for.

    `costs` tell what it takes to make them.
    """

    def __init__(self, study: Study) -> None:
        self._study = study
        self.seed = study.seed
        self.device: torch.device = open_machine(study.runtime).device
        self.contributors: NDArray[np.int64] = study.partition.owner
        self.n_contributors = len(study.partition)
        self.model = study.model
        self.generation = study.generation
        self.properties = study.properties
        self.costs = SharedCosts()
        self._gauges: dict[str, Gauge] = {}
        self._features: dict[tuple[str, str], Features] = {}

    def training_images(self) -> torch.Tensor:
        """Return the training images, uint8 (N, C, H, W), on the CPU."""
        return self._study.dataset.training_images()

    def generated_images(self) -> torch.Tensor:
        """Return the full model's images, uint8 (K, C, H, W), on the device."""
        return self._shared("generated", lambda: self._generated)

    def features(self, extractor: str | None, which: str) -> Features:
        """Return an extractor's features of the training or the generated images."""
        name = extractor_for(self._study, extractor)
        images = self.training_images() if which == "training" else self.generated_images()

        def computed() -> Features:
            if (name, which) not in self._features:
                self._features[name, which] = self._gauge(name).features(images.to(self.device))
            return self._features[name, which]

        return self._shared(f"features of {which} by {name}", computed)

    def reader(self, name: str) -> str:
        """Return the extractor that a property reads."""
        return self._study.readers[name]

    def measure(self, name: str, features: Features) -> float:
        """Return a property of images, given their features by the extractor it reads."""
        return float(self._gauge(self.reader(name)).measures[name](features))

    def examples(self, which: str) -> Examples:
        """Return the training or the generated images in model space, with their captions."""
        if which == "training":
            return self._training_examples
        images = self.generated_images()
        columns: dict[str, NDArray] = {}
        if self.model.conditional:
            prompts = self._study.drawn_prompts
            columns["caption"] = np.array([prompts[i % len(prompts)] for i in range(len(images))])
        return self.model.encode(images, columns)

    def prompts(self) -> torch.Tensor | None:
        """Return the embedded prompts, as `Generation.generate` reads them."""
        return load_prompts(self._study, self.device)

    def denoiser(self) -> nn.Module:
        """Return a fresh copy of the full denoiser with its averaged weights, for evaluation."""
        folder = completed(self._study, self._study.trained, "train")
        return self.model.load(folder, AVERAGED).to(self.device).eval()

    def remember(
        self, what: str, settings: Mapping[str, Any], compute: Callable[[], torch.Tensor]
    ) -> torch.Tensor:
        """Return what `compute` gives, from the store if it was computed with these settings."""
        address = self._address(what, settings)

        def produce(folder: Path) -> dict[str, Any]:
            with self.costs.making(address.fingerprint) as seconds:
                save_weights(folder / _FILE, {"value": compute()})
            return {"what": what, "seconds": seconds}

        produce_once(self._study, address, what, produce)
        self.costs.use(address.fingerprint, costs_of(self._study.manifest(address)))
        stored = load_weights(completed(self._study, address, "compare") / _FILE)
        return stored["value"].to(self.device)

    def _shared(self, what: str, made: Callable[[], T]) -> T:
        """Return what several ask for, and see to it that its seconds count for each."""
        if self.costs.knows(what):
            self.costs.use(what)
            return made()
        with self.costs.making(what):
            return made()

    def _address(self, what: str, settings: Mapping[str, Any]) -> Addressed:
        study = self._study
        content = {
            "what": what,
            "settings": settings,
            "generation": study.dense.address.content["generation"],
            "seed": study.seed,
        }
        parents = (study.trained.fingerprint, study.examples.fingerprint)
        return addressed("material", content, *parents)

    @cached_property
    def _generated(self) -> torch.Tensor:
        """Images by the full model as trained; `prune_for(study, study.dense)` comes before."""
        everybody = coalition_key(grand_coalition(self.n_contributors))
        return DiffusionGame(self._study, self._study.dense).images(everybody, 0, keep=True)

    @cached_property
    def _training_examples(self) -> Examples:
        return load_examples(self._study, self.device)

    def _gauge(self, name: str) -> Gauge:
        if name not in self._gauges:
            self._gauges[name] = Gauge(self._study, name, self.device)
        return self._gauges[name]


def extractor_for(study: Study, asked: str | None) -> str:
    """Return the extractor that a baseline asks for, by None the first that gives embeddings.

    Raises:
        ConfigError: it is not among the chosen ones, or none of them gives any.
    """
    chosen = study.extractors
    able = [name for name, one in chosen.items() if "embeddings" in one.gives]
    if asked is None and able:
        return able[0]
    if asked in chosen:
        return str(asked)
    listed = ", ".join(chosen)
    if asked is None:
        raise ConfigError(
            f"extractor: a baseline reads embeddings, and none of {listed} gives any; choose "
            "another with extractor=[...]"
        )
    raise ConfigError(
        f"extractor: a baseline reads {asked}, and chosen are only {listed}; add it with "
        f"extractor=[{','.join(chosen)},{asked}]"
    )
