"""Both ways to unlearn, with the training loop and the U-Nets of a study."""

import pytest
import torch
from real_start import RealStart, unet
from small_start import credited

from crediting import lora
from crediting.finetuning import GradientAscent, InfluenceUnlearning
from crediting.training import Recipe

KEPT, REMOVED = torch.arange(3), torch.arange(3, 6)
RECIPE = Recipe(
    steps=100,
    batch_size=3,
    optimizer="adam",
    learning_rate=1e-3,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    gradient_clip=1.0,
    ema_decay=0.0,
    timesteps="antithetic",
    horizontal_flip=False,
)
ASCENT = GradientAscent(RECIPE, 5)
INFLUENCE = InfluenceUnlearning(0.01, 0.01, draws=2, batch_size=2, fisher_batches=2)


def with_adapters():
    adapted = unet()
    ranks = dict.fromkeys(lora.target_names(adapted, ["to_q", "to_v"]), 2)
    lora.attach(adapted, ranks, 1.0, 0.0, seed=0)
    return adapted


def test_an_ascent_makes_the_model_worse_at_what_is_removed():
    start = RealStart(unet)
    model = credited(ASCENT, start, KEPT, REMOVED)
    assert start.loss(model, REMOVED) > start.loss(unet(), REMOVED) * 1.02


def test_an_influence_step_raises_the_loss_of_what_is_removed_above_that_of_what_is_kept():
    start = RealStart(unet)
    model = credited(INFLUENCE, start, KEPT, REMOVED)

    def excess(denoiser):
        return start.loss(denoiser, REMOVED) - start.loss(denoiser, KEPT)

    assert excess(model) > excess(unet()) + 1e-4


@pytest.mark.parametrize("method", [ASCENT, INFLUENCE])
def test_of_a_model_of_adapters_only_those_are_changed(method):
    before = with_adapters().state_dict()
    model = credited(method, RealStart(with_adapters), KEPT, REMOVED)
    changed = {n for n, w in model.state_dict().items() if not torch.equal(w, before[n])}
    assert changed
    assert all("lora_" in name for name in changed)
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trainable == {name for name, p in with_adapters().named_parameters() if p.requires_grad}
