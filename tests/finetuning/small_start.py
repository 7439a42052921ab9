"""A starting point whose denoisers are any modules and whose loss is any function."""

import copy

import torch

from crediting.training.recipe import BatchGradient, Training


def credited(finetuning, start, kept, removed):
    """Return a coalition's denoiser, trained by the starting point if that is asked for."""
    asked = finetuning.coalition_model(start, kept, removed)
    if not isinstance(asked, Training):
        return asked
    denoiser = start.train(
        asked.denoiser,
        asked.recipe,
        asked.examples,
        ascend=asked.ascend,
        rate_factors=asked.rate_factors,
    )
    if asked.finish is not None:
        asked.finish(denoiser)
    return denoiser


class SmallStart:
    """Trains by plain gradient descent on all examples at once, and remembers what was asked.

    `noise` returns what a draw adds to the derivative by every weight, at some examples.
    """

    def __init__(self, module, loss, untrained=None, noise=lambda ids, draw: 0.0, entries=1):
        self._module = module
        self._loss = loss
        self._untrained = untrained
        self._noise = noise
        self._entries = entries
        self.trainings = []
        self.visited = []

    def trained(self):
        raise AssertionError("these methods start from the weights that are sampled from")

    def averaged(self):
        return copy.deepcopy(self._module)

    def untrained(self):
        return self._untrained

    def train(self, denoiser, recipe, examples, *, ascend=False, rate_factors=None):
        self.trainings.append((recipe, examples.tolist(), ascend, rate_factors))
        parameters = [p for p in denoiser.parameters() if p.requires_grad]
        for _ in range(recipe.steps):
            gradients = torch.autograd.grad(self._loss(denoiser, examples), parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.add_(gradient, alpha=recipe.learning_rate * (1 if ascend else -1))
        return denoiser

    def gradients(self, denoiser, examples, batch_size, *, draw):
        named = {name: p for name, p in denoiser.named_parameters() if p.requires_grad}
        for ids in examples.split(batch_size):
            self.visited.append((draw, ids.tolist()))
            loss = self._loss(denoiser, ids)
            gradients = torch.autograd.grad(loss, list(named.values()))
            added = self._noise(ids, draw)
            by_name = {name: g + added for name, g in zip(named, gradients, strict=True)}
            yield BatchGradient(len(ids), loss.item(), self._entries, by_name)
