import pytest
import torch
from real_start import IMAGES, TIMESTEPS, RealStart, predicted, unet
from safetensors.torch import load_file, save_file
from small_start import SmallStart, credited
from tiny_unet import unet as unet_without_attention

from crediting import lora
from crediting.errors import ConfigError
from crediting.finetuning import LoRA
from crediting.training import Recipe

KEPT, REMOVED = torch.arange(4), torch.arange(4, 6)
NOBODY = torch.tensor([], dtype=torch.long)
RECIPE = Recipe(
    steps=3,
    batch_size=4,
    optimizer="adam",
    learning_rate=0.01,
    weight_decay=0.0,
    schedule="constant",
    warmup=0.0,
    gradient_clip=1.0,
    ema_decay=0.0,
    timesteps="antithetic",
    horizontal_flip=False,
)


class WatchingStart(SmallStart):
    """Remembers the adapters before training, and the predictions and weights after it."""

    def __init__(self, module, untrained=None):
        super().__init__(module, lambda m, ids: m(IMAGES[ids], TIMESTEPS[ids]).sample.var())
        self._untrained = untrained

    def train(self, denoiser, recipe, examples, *, ascend=False, rate_factors=None):
        self.trainable = {n for n, p in denoiser.named_parameters() if p.requires_grad}
        self.before = {
            n: [f.detach().clone() for f in p] for n, p in lora.factors(denoiser).items()
        }
        self.scale = lora.scale(denoiser)
        self.dropouts = {m.p for m in denoiser.modules() if isinstance(m, torch.nn.Dropout)}
        super().train(denoiser, recipe, examples, ascend=ascend, rate_factors=rate_factors)
        self.prediction = predicted(denoiser)
        return denoiser


def method(**changes):
    settings = {
        "recipe": RECIPE,
        "rank": 2,
        "scale": 2.0,
        "dropout": 0.0,
        "targets": ["to_q", "to_k", "to_v"],
        "b_rate_factor": 16,
        "seed": 0,
    }
    return LoRA(**{**settings, **changes})


def adapted_unet():
    adapted = unet()
    lora.attach(adapted, dict.fromkeys(lora.target_names(adapted, ["to_q"]), 2), 1.0, 0.0, seed=0)
    return adapted


def test_the_merged_model_is_the_one_with_trained_adapters_and_a_plain_one():
    given = unet()
    start = WatchingStart(given)
    model = credited(method(), start, KEPT, REMOVED)
    assert (start.prediction - predicted(given)).abs().max() > 1e-3
    torch.testing.assert_close(predicted(model), start.prediction, rtol=0, atol=1e-5)
    shapes = {name: p.shape for name, p in model.named_parameters()}
    assert shapes == {name: p.shape for name, p in unet().named_parameters()}
    assert all(p.requires_grad for p in model.parameters())
    assert model.state_dict().keys() == unet().state_dict().keys()


def test_only_the_adapters_of_the_targets_are_trained_on_what_is_kept():
    start = WatchingStart(unet())
    model = credited(method(targets=["to_q", "to_out.0"]), start, KEPT, REMOVED)
    assert all("lora_A" in name or "lora_B" in name for name in start.trainable)
    assert {name.rpartition(".to_")[2] for name in start.before} == {"q", "out.0"}
    assert start.trainings == [(RECIPE, KEPT.tolist(), False, {"lora_B": 16})]
    assert start.scale == 2.0
    given = unet().state_dict()
    changed = {n for n, w in model.state_dict().items() if not torch.equal(w, given[n])}
    assert changed == {f"{name}.weight" for name in start.before}


def test_adapters_are_of_the_rank_and_dropout_that_are_asked_for():
    start = WatchingStart(unet())
    credited(method(rank=3, dropout=0.25), start, KEPT, REMOVED)
    assert {(len(down), up.shape[1]) for down, up in start.before.values()} == {(3, 3)}
    assert 0.25 in start.dropouts


def test_every_coalition_starts_from_the_same_adapters():
    first, second, other = (WatchingStart(unet()) for _ in range(3))
    credited(method(), first, KEPT, REMOVED)
    credited(method(), second, REMOVED, KEPT)
    credited(method(seed=1), other, KEPT, REMOVED)
    for name, (down, up) in first.before.items():
        assert torch.equal(down, second.before[name][0])
        assert not torch.equal(down, other.before[name][0])
        assert down.shape[0] == up.shape[1] == 2
        assert not up.any()


def test_the_starting_point_keeps_its_weights():
    given = unet()
    credited(method(), WatchingStart(given), KEPT, REMOVED)
    torch.testing.assert_close(given.state_dict(), unet().state_dict(), rtol=0, atol=0)


def test_a_real_training_can_be_stored_and_read_back(tmp_path):
    model = credited(method(dropout=0.05), RealStart(unet), KEPT, REMOVED)
    assert (predicted(model) - predicted(unet())).abs().max() > 1e-3
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    restored = unet(seed=1)
    restored.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(predicted(restored), predicted(model))


def test_nobody_has_the_untrained_model():
    start = WatchingStart(unet(), untrained="the untrained model")
    assert method().coalition_model(start, NOBODY, REMOVED) == "the untrained model"
    assert start.trainings == []


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (unet_without_attention, r"^finetuning\.targets: .*to_q, to_k, to_v.*none has"),
        (adapted_unet, r"^finetuning: .*choose finetuning=finetune"),
    ],
)
def test_a_model_without_attention_or_of_adapters_is_refused_beforehand_and_when_used(make, reason):
    with pytest.raises(ConfigError, match=reason) as beforehand:
        method().check(make(), None)
    with pytest.raises(ConfigError) as used:
        method().coalition_model(WatchingStart(make()), KEPT, REMOVED)
    assert str(beforehand.value) == str(used.value)


def test_checking_a_model_with_attention_leaves_it_alone():
    checked = unet()
    method().check(checked, None)
    assert lora.ranks(checked) == {}
    torch.testing.assert_close(checked.state_dict(), unet().state_dict(), rtol=0, atol=0)
    assert all(p.requires_grad for p in checked.parameters())


@pytest.mark.parametrize(
    ("key", "value"),
    [("rank", 0), ("scale", 0.0), ("b_rate_factor", -1.0), ("dropout", 1.0), ("dropout", -0.1)],
)
def test_impossible_settings_are_refused_by_name(key, value):
    with pytest.raises(ConfigError, match=rf"^finetuning\.{key}: expected .*, got {value}"):
        method(**{key: value})
