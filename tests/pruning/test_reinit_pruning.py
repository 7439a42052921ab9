import pytest
import torch
from small_unets import ddpm, no_loss

from crediting.errors import ConfigError
from crediting.models import DDPM
from crediting.pruning import Magnitude, Reinit


def weights(seed, dense_seed=0):
    small, _ = Reinit(0.5, seed, None).prune(ddpm().untrained(dense_seed), ddpm(), no_loss)
    return small.state_dict()


def test_shape_and_report_are_those_of_magnitude_pruning():
    dense = ddpm().untrained(0)
    inherited, expected = Magnitude(0.5, None).prune(dense, ddpm(), no_loss)
    fresh, report = Reinit(0.5, 1, None).prune(dense, ddpm(), no_loss)
    assert report == expected
    before, after = inherited.state_dict(), fresh.state_dict()
    assert {n: t.shape for n, t in after.items()} == {n: t.shape for n, t in before.items()}
    assert not torch.equal(before["conv_in.weight"], after["conv_in.weight"])


def test_the_seed_decides_the_weights_and_nothing_else():
    first = weights(1)
    for name, tensor in weights(1, dense_seed=5).items():
        assert torch.equal(tensor, first[name])
    assert not torch.equal(weights(2)["conv_in.weight"], first["conv_in.weight"])


def test_nothing_is_inherited():
    small, _ = Reinit(0.5, 1, None).prune(filled(ddpm().untrained(0)), ddpm(), no_loss)
    assert not any((parameter == 7).any() for parameter in small.parameters())


def filled(denoiser):
    for parameter in denoiser.parameters():
        parameter.data.fill_(7)
    return denoiser


def test_a_model_without_a_beginning_is_refused_by_itself():
    class Pretrained(DDPM):
        def reinitialise(self, denoiser, seed):
            raise ConfigError("model.pretrained: nothing to go back to")

    model = Pretrained(ddpm().unet, {}, None, None)
    with pytest.raises(ConfigError, match="nothing to go back to"):
        Reinit(0.5, 1, None).prune(model.untrained(0), model, no_loss)
    with pytest.raises(ConfigError, match="nothing to go back to"):
        Reinit(0.5, 1, None).check(model.untrained(0), model)
