"""The game in which a coalition only changes what the full model draws, not what it has learnt.

Nothing is trained: the utility of a coalition is a property of the images of the full model that
belong to its contributors, in proportion to their numbers of training examples. The idea, for
conditional models and their prompts, is that of SurrogateSHAP (arXiv 2601.22276, 2026).
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crediting.baselines.aggregate import examples_of_each
from crediting.baselines.pools import (
    captions_of_prompts,
    check_captions,
    check_neighbours,
    nearest_pools,
    prompt_pools,
)
from crediting.baselines.reading import improvement, measure_rows, read
from crediting.baselines.settings import check_choice, check_count
from crediting.baselines.shapley import Plan, exact_plan, permutation_plan
from crediting.errors import ConfigError
from crediting.interfaces import Material, Planned
from crediting.randomness import Stream

ASSIGNMENTS = ("nearest", "prompts")


@dataclass(frozen=True)
class MixtureProxy:
    """Shapley values of the game of mixtures, v(S) being a property of what S would have drawn.

    The empty coalition draws nothing; it is given the mean utility of single contributors. Another
    choice would shift all values of a property equally; this one keeps random orders from paying
    whoever happens to come first.

    Args:
        assign: how generated images are dealt to contributors. nearest: to the owners of the
            training images next to them, in the embeddings that the property's extractor gives (or
            the first chosen one that gives any). prompts: to those whose captions they show, for
            conditional models and captions that differ between contributors.
        neighbours: training images that each generated image is dealt to; with assign=nearest.
        images: how many images a coalition draws, with repetition, which spoils recall and KID; a
            coalition that differs by one contributor draws the same ones but for those of that one.
        exact_up_to: up to so many contributors all coalitions are looked at, 2^n of them.
        permutations: random orders of more contributors than that, an even number, in pairs of an
            order and its reverse.

    Raises:
        ConfigError: an argument is out of range.
    """

    assign: str
    neighbours: int
    images: int
    exact_up_to: int
    permutations: int

    def __post_init__(self) -> None:
        check_choice("assign", self.assign, ASSIGNMENTS)
        for key in ("neighbours", "images"):
            check_count(key, getattr(self, key))
        if not 0 <= self.exact_up_to <= 20:
            raise ConfigError(f"exact_up_to: expected 0 to 20, got {self.exact_up_to}")
        if self.permutations < 2 or self.permutations % 2:
            raise ConfigError(
                f"permutations: expected an even number, 2 or more, got {self.permutations}"
            )

    def check(self, study: Planned) -> None:
        """Raise ConfigError if there is not what images are dealt by: neighbours, or prompts."""
        if self.assign == "nearest":
            check_neighbours(self.neighbours, int(study.partition.sizes.sum()))
        elif not study.model.conditional:
            raise _without_prompts()
        elif (captions := study.dataset.columns().get("caption")) is not None:
            known, caption_of = np.unique(captions.astype(str), return_inverse=True)
            # of prompts that are given only their embeddings tell which caption each is
            shown = study.drawn_prompts if study.generation.prompts == "captions" else known
            drawn = torch.from_numpy(np.searchsorted(known, shown))
            owners, n = torch.from_numpy(study.partition.owner), len(study.partition)
            check_captions(drawn, torch.from_numpy(caption_of), owners, n)

    def try_out(self, material: Material) -> None:
        """Raise ConfigError if the embedded prompts do not show what images are dealt by."""
        if self.assign == "prompts":
            _by_prompts(material)

    def scores(self, material: Material) -> dict[str, NDArray[np.float64]]:
        """Return the Shapley values by property, (n,), turned around where lower is better.

        Raises:
            ConfigError: images cannot be dealt to contributors as asked.
        """
        coalitions, weights = self._plan(material)
        utilities = self.utilities(material, coalitions)
        return {
            name: improvement(material, name, 1) * (weights @ values)
            for name, values in utilities.items()
        }

    def utilities(
        self, material: Material, coalitions: NDArray[np.bool_]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the utilities of coalitions, bool (m, n), by property, (m,), signs as measured.

        Raises:
            ConfigError: images cannot be dealt to contributors as asked.
        """
        readers = {name: material.reader(name) for name in material.properties}
        mixtures = {reader: self._mixture(material, reader) for reader in set(readers.values())}
        return {
            name: _utilities(material, name, mixtures[reader], coalitions)
            for name, reader in readers.items()
        }

    def _plan(self, material: Material) -> Plan:
        n = material.n_contributors
        if n <= self.exact_up_to:
            return exact_plan(n)
        return permutation_plan(n, self.permutations, _stream(material).at("orders").seed)

    def _mixture(self, material: Material, reader: str) -> "Mixture":
        by_prompts = self.assign == "prompts"
        pools = _by_prompts(material) if by_prompts else self._by_nearness(material, reader)
        return Mixture(pools, examples_of_each(material), self.images, _stream(material))

    def _by_nearness(self, material: Material, reader: str) -> Tensor:
        gives_any = material.features(reader, "training").embeddings is not None
        generated, training = (
            read(material, reader if gives_any else None, which, "embeddings")
            for which in ("generated", "training")
        )
        rows, owners = _owned(material, training.device)
        n = material.n_contributors
        return nearest_pools(generated, training[rows], owners, n, self.neighbours)


class Mixture:
    """The images that a coalition draws from the pools of its contributors.

    Every contributor has an image ready for every draw, and arrives there at a random time, the
    sooner the more examples it has: the first of the coalition to arrive has its image drawn. So
    coalitions share all their randomness, and each is drawn in the right proportions.

    Args:
        pools: weights (n, K) over the generated images.
        sizes: numbers of training examples, (n,).
        images: how many images are drawn.
        stream: of the random numbers.
    """

    def __init__(
        self, pools: Tensor, sizes: NDArray[np.int64], images: int, stream: Stream
    ) -> None:
        draws = torch.arange(images)
        ready, arrivals = [], []
        for i, (pool, size) in enumerate(zip(pools.cpu().numpy(), sizes.tolist(), strict=True)):
            arrivals.append(-np.log1p(-stream.at("arrival", i).uniform(draws).numpy()) / size)
            # as evenly over the pool as so many draws can be
            ranks = stream.at("image", i).uniform(draws).argsort().argsort().numpy()
            ends = pool.astype(np.float64).cumsum()
            ready.append(np.searchsorted(ends / ends[-1], (ranks + 0.5) / images, side="right"))
        self._ready, self._arrivals = np.stack(ready), np.stack(arrivals)

    def rows(self, coalition: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return the generated images, by number, that a coalition, bool (n,), draws, (images,)."""
        players = np.flatnonzero(coalition)
        first = players[self._arrivals[players].argmin(axis=0)]
        return np.take_along_axis(self._ready, first[None], axis=0)[0]


def _utilities(
    material: Material, name: str, mixture: Mixture, coalitions: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """Return a property of what each coalition draws, (m,), measured once of each."""
    features = material.features(material.reader(name), "generated")

    def utility(coalition: NDArray[np.bool_]) -> float:
        if not coalition.any():
            return np.nan
        rows = torch.from_numpy(mixture.rows(coalition)).to(material.device)
        return measure_rows(material, name, features, rows)

    single = np.eye(material.n_contributors, dtype=bool)
    distinct, which = np.unique(np.concatenate([coalitions, single]), axis=0, return_inverse=True)
    values = np.array([utility(coalition) for coalition in distinct])[which.reshape(-1)]
    asked, alone = values[: len(coalitions)], values[len(coalitions) :]
    return np.where(coalitions.any(axis=1), asked, alone.mean())


def _by_prompts(material: Material) -> Tensor:
    examples, prompts = material.examples("training"), material.prompts()
    if prompts is None or examples.captions is None or examples.caption_of is None:
        raise _without_prompts()
    rows, owners = _owned(material, examples.caption_of.device)
    shown = captions_of_prompts(prompts[1:], examples.captions)
    count = material.generation.images
    prompt_of = shown[torch.arange(count, device=shown.device) % len(shown)]
    return prompt_pools(prompt_of, examples.caption_of[rows], owners, material.n_contributors)


def _without_prompts() -> ConfigError:
    return ConfigError(
        "assign: prompts tell whose images a conditional model draws, and this model reads none; "
        "set assign=nearest"
    )


def _owned(material: Material, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the examples that are somebody's, by number, and whose they are; int64 (N,)."""
    rows = np.flatnonzero(material.contributors >= 0)
    owners = material.contributors[rows]
    return torch.from_numpy(rows).to(device), torch.from_numpy(owners).to(device)


def _stream(material: Material) -> Stream:
    return Stream("mixture_proxy", material.seed)
