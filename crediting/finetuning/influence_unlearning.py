"""Unlearning by influence: one step from the optimum on all data towards that on what is kept.

Let L_k and L_r be the mean losses over the kept and the removed examples, g_k and g_r their
gradients at the given weights, r the share of the removed. The mean loss over all is
L = (1 - r) L_k + r L_r, so g_k = grad L - r (g_r - g_k). To first order the minimum of L_k lies a
Newton step away, -H^-1 g_k with H its Hessian. The given weights minimise L, so grad L = 0 and

    step = r H^-1 (g_r - g_k).

Where they do not quite, dropping grad L drops what more training on all data would have done: the
step is then that of the removal alone. In place of H stands the empirical Fisher matrix
F = damping I + (1 / m) sum of b g g^T over m batches of kept examples, b in a batch, with mean
gradient g. As sqrt(b) g varies like the gradient of one example, F does not depend on the size of
the batches. If the loss is a negative log-likelihood, F is H at a perfect fit; for a squared error
with mean L over D numbers per example, F is of the order of (2 L / D) H.
"""

import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from crediting.errors import ConfigError
from crediting.interfaces import DiffusionModel, StartingPoint
from crediting.randomness import Stream
from crediting.training.recipe import BatchGradient


class InfluenceUnlearning:
    """Move the averaged weights by scale * r * F^-1 (g_r - g_k), as derived above.

    The empty coalition gets the untrained model, the grand one, of which nothing is removed, the
    given one.

    Args:
        scale: what F is of the Hessian: 1 for a negative log-likelihood; auto: 2 L / D, as is due
            for a squared error, L measured on what is kept.
        damping: what is added to F, as a share of its trace, which is about the mean squared
            length of the gradient of one example and does not depend on m.
        draws: so often is every example looked at, each time at another timestep and with other
            noise, and in another batch; g_r and g_k are means over all of them.
        batch_size: examples per gradient.
        fisher_batches: the most batches that F is made of, spread evenly over all draws. They are
            held at once: so many times the memory of the trainable weights, on their device.

    Source: the baseline IU of the paper, whose algebra is corrected here; Singh and
    Alistarh 2020 (WoodFisher), whose matrix is inverted at once, not batch by batch.
    """

    recipe = None

    def __init__(
        self,
        scale: float | Literal["auto"],
        damping: float,
        draws: int,
        batch_size: int,
        fisher_batches: int,
    ) -> None:
        for key, value in (("scale", scale), ("damping", damping)):
            if key == "scale" and value == "auto":
                continue
            if isinstance(value, str) or not 0 < value < math.inf:
                raise ConfigError(f"finetuning.{key}: expected a positive number, got {value}")
        counts = {"draws": draws, "batch_size": batch_size, "fisher_batches": fisher_batches}
        for key, count in counts.items():
            if count < 1:
                raise ConfigError(f"finetuning.{key}: expected 1 or more, got {count}")
        self.scale = scale
        self.damping = damping
        self.draws = draws
        self.batch_size = batch_size
        self.fisher_batches = fisher_batches

    def check(self, denoiser: nn.Module, model: DiffusionModel) -> None:
        """Accept any denoiser: what requires gradients is moved."""

    def coalition_model(self, start: StartingPoint, kept: Tensor, removed: Tensor) -> nn.Module:
        """Return the averaged model after one step away from what is removed, int64 (k,)."""
        if len(kept) == 0:
            return start.untrained()
        denoiser = start.averaged()
        if len(removed) == 0:
            return denoiser
        gradient_removed = self._look(start, denoiser, removed, n_rows=0).gradient
        look = self._look(start, denoiser, kept, self.fisher_batches)
        share = len(removed) / (len(removed) + len(kept))
        direction = divide_by_fisher(look.rows, self.damping, gradient_removed - look.gradient)
        trainable = [p for p in denoiser.parameters() if p.requires_grad]
        scale = look.fisher_share if self.scale == "auto" else self.scale
        steps = (scale * share * direction).split([p.numel() for p in trainable])
        with torch.no_grad():
            for parameter, step in zip(trainable, steps, strict=True):
                parameter += step.view(parameter.shape)
        return denoiser

    def _look(
        self, start: StartingPoint, denoiser: nn.Module, examples: Tensor, n_rows: int
    ) -> "Look":
        """Return what all draws of some examples say, with rows of so many batches at most."""
        n_batches = self.draws * math.ceil(len(examples) / self.batch_size)
        m = min(n_rows, n_batches)
        row_of = {i * n_batches // m: i for i in range(m)}
        trainable = [p for p in denoiser.parameters() if p.requires_grad]
        total = trainable[0].new_zeros(sum(p.numel() for p in trainable), requires_grad=False)
        rows = total.new_empty(m, len(total))
        fisher_share = 0.0
        for number, batch in enumerate(self._gradients(start, denoiser, examples)):
            gradient = torch.cat([part.flatten() for part in batch.by_name.values()])
            total += batch.examples * gradient
            fisher_share += batch.examples * 2 * batch.loss / batch.entries
            if number in row_of:
                rows[row_of[number]] = math.sqrt(batch.examples) * gradient
        looks = self.draws * len(examples)
        return Look(total / looks, rows, fisher_share / looks)

    def _gradients(
        self, start: StartingPoint, denoiser: nn.Module, examples: Tensor
    ) -> Iterator[BatchGradient]:
        """Yield every batch of every draw, gradients in the order of the parameters."""
        names = [name for name, p in denoiser.named_parameters() if p.requires_grad]
        for draw in range(self.draws):
            # mixed, since data are often sorted by class and a batch is to stand for all of them;
            # alike in all replicates: other batches would not vary a step more than noise does
            mixed = Stream("influence", draw).choose(examples, len(examples))
            for batch in start.gradients(denoiser, mixed, self.batch_size, draw=draw):
                yield batch._replace(by_name={name: batch.by_name[name] for name in names})


class Look(NamedTuple):
    """What some examples say of a denoiser.

    Their mean gradient, (d,); the rows sqrt(b) g of batches, (m, d); and 2 L / D, what the Fisher
    matrix is of the Hessian if the loss L is a squared error over D entries.
    """

    gradient: Tensor
    rows: Tensor
    fisher_share: float


def divide_by_fisher(rows: Tensor, damping: float, vector: Tensor) -> Tensor:
    """Return F^-1 v for F = c I + G^T G / m, where c is damping * the trace of G^T G / m.

    By Woodbury's identity F^-1 v = (v - G^T (c m I + G G^T)^-1 G v) / c, exactly.

    Args:
        rows: G, (m, d).
        damping: positive.
        vector: v, (d,).
    """
    m = len(rows)
    gram = (rows @ rows.T).double()
    added = damping * gram.trace() / m
    inner = gram + added * m * torch.eye(m, dtype=gram.dtype, device=gram.device)
    inside = torch.linalg.solve(inner, (rows @ vector).double())
    return (vector - rows.T @ inside.to(rows.dtype)) / added.to(rows.dtype)
