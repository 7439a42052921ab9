import warnings

import pytest
import torch
from diffusers.optimization import get_scheduler

from crediting.errors import ConfigError
from crediting.training.recipe import Recipe

PLAIN = {
    "steps": 200,
    "batch_size": 64,
    "optimizer": "adamw",
    "learning_rate": 3e-4,
    "weight_decay": 1e-6,
    "schedule": "constant",
    "warmup": 0.0,
    "gradient_clip": 1.0,
    "ema_decay": 0.0,
    "timesteps": "uniform",
    "horizontal_flip": True,
}


def recipe(**changes):
    return Recipe(**{**PLAIN, **changes})


@pytest.mark.parametrize(
    ("schedule", "theirs"),
    [("constant", "constant_with_warmup"), ("cosine", "cosine")],
)
@pytest.mark.parametrize("warmup", [0, 1, 6, 199])
def test_the_rate_is_that_of_diffusers(schedule, theirs, warmup):
    how = recipe(schedule=schedule, warmup=warmup / 200)
    assert how.warmup_steps == warmup
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=how.learning_rate)
    scheduler = get_scheduler(theirs, optimizer, num_warmup_steps=warmup, num_training_steps=200)
    for step in range(200):
        assert how.rate(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-18)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it wants optimizer.step() first
            scheduler.step()


def test_a_constant_rate_does_not_change():
    assert {recipe().rate(step) for step in range(200)} == {3e-4}


@pytest.mark.parametrize(
    ("steps", "warm"), [(15_800, 500), (1_580, 50), (200, 6), (50, 2), (1, 0), (0, 0)]
)
def test_a_warm_up_fits_its_training(steps, warm):
    """It is a share of the steps: the authors' fine-tuning warms up for 500 of 200."""
    how = recipe(steps=steps, warmup=0.03165, schedule="cosine")
    assert how.warmup_steps == warm
    if steps > 1:
        assert max(how.rate(step) for step in range(steps)) == how.learning_rate


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "optimizer: expected one of adam, adamw, adamw8bit, got 'sgd'"),
        ({"schedule": "linear"}, "schedule: expected one of constant, cosine, got 'linear'"),
        ({"timesteps": "low"}, "timesteps: expected one of antithetic, uniform, got 'low'"),
        ({"warmup": -0.1}, r"warmup: expected a number in \[0, 1\), got -0.1"),
        ({"warmup": 1.0}, r"warmup: expected a number in \[0, 1\), got 1.0"),
        ({"steps": -1}, "steps: expected 0 or more, got -1"),
        ({"weight_decay": -0.1}, "weight_decay: expected 0 or more"),
        ({"batch_size": 0}, "batch_size: expected a positive number, got 0"),
        ({"learning_rate": 0.0}, "learning_rate: expected a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate: expected a finite number, got inf"),
        ({"gradient_clip": -1.0}, "gradient_clip: expected a positive number"),
        ({"ema_decay": 1.0}, r"ema_decay: expected a number in \[0, 1\)"),
    ],
)
def test_what_cannot_work_is_refused_by_name(changes, message):
    with pytest.raises(ConfigError, match=message):
        recipe(**changes)
