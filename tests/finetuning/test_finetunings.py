import pytest
import torch

from crediting.finetuning import Finetune, Retrain, Unchanged

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

    def train(self, denoiser, recipe, examples):
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
    assert finetuning.coalition_model(start, KEPT, REMOVED) == model
    assert start.calls == calls


def test_recipes_are_kept_for_the_study_to_read():
    assert Finetune("one").recipe == "one"
    assert Retrain("two").recipe == "two"
    assert Unchanged().recipe is None
