"""Training examples in model space: what every training reads, encoded once and kept on disk."""

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from crediting.randomness import Stream

_MIRRORED = "mirrored."


@dataclass(frozen=True)
class Examples:
    """N encoded images, and the captions that go with them.

    Args:
        latents: points of model space, or the means of their posteriors, float32 (N, *shape).
        deviations: standard deviations of the posteriors, like latents: a point is drawn anew
            at every step. None: the latents are the points.
        mirrored: the same images encoded after being mirrored left to right. None for pixels,
            which are mirrored exactly by turning them around, and where nobody asked for them.
        captions: the distinct captions, embedded, float32 (k, tokens, width), or None.
        caption_of: which of them belongs to each image, int64 (N,), or None.
    """

    latents: Tensor
    deviations: Tensor | None = None
    mirrored: "Examples | None" = None
    captions: Tensor | None = None
    caption_of: Tensor | None = None
    in_pixels: bool = False

    def __len__(self) -> int:
        return len(self.latents)

    @property
    def device(self) -> torch.device:
        """Where all tensors are."""
        return self.latents.device

    @property
    def can_mirror(self) -> bool:
        """Whether mirrored images can be trained on."""
        return self.in_pixels or self.mirrored is not None

    def to(self, device: torch.device) -> "Examples":
        """Return the same examples on a device."""
        return self.from_tensors({k: v.to(device) for k, v in self.tensors().items()})

    def draw(self, ids: Tensor, flipped: Tensor | None, stream: Stream) -> Tensor:
        """Return a point of model space per id, float32 (B, *shape).

        Args:
            ids: int64 (B,).
            flipped: which of them are to be mirrored, bool (B,), or None for none.
            stream: randomness of the draw from the posteriors.
        """
        points = self._points(ids, stream)
        if flipped is None:
            return points
        if self.in_pixels:
            others = points.flip(-1)
        else:
            assert self.mirrored is not None, "nobody encoded the mirrored images"
            others = self.mirrored._points(ids, stream)
        return torch.where(flipped.view(-1, *[1] * (points.dim() - 1)), others, points)

    def conditions(self, ids: Tensor) -> dict[str, Tensor]:
        """Return what the denoiser is called with beside points and timesteps."""
        if self.captions is None or self.caption_of is None:
            return {}
        return {"encoder_hidden_states": self.captions[self.caption_of[ids]]}

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors by name, so that they can be stored."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        own = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        own["in_pixels"] = torch.tensor(self.in_pixels)
        mirrored = self.mirrored.tensors() if self.mirrored else {}
        return own | {_MIRRORED + name: value for name, value in mirrored.items()}

    @staticmethod
    def from_tensors(tensors: dict[str, Tensor]) -> "Examples":
        """Return the examples that `tensors` took apart."""
        own = {k: v for k, v in tensors.items() if not k.startswith(_MIRRORED)}
        mirrored = {
            k.removeprefix(_MIRRORED): v for k, v in tensors.items() if k.startswith(_MIRRORED)
        }
        examples = Examples(**{**own, "in_pixels": bool(own["in_pixels"])})  # type: ignore[arg-type]
        return replace(examples, mirrored=Examples.from_tensors(mirrored)) if mirrored else examples

    def _points(self, ids: Tensor, stream: Stream) -> Tensor:
        means = self.latents[ids]
        if self.deviations is None:
            return means
        return means + self.deviations[ids] * stream.normal(ids, tuple(means.shape[1:]))
