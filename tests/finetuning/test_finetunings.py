import pytest
import torch
from small_start import credited

from crediting.finetuning import (
    Finetune,
    GradientAscent,
    InfluenceUnlearning,
    Retrain,
    Unchanged,
)

EVERYBODY = torch.arange(10)
KEPT = torch.tensor([2, 5, 9])
REMOVED = torch.tensor([0, 1, 3, 4, 6, 7, 8])
NOBODY = torch.tensor([], dtype=torch.long)


class CountingStart:
    """A starting point whose models are names, and which counts what is asked of it."""

    def __init__(self):
        self.calls = []

    def trained(self):
        self.calls.append("trained")
        return "the trained model"

    def averaged(self):
        self.calls.append("averaged")
        return "the averaged model"

    def untrained(self):
        self.calls.append("untrained")
        return "the untrained model"

    def train(self, denoiser, recipe, examples, *, ascend, rate_factors):
        assert not ascend
        assert not rate_factors
        self.calls.append(("train", denoiser, recipe, examples.tolist()))
        return f"{denoiser} after {recipe}"


@pytest.mark.parametrize("finetuning", [Finetune("recipe"), Retrain("recipe"), Unchanged()])
def test_nobody_has_the_untrained_model_without_training(finetuning):
    start = CountingStart()
    assert finetuning.coalition_model(start, NOBODY, EVERYBODY) == "the untrained model"
    assert start.calls == ["untrained"]


@pytest.mark.parametrize(
    ("finetuning", "model", "calls"),
    [
        (
            Finetune("recipe"),
            "the trained model after recipe",
            ["trained", ("train", "the trained model", "recipe", [2, 5, 9])],
        ),
        (
            Retrain("recipe"),
            "the untrained model after recipe",
            ["untrained", ("train", "the untrained model", "recipe", [2, 5, 9])],
        ),
        (Unchanged(), "the averaged model", ["averaged"]),
    ],
)
def test_a_coalition_starts_where_its_finetuning_says(finetuning, model, calls):
    start = CountingStart()
    assert credited(finetuning, start, KEPT, REMOVED) == model
    assert start.calls == calls


@pytest.mark.parametrize(
    "finetuning",
    [
        Finetune("recipe"),
        Retrain("recipe"),
        Unchanged(),
        GradientAscent("recipe", 1),
        InfluenceUnlearning(1.0, 0.1, 1, 2, 2),
    ],
)
def test_what_can_work_on_any_denoiser_refuses_none(finetuning):
    denoiser = torch.nn.Linear(2, 3).requires_grad_(False)
    weights = denoiser.weight.clone()
    finetuning.check(denoiser, None)
    assert torch.equal(denoiser.weight, weights)
    assert not denoiser.weight.requires_grad


def test_recipes_are_kept_for_the_study_to_read():
    assert Finetune("one").recipe == "one"
    assert Retrain("two").recipe == "two"
    assert Unchanged().recipe is None
