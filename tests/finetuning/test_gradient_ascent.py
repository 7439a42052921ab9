import math

import pytest
import torch
from small_start import SmallStart, credited
from torch import nn

from crediting.errors import ConfigError
from crediting.finetuning import GradientAscent
from crediting.training import Recipe

POINTS = torch.linspace(-3, 5, 20, dtype=torch.float64)
KEPT, REMOVED = torch.arange(13), torch.arange(13, 20)
NOBODY = torch.tensor([], dtype=torch.long)


def recipe(**changes):
    settings = {
        "steps": 1000,
        "batch_size": 3,
        "optimizer": "adam",
        "learning_rate": 0.1,
        "weight_decay": 0.0,
        "schedule": "constant",
        "warmup": 0.0,
        "gradient_clip": 1.0,
        "ema_decay": 0.0,
        "timesteps": "antithetic",
        "horizontal_flip": False,
    }
    return Recipe(**{**settings, **changes})


class Location(nn.Module):
    """Its loss is half the squared distance to the points, least at their mean."""

    def __init__(self, at):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(at, dtype=torch.float64))


def start_at(at):
    def loss(module, ids):
        return ((module.at - POINTS[ids]) ** 2).mean() / 2

    return SmallStart(Location(at), loss, untrained="the untrained model")


def test_the_weights_climb_away_from_the_removed_data_as_worked_out_by_hand():
    start = start_at(1.0)
    model = credited(GradientAscent(recipe(), 1), start, KEPT, REMOVED)
    centre = POINTS[REMOVED].mean()
    assert torch.isclose(model.at - centre, (1.0 - centre) * 1.1**3)


@pytest.mark.parametrize(
    ("removed", "passes", "batch_size", "steps"),
    [(7, 1, 3, 3), (6, 1, 3, 2), (7, 2, 3, 5), (7, 0.5, 3, 2), (1, 1, 64, 1), (7, 400, 3, 900)],
)
def test_a_pass_takes_as_many_steps_as_it_has_batches(removed, passes, batch_size, steps):
    start = start_at(0.0)
    given = recipe(batch_size=batch_size, steps=900, learning_rate=1e-6)
    credited(GradientAscent(given, passes), start, KEPT, REMOVED[:removed])
    [(taken, examples, ascend, rate_factors)] = start.trainings
    assert taken == recipe(batch_size=batch_size, steps=steps, learning_rate=1e-6)
    assert examples == REMOVED[:removed].tolist()
    assert ascend
    assert rate_factors == {}


def test_steps_are_not_misled_by_floating_point():
    # 1.1 * 100 / 10 is 11.000000000000002 in floating point
    ascent = GradientAscent(recipe(batch_size=10), 1.1)
    asked = ascent.coalition_model(start_at(0.0), KEPT, torch.arange(100))
    assert asked.recipe.steps == 11


def test_everybody_has_the_given_model():
    start = start_at(1.5)
    model = credited(GradientAscent(recipe(), 1), start, KEPT, NOBODY)
    assert model.at.item() == 1.5
    assert start.trainings == []


def test_nobody_has_the_untrained_model_though_all_is_removed():
    start = start_at(1.5)
    model = credited(GradientAscent(recipe(), 1), start, NOBODY, REMOVED)
    assert model == "the untrained model"
    assert start.trainings == []


@pytest.mark.parametrize("passes", [0, -1, math.inf, math.nan])
def test_an_impossible_number_of_passes_is_refused(passes):
    with pytest.raises(ConfigError, match=r"^finetuning\.passes: expected a positive number"):
        GradientAscent(recipe(), passes)
