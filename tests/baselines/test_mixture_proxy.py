"""The game of mixtures: its pools, its draws, its utilities and its Shapley values."""

from contextlib import nullcontext
from dataclasses import replace
from itertools import combinations
from math import comb
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fake_material import GivenMaterial, random_images, random_material, reordered
from sklearn.neighbors import NearestNeighbors

from crediting.baselines import MixtureProxy
from crediting.baselines.mixture_proxy import Mixture
from crediting.baselines.pools import captions_of_prompts, nearest_pools, prompt_pools
from crediting.baselines.shapley import exact_plan, permutation_plan
from crediting.errors import ConfigError
from crediting.game.coalition import all_coalitions
from crediting.game.toy import Additive, Airport, UnanimitySum
from crediting.interfaces import Features
from crediting.partitions import ByLabel
from crediting.randomness import Stream


def proxy(**changed):
    settings = {"assign": "nearest", "neighbours": 2, "images": 40, "exact_up_to": 10}
    return MixtureProxy(**{**settings, "permutations": 8, **changed})


def normal(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def shapley_values(coalitions, utilities):
    """Return the values by their definition: a sum over the coalitions of the others."""
    n = coalitions.shape[1]
    worth = {
        frozenset(np.flatnonzero(row).tolist()): value
        for row, value in zip(coalitions, utilities, strict=True)
    }
    values = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            for members in combinations(others, size):
                gain = worth[frozenset({*members, i})] - worth[frozenset(members)]
                values[i] += gain / (n * comb(n - 1, size))
    return values


# ------------------------------------------------------------------------------ plans

TOYS = [
    Additive([3.0, -1.0, 0.0, 2.5, 7.0]),
    Airport([1.0, 2.0, 5.0, 5.5]),
    UnanimitySum.random(6, terms_per_order=[3, 4, 2], seed=2),
]


@pytest.mark.parametrize("toy", TOYS, ids=lambda toy: type(toy).__name__)
def test_the_exact_plan_gives_the_values_of_toy_games(toy):
    coalitions, weights = exact_plan(toy.n_players)
    assert np.array_equal(coalitions, all_coalitions(toy.n_players))
    np.testing.assert_allclose(weights @ toy(coalitions), toy.shapley_values, atol=1e-12)


def test_the_permutation_plan_takes_mean_marginal_contributions():
    n, orders = 5, 4
    game = UnanimitySum.random(n, terms_per_order=[3, 4, 2], seed=3)
    coalitions, weights = permutation_plan(n, orders, seed=1)
    by_order = coalitions.reshape(orders, n + 1, n)
    arrivals = [[int(np.flatnonzero(step)[0]) for step in np.diff(o.astype(int), axis=0)]
                for o in by_order]  # fmt: skip
    gains = np.zeros(n)
    for order in arrivals:
        assert sorted(order) == list(range(n))
        for place, player in enumerate(order):
            before, after = np.zeros((2, n), dtype=bool)
            before[order[:place]] = after[order[: place + 1]] = True
            gains[player] += (game(after[None]) - game(before[None]))[0] / orders
    np.testing.assert_allclose(weights @ game(coalitions), gains, atol=1e-12)
    assert arrivals[1] == arrivals[0][::-1]
    assert arrivals[3] == arrivals[2][::-1]


def test_a_longer_permutation_plan_starts_as_a_shorter_one():
    short, long = (permutation_plan(6, k, seed=4)[0] for k in (4, 10))
    assert np.array_equal(long[: len(short)], short)
    assert not np.array_equal(permutation_plan(6, 4, seed=5)[0], short)


def test_many_permutations_come_close_to_the_values():
    game = UnanimitySum.random(5, terms_per_order=[3, 4, 2], seed=6)
    coalitions, weights = permutation_plan(5, 4000, seed=0)
    spread = np.ptp(game.shapley_values)
    np.testing.assert_allclose(weights @ game(coalitions), game.shapley_values, atol=0.05 * spread)


# ------------------------------------------------------------------------------ pools


@pytest.mark.parametrize("neighbours", [1, 3, 12])
def test_nearest_pools_are_votes_for_the_owners_of_neighbours(neighbours):
    generated, training = normal(300, 3, seed=1), normal(12, 3, seed=2)
    owners = np.random.default_rng(3).permutation(np.repeat([0, 1, 2], [2, 3, 7]))
    found = nearest_pools(generated, training, torch.from_numpy(owners), 3, neighbours).numpy()
    searched = NearestNeighbors(n_neighbors=neighbours).fit(training.numpy())
    near = searched.kneighbors(generated.numpy(), return_distance=False)
    votes = np.stack([(owners[near] == i).sum(axis=1) for i in range(3)]).astype(float)
    np.testing.assert_allclose(found, votes / votes.sum(axis=1, keepdims=True), rtol=1e-12)


@pytest.mark.parametrize(("neighbours", "given"), [(1, [2]), (2, [1, 2])])
def test_whom_no_image_votes_for_is_given_the_closest(neighbours, given):
    line = torch.tensor([0.0, 1.0, 3.0], dtype=torch.float64)[:, None]
    training = torch.tensor([0.0, 1.0, 1.0, 3.0, 3.0, 500.0], dtype=torch.float64)[:, None]
    owners = torch.tensor([0, 0, 0, 0, 0, 1])
    pools = nearest_pools(line, training, owners, 2, neighbours)
    assert pools[1].nonzero().flatten().tolist() == given
    assert pools.sum(dim=1).tolist() == pytest.approx([1, 1])


def test_a_single_generated_image_is_everybodys():
    training, owners = normal(4, 2), torch.tensor([0, 0, 1, 2])
    pools = nearest_pools(normal(1, 2, seed=1), training, owners, 3, neighbours=2)
    assert pools.tolist() == [[1.0], [1.0], [1.0]]


def test_more_neighbours_than_training_images_are_refused():
    with pytest.raises(ConfigError, match="neighbours: expected no more than the 3 training"):
        nearest_pools(normal(5, 2), normal(3, 2), torch.tensor([0, 1, 1]), 2, 4)


def test_prompt_pools_hold_the_images_of_a_contributors_captions():
    """Caption 0 has two images, caption 1 one, caption 2 was never drawn; image 3 is nobody's."""
    prompt_of = torch.tensor([0, 1, 0, -1])
    caption_of, owners = torch.tensor([0, 0, 1, 2, 1, 2]), torch.tensor([0, 0, 0, 0, 1, 1])
    pools = prompt_pools(prompt_of, caption_of, owners, 2)
    np.testing.assert_allclose(pools, [[1 / 3, 1 / 3, 1 / 3, 0], [0, 1, 0, 0]], rtol=1e-12)


def test_a_contributor_of_whose_captions_none_was_drawn_is_refused():
    prompt_of, caption_of, owners = torch.tensor([0, 0]), torch.tensor([0, 1]), torch.arange(2)
    with pytest.raises(ConfigError, match=r"none were drawn for 1 of 2 .* for instance number 2"):
        prompt_pools(prompt_of, caption_of, owners, 2)


def test_contributors_with_the_same_captions_are_refused():
    with pytest.raises(ConfigError, match=r"cannot tell these contributors apart.*assign=nearest"):
        prompt_pools(torch.tensor([0, 0]), torch.zeros(3).long(), torch.tensor([0, 1, 1]), 2)


def test_prompts_are_known_by_their_embeddings():
    captions = normal(5, 4, 3)
    prompts = captions[[3, 0, 3]] * (1 + 1e-4)
    stranger = normal(1, 4, 3, seed=9)
    asked = torch.cat([prompts, stranger])
    for scale in (1, 1e4, 1e-4):  # of the encoder's numbers, which says nothing
        assert captions_of_prompts(scale * asked, scale * captions).tolist() == [3, 0, 3, -1]


@pytest.mark.parametrize(("off", "known"), [(0.009, 2), (0.011, -1)])
def test_a_prompt_is_a_caption_within_what_embedding_it_twice_differs_by(off, known):
    captions = normal(5, 4, 3)
    assert captions_of_prompts((1 + off) * captions[[2]], captions).tolist() == [known]


# ------------------------------------------------------------------------------ draws


def mixture(pools, sizes, images, seed=0):
    return Mixture(torch.tensor(pools).double(), np.array(sizes), images, Stream(seed))


def coalition(n, *members):
    return np.isin(np.arange(n), members)


def test_a_single_contributor_draws_evenly_from_its_pool():
    drawn = mixture([[0.5, 0, 0.25, 0.25], [0, 1, 0, 0]], [3, 1], 40)
    assert np.bincount(drawn.rows(coalition(2, 0)), minlength=4).tolist() == [20, 0, 10, 10]
    assert np.bincount(drawn.rows(coalition(2, 1)), minlength=4).tolist() == [0, 40, 0, 0]


def test_contributors_draw_in_proportion_to_their_examples():
    sizes, images = np.array([10, 30, 60, 50]), 20_000
    rows = mixture(np.eye(4), sizes, images).rows(coalition(4, 0, 1, 2))
    shares = np.bincount(rows, minlength=4) / images
    np.testing.assert_allclose(shares, [0.1, 0.3, 0.6, 0], atol=4 * 0.5 / np.sqrt(images))


def test_which_image_is_drawn_does_not_hang_on_when_its_contributor_arrived():
    images = 8_000
    pools = np.kron(np.eye(2), np.full((1, 4), 0.25))
    counts = np.bincount(mixture(pools, [1, 1], images).rows(coalition(2, 0, 1)), minlength=8)
    np.testing.assert_allclose(counts, images / 8, atol=5 * np.sqrt(images / 8))


def test_who_joins_replaces_nothing_but_its_own_draws():
    drawn = mixture(np.kron(np.eye(3), np.full((1, 5), 0.2)), [4, 2, 3], 300)
    before, after = drawn.rows(coalition(3, 0, 1)), drawn.rows(coalition(3, 0, 1, 2))
    of_the_newcomer = after >= 10
    assert 0 < int(of_the_newcomer.sum()) < 300
    assert np.array_equal(before[~of_the_newcomer], after[~of_the_newcomer])


def test_draws_are_those_of_the_stream():
    drawn = [mixture(np.eye(3), [4, 2, 3], 50, seed).rows(coalition(3, 0, 2)) for seed in (1, 1, 2)]
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])


# ------------------------------------------------------------------------------ utilities


class Treasure:
    """Sum of the scores of the different images: additive, once everybody's image is drawn."""

    extractor = None
    higher_is_better = True
    needs = "scores"

    def bind(self, reference):
        return lambda features: float(features.scores.unique().sum())


class Loss(Treasure):
    higher_is_better = False


WORTH = [1.0, 2.0, 4.0, 8.0, 16.0]


def treasures(properties=None, worth=WORTH):
    """Return material whose contributor i has one generated image, of worth[i]."""
    places = torch.eye(5).double()
    owners = np.repeat(np.arange(5), 3)
    return GivenMaterial(
        random_images(15, 0),
        random_images(5, 0),
        owners,
        properties=properties or {"treasure": Treasure(), "loss": Loss()},
        given={
            ("pixels", "training"): Features(places[owners]),
            ("pixels", "generated"): Features(places, scores=torch.tensor(worth).double()),
        },
    )


def test_an_additive_proxy_has_its_known_values_with_lower_is_better_turned_around():
    """Which are the worths, less an equal share of what nobody is worth."""
    expected = np.array(WORTH) - np.mean(WORTH) / len(WORTH)
    scores = proxy(neighbours=1, images=200).scores(treasures())
    np.testing.assert_allclose(scores["treasure"], expected, rtol=1e-12)
    np.testing.assert_allclose(scores["loss"], -expected, rtol=1e-12)


def test_more_contributors_than_are_enumerated_are_ordered_at_random():
    """Each order of an additive game gives its values, if nobody is worth nothing."""
    worth = [-7.0, -4.0, 1.0, 2.0, 8.0]
    baseline = proxy(neighbours=1, images=200, exact_up_to=4, permutations=2)
    scores = baseline.scores(treasures(worth=worth))
    np.testing.assert_allclose(scores["treasure"], worth, rtol=1e-12)


def test_utilities_are_not_turned_around_and_nobody_is_worth_the_mean_of_one():
    asked = np.array([coalition(5), coalition(5, 0, 3), coalition(5, *range(5)), coalition(5)])
    utilities = proxy(neighbours=1, images=200).utilities(treasures(), asked)
    assert utilities["treasure"].tolist() == pytest.approx([6.2, 9, 31, 6.2])
    assert utilities["loss"].tolist() == utilities["treasure"].tolist()


def test_a_coalition_is_measured_once():
    material, measured = treasures({"treasure": Treasure()}), []
    measure = material.measure
    material.measure = lambda name, features: measured.append(name) or measure(name, features)
    proxy(exact_up_to=0, permutations=20).scores(material)
    coalitions = permutation_plan(5, 20, Stream("mixture_proxy", 0).at("orders").seed)[0]
    assert len(measured) == len(np.unique(coalitions[coalitions.any(axis=1)], axis=0))


def test_a_single_contributors_utility_is_the_property_of_its_pool():
    material = random_material((3, 6, 4))
    embeddings = {
        w: material.features(None, w).embeddings.numpy() for w in ("training", "generated")
    }
    owned = material.contributors >= 0
    nearest = NearestNeighbors(n_neighbors=1).fit(embeddings["training"][owned])
    owner = material.contributors[owned][
        nearest.kneighbors(embeddings["generated"], return_distance=False)[:, 0]
    ]
    utilities = proxy(neighbours=1, images=int(np.lcm.reduce(np.bincount(owner)))).utilities(
        material, np.eye(3, dtype=bool)
    )
    for i in range(3):
        expected = material.features(None, "generated").scores[torch.from_numpy(owner == i)].mean()
        assert utilities["brightness"][i] == pytest.approx(float(expected), rel=1e-12)


def test_scores_are_the_shapley_values_of_the_utilities():
    material, baseline = random_material((3, 6, 4)), proxy()
    coalitions = all_coalitions(3)
    utilities, scores = baseline.utilities(material, coalitions), baseline.scores(material)
    for name, sign in (("brightness", 1), ("inception_score", 1), ("fid", -1)):
        expected = sign * shapley_values(coalitions, utilities[name])
        np.testing.assert_allclose(scores[name], expected, atol=1e-12)


def test_the_order_of_the_dataset_does_not_matter():
    material = random_material()
    expected = proxy().scores(material)
    for name, scores in proxy().scores(reordered(material, 6)).items():
        np.testing.assert_allclose(scores, expected[name], rtol=1e-12)


def test_scores_are_reproducible_and_the_seeds():
    material = random_material()
    first, again, other = (
        proxy().scores(replace(material, seed=seed))["brightness"] for seed in (0, 0, 1)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_the_extractor_that_a_property_reads_tells_what_is_near():
    """A reader in whose eyes all images have changed hands deals them to the others."""
    material = treasures({"treasure": Treasure()})
    swapped = material.given["pixels", "generated"]
    reader = Treasure()
    reader.extractor = "mirror"
    given = dict(material.given)
    given["mirror", "training"] = Features(given["pixels", "training"].embeddings.flip(1))
    given["mirror", "generated"] = swapped
    material = replace(material, given=given, properties={"here": Treasure(), "there": reader})
    utilities = proxy(neighbours=1).utilities(material, np.eye(5, dtype=bool))
    assert utilities["here"].tolist() == WORTH
    assert utilities["there"].tolist() == WORTH[::-1]


def test_where_the_reader_gives_no_embeddings_the_first_that_does_tells():
    material = treasures({"treasure": Treasure()})
    material.properties["treasure"].extractor = "blind"
    scores = material.given["pixels", "generated"].scores
    material.given["blind", "training"] = Features()
    material.given["blind", "generated"] = Features(scores=scores)
    utilities = proxy(neighbours=1).utilities(material, np.eye(5, dtype=bool))
    assert utilities["treasure"].tolist() == WORTH


# ------------------------------------------------------------------------------ prompts


def conditional(drawn):
    """Return treasures of which every contributor has a caption, and who draws these captions."""
    captions = normal(5, 2, 3)
    empty = torch.zeros(1, 2, 3).double()
    return replace(
        treasures(),
        captions=captions,
        caption_of=torch.arange(5).repeat_interleave(3),
        embedded_prompts=torch.cat([empty, captions[drawn]]),
    )


def test_prompts_tell_whose_an_image_is_whatever_it_looks_like():
    """Image i shows prompt i, of contributor 4 - i."""
    utilities = proxy(assign="prompts").utilities(
        conditional([4, 3, 2, 1, 0]), np.eye(5, dtype=bool)
    )
    assert utilities["treasure"].tolist() == WORTH[::-1]


def test_images_show_the_prompts_in_turn():
    material = conditional([0, 1])
    keep = material.contributors < 2
    material = replace(material, contributors=np.where(keep, material.contributors, -1))
    utilities = proxy(assign="prompts", images=6).utilities(material, np.eye(2, dtype=bool))
    assert utilities["treasure"].tolist() == [1 + 4 + 16, 2 + 8]


def test_prompts_that_are_nobodys_captions_are_refused():
    with pytest.raises(ConfigError, match="none were drawn for 3 of 5 contributors"):
        proxy(assign="prompts").scores(conditional([0, 1]))


@pytest.mark.parametrize(("assign", "refuses"), [("prompts", True), ("nearest", False)])
def test_embedded_prompts_are_tried_before_anything_is_drawn(assign, refuses, monkeypatch):
    monkeypatch.delattr(GivenMaterial, "generated_images")
    monkeypatch.delattr(GivenMaterial, "features")
    with pytest.raises(ConfigError, match="for 3 of 5 contr") if refuses else nullcontext():
        proxy(assign=assign).try_out(conditional([0, 1]))
    proxy(assign=assign).try_out(conditional([0, 1, 2, 3, 4]))


def planned(columns, prompts=(), drawn=()):
    return SimpleNamespace(
        generation=SimpleNamespace(prompts=prompts),
        drawn_prompts=drawn,
        model=SimpleNamespace(conditional=True),
        dataset=SimpleNamespace(columns=lambda: columns),
        partition=ByLabel("contributor").partition(columns),
    )


@pytest.mark.parametrize(
    ("captions", "alike"),
    [
        ("aaaa", True),
        ("abab", True),
        ("bbaa", False),
        ("abaa", False),
        ("ababab", True),
        ("ababaa", False),
    ],
)
def test_captions_that_are_the_same_for_everybody_are_refused_before_anything_is_drawn(
    captions, alike
):
    owners = np.array(list("xxyyzz"))[: len(captions)]
    columns = {"contributor": owners, "caption": np.array(list(captions))}
    with pytest.raises(ConfigError, match="same captions") if alike else nullcontext():
        proxy(assign="prompts").check(planned(columns))


@pytest.mark.parametrize(
    ("drawn", "said"),
    [
        ("ac", None),
        ("cab", None),
        ("ab", "none were drawn for 1 of 2 .* for instance number 2; .* as many generation.images"),
        ("cd", "none were drawn for 1 of 2 .* for instance number 1"),
        ("e", "all of them have the same captions"),
    ],
)
@pytest.mark.parametrize("prompts", ["captions", ["a", "cat"]])
def test_too_few_captions_to_draw_are_refused_before_anything_is_drawn(drawn, said, prompts):
    """Of a list nothing is refused: captions and prompts are known by their embeddings."""
    columns = {"contributor": np.array(list("xxxyyy")), "caption": np.array(list("abecde"))}
    study = planned(columns, prompts, list(drawn))
    refuses = said is not None and prompts == "captions"
    with pytest.raises(ConfigError, match=said) if refuses else nullcontext():
        proxy(assign="prompts").check(study)


def test_without_captions_there_is_nothing_to_refuse_before_anything_is_drawn():
    proxy(assign="prompts").check(planned({"contributor": np.array(list("xy"))}))


def test_a_model_that_reads_no_prompts_cannot_be_asked_for_them():
    with pytest.raises(ConfigError, match="this model reads none; set assign=nearest"):
        proxy(assign="prompts").scores(treasures())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"assign": "likeness"}, "assign: expected one of nearest, prompts, got 'likeness'"),
        ({"neighbours": 0}, "neighbours: expected 1 or more, got 0"),
        ({"images": 0}, "images: expected 1 or more, got 0"),
        ({"exact_up_to": 30}, "exact_up_to: expected 0 to 20, got 30"),
        ({"exact_up_to": 21}, "exact_up_to: expected 0 to 20, got 21"),
        ({"exact_up_to": -1}, "exact_up_to: expected 0 to 20, got -1"),
        ({"permutations": 7}, "permutations: expected an even number, 2 or more, got 7"),
        ({"permutations": 0}, "permutations: expected an even number, 2 or more, got 0"),
    ],
)
def test_arguments_out_of_range_are_refused(changed, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        proxy(**changed)


def test_as_many_contributors_as_are_enumerated_are_enumerated():
    material = random_material()
    n = material.n_contributors
    at_most, more = (proxy(exact_up_to=most, permutations=2).scores(material) for most in (n, 20))
    for name, values in more.items():
        np.testing.assert_array_equal(at_most[name], values)


def test_the_seed_decides_the_orders():
    material = random_material()
    plans = [proxy(exact_up_to=0)._plan(replace(material, seed=seed))[0] for seed in (0, 0, 1)]
    assert np.array_equal(plans[0], plans[1])
    assert not np.array_equal(plans[0], plans[2])


def test_captions_of_nobodys_images_are_nobodys():
    """The first contributor's images are nobody's: image i + 1 then is of contributor i."""
    material = conditional([0, 1, 2, 3, 4])
    material = replace(material, contributors=material.contributors - 1)
    utilities = proxy(assign="prompts").utilities(material, np.eye(4, dtype=bool))
    assert utilities["treasure"].tolist() == WORTH[1:]
