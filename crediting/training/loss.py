"""The training loss of a diffusion model: how well a denoiser tells the noise from the image."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from crediting.errors import ConfigError
from crediting.randomness import Stream
from crediting.training.examples import Examples


class Posed(NamedTuple):
    """What a denoiser is asked, and what it should answer: noisy points, (B, *shape), and so on."""

    noisy: Tensor
    timesteps: Tensor
    conditions: Mapping[str, Tensor]
    """Whatever else it is called with, by name."""
    target: Tensor


class DenoisingLoss:
    """Mean squared error of the predicted noise (or velocity) at given timesteps.

    Args:
        examples: all training examples.
        noise_scheduler: diffusers scheduler of the forward process.

    Raises:
        ConfigError: the process predicts something else.

    Source: Ho et al. 2020, Eq. 14; the paper.
    """

    def __init__(self, examples: Examples, noise_scheduler: Any) -> None:
        self.examples = examples
        self._prediction = noise_scheduler.config.prediction_type
        if self._prediction not in ("epsilon", "v_prediction"):
            raise ConfigError(
                "model.noise.prediction_type: expected epsilon or v_prediction, "
                f"got {self._prediction!r}"
            )
        alpha_bar = noise_scheduler.alphas_cumprod.double()
        self._signal = alpha_bar.sqrt().float().to(examples.device)
        self._noise = (1 - alpha_bar).sqrt().float().to(examples.device)

    @property
    def n_timesteps(self) -> int:
        """The number of timesteps of the forward process."""
        return len(self._signal)

    def __call__(
        self,
        model: Callable[..., Any],
        ids: Tensor,
        timesteps: Tensor,
        flipped: Tensor | None,
        stream: Stream,
    ) -> Tensor:
        """Return the mean loss of a model, a scalar; it is called as denoisers of diffusers are.

        The other arguments are those of `pose`.
        """
        posed = self.pose(ids, timesteps, flipped, stream)
        prediction = model(posed.noisy, posed.timesteps, **posed.conditions).sample
        return self.judge(prediction, posed.target)

    def pose(self, ids: Tensor, timesteps: Tensor, flipped: Tensor | None, stream: Stream) -> Posed:
        """Return what is asked of a model.

        Args:
            ids: of the examples, int64 (B,).
            timesteps: int64 (B,).
            flipped: which examples to mirror, bool (B,), or None.
            stream: randomness of the noise, by id.
        """
        clean = self.examples.draw(ids, flipped, stream.at("posterior"))
        noise = stream.at("noise").normal(ids, tuple(clean.shape[1:]))
        signal, scale = (
            c[timesteps].view(-1, *[1] * (clean.dim() - 1)) for c in (self._signal, self._noise)
        )
        noisy = signal * clean + scale * noise
        target = noise if self._prediction == "epsilon" else signal * noise - scale * clean
        return Posed(noisy, timesteps, self.examples.conditions(ids), target)

    @staticmethod
    def judge(prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of predictions, a scalar, in full precision."""
        return F.mse_loss(prediction.float(), target)


class FixedTimestepLoss:
    """The loss at one timestep over examples that are always the same; see TimestepLoss.

    Of more examples than `at_once`, the activations are computed again for the gradients, part by
    part, so that memory need not hold those of all.
    """

    def __init__(self, loss: DenoisingLoss, stream: Stream, at_once: int) -> None:
        self._loss = loss
        self._stream = stream
        self._at_once = at_once
        self.n_timesteps = loss.n_timesteps

    def __call__(self, denoiser: nn.Module, timestep: int, examples: int) -> Tensor:
        """Return the mean loss over so many examples, or all if there are fewer."""
        everything = torch.arange(len(self._loss.examples), device=self._loss.examples.device)
        ids = self._stream.at("examples").choose(everything, examples)
        parts = ids.split(self._at_once)
        if len(parts) == 1:
            return self._of(denoiser, timestep, ids)
        losses = [
            checkpoint(self._of, denoiser, timestep, part, use_reentrant=False) for part in parts
        ]
        shares = torch.tensor([len(part) / len(ids) for part in parts], device=ids.device)
        return (shares * torch.stack(losses)).sum()

    def _of(self, denoiser: nn.Module, timestep: int, ids: Tensor) -> Tensor:
        timesteps = torch.full_like(ids, timestep)
        return self._loss(denoiser, ids, timesteps, None, self._stream.at(timestep))
