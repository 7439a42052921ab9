"""A starting point that trains as a study does, on six images of 4x4 pixels."""

import tiny_unet
import torch
from diffusers import DDPMScheduler

from crediting.randomness import Stream
from crediting.training.examples import Examples
from crediting.training.recipe import Training
from crediting.training.trainer import Trainer, make_accelerator

IMAGES = torch.linspace(-1, 1, 6 * 16).reshape(6, 1, 4, 4)
TIMESTEPS = torch.arange(6) * 100


def unet(seed=0):
    return tiny_unet.unet(attention=True, seed=seed)


def predicted(denoiser):
    with torch.no_grad():
        return denoiser.eval()(IMAGES, TIMESTEPS).sample


class RealStart:
    """`make` returns the denoiser to start from, anew each time."""

    def __init__(self, make):
        self.averaged = make
        noise = DDPMScheduler(num_train_timesteps=1000)
        accelerator = make_accelerator("cpu", "no")
        self._trainer = Trainer(Examples(IMAGES, in_pixels=True), noise, accelerator)

    def train(self, denoiser, recipe, examples, *, ascend=False, rate_factors=None):
        training = Training(denoiser, recipe, examples, ascend, rate_factors or {})
        averaged = self._trainer.train(training, Stream("test"))
        denoiser.load_state_dict(averaged, strict=False)
        return denoiser

    def gradients(self, denoiser, examples, batch_size, *, draw):
        return self._trainer.gradients(denoiser, examples, batch_size, Stream("test", draw))

    def loss(self, denoiser, examples, draws=20):
        """Return the mean loss over many draws of noise."""
        with torch.no_grad():
            losses = [
                self._trainer.loss(
                    denoiser.eval(), examples, TIMESTEPS[examples], None, Stream("loss", draw)
                )
                for draw in range(draws)
            ]
        return torch.stack(losses).mean().item()
