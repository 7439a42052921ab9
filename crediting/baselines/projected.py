"""Projected gradients of the examples, computed once for all baselines that read them."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crediting.baselines.aggregate import AGGREGATES
from crediting.baselines.example_gradients import ExampleGradients
from crediting.baselines.projection import project
from crediting.baselines.settings import check_choice, check_positive
from crediting.errors import ConfigError, EvaluationError
from crediting.interfaces import DiffusionModel, Material, Planned
from crediting.progress import say
from crediting.randomness import Stream
from crediting.training.examples import Examples

_FLOAT = 4  # bytes
_MANY = 1e12  # random numbers: minutes of a GPU


@dataclass(frozen=True)
class GradientBaseline(ABC):
    """A baseline that reads projected gradients of training examples and of what is attributed.

    Args:
        timesteps: over how many the gradients are averaged, k of T: 0, T / k, 2 T / k ...
        dimensions: to which they are projected, or null for no projection.
        memory_mb: megabytes to compute them in, beside the model and the result, which it does
            not change but for rounding.
        generated: how many generated images are looked at, or null for all.
        aggregate: mean, max or sum over a contributor's training examples.

    Raises:
        ConfigError: one of them cannot be.

    Source: the paper, with 100 timesteps and 32,768 dimensions.
    """

    timesteps: int
    dimensions: int | None
    memory_mb: int
    generated: int | None
    aggregate: str

    memory_settings: ClassVar[tuple[str, ...]] = ("memory_mb",)

    def __post_init__(self) -> None:
        for key in ("timesteps", "dimensions", "memory_mb", "generated"):
            check_positive(key, getattr(self, key))
        check_choice("aggregate", self.aggregate, AGGREGATES)

    def check(self, study: Planned) -> None:
        """Raise ConfigError if the model has fewer timesteps, or fewer images are generated."""
        self._spaced(study.model)
        self._check_generated(study.generation.images)

    @abstractmethod
    def scores(self, material: Material) -> NDArray[np.float64]:
        """Return the score of each contributor, (n,).

        Raises:
            ConfigError: the model has fewer timesteps, or there are fewer generated images.
            EvaluationError: the gradients are NaN or infinite.
        """

    def of_training(self, material: Material, output: str) -> Tensor:
        """Return the training examples' gradients in the order of the dataset, float64 (N, d)."""
        return self._of_images(
            material, output, {"which": "training"}, lambda: material.examples("training")
        )

    def of_generated(self, material: Material, output: str) -> Tensor:
        """Return those of the first generated images, or of all, float64 (images, d)."""
        settings = {"which": "generated", "images": self.generated}
        return self._of_images(material, output, settings, lambda: self._generated(material))

    def _of_images(
        self,
        material: Material,
        output: str,
        settings: Mapping[str, Any],
        images: Callable[[], Examples],
    ) -> Tensor:
        return self.of(material, output, settings, lambda: (images(), self._spaced(material.model)))

    def of(
        self,
        material: Material,
        output: str,
        settings: Mapping[str, Any],
        examples: Callable[[], tuple[Examples, Sequence[int] | Tensor]],
    ) -> Tensor:
        """Return those of any examples at timesteps, float64 (n, d), on the CPU.

        `settings` tell which; timesteps are those of `ExampleGradients`.
        """
        complete = {
            **settings,
            "output": output,
            "timesteps": self.timesteps,
            "dimensions": self.dimensions,
            "seed": material.seed,
        }
        found = material.remember(
            "gradients", complete, lambda: self._computed(material, output, *examples())
        )
        return found.cpu().double()

    def _computed(
        self,
        material: Material,
        output: str,
        examples: Examples,
        timesteps: Sequence[int] | Tensor,
    ) -> Tensor:
        stream = Stream("gradients", material.seed)
        memory = self.memory_mb * 2**20
        gradients = ExampleGradients(
            material.denoiser(),
            examples,
            material.model.noise_scheduler(),
            output,
            timesteps,
            stream,
            memory // 4,
        )
        ids = torch.arange(len(examples), device=examples.device)
        waiting = max(1, memory // 2 // (_FLOAT * gradients.size))
        parts = []
        times = -(-len(ids) // waiting)
        numbers = times * gradients.size * (self.dimensions or 0)
        if numbers > _MANY:
            say(
                f"baseline: the random matrix of the projection is drawn {times:,} times, "
                f"{numbers:.0e} numbers; with more memory_mb it is drawn less often"
            )
        for some in ids.split(waiting):
            rows = gradients.of(some)
            if self.dimensions is not None:
                rows = project(rows, self.dimensions, stream.at("projection"), memory // 4)
            parts.append(rows.cpu())
        found = torch.cat(parts)
        if not found.isfinite().all():
            raise EvaluationError(
                "the gradients of the trained model are NaN or infinite, which usually means that "
                "its training diverged; lower model.training.learning_rate"
            )
        return found

    def _generated(self, material: Material) -> Examples:
        examples = material.examples("generated")
        count = self.generated
        if count is None:
            return examples
        self._check_generated(len(examples))
        shown = examples.caption_of
        return Examples(
            examples.latents[:count],
            captions=examples.captions,
            caption_of=None if shown is None else shown[:count],
        )

    def _check_generated(self, images: int) -> None:
        if self.generated is not None and self.generated > images:
            raise ConfigError(
                f"generated: expected at most the {images} images of generation.images, got "
                f"{self.generated}; lower it, or null for all"
            )

    def _spaced(self, model: DiffusionModel) -> list[int]:
        return spaced(self.timesteps, model.noise_scheduler().config.num_train_timesteps)


def spaced(count: int, n_timesteps: int) -> list[int]:
    """Return so many equally spaced timesteps, the first of which is 0.

    Raises:
        ConfigError: there are fewer.
    """
    if count > n_timesteps:
        raise ConfigError(
            f"timesteps: expected at most the model's {n_timesteps}, got {count}; lower it"
        )
    return [i * n_timesteps // count for i in range(count)]
