import weakref
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    DDIMPipeline,
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    PNDMScheduler,
)
from scipy import stats
from tiny_unet import unet
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from crediting.errors import ConfigError, EvaluationError
from crediting.generation import Ddim, DpmSolver, Pndm
from crediting.randomness import Stream

SHAPE = (1, 4, 4)
MEAN, DEVIATION = 0.2, 0.25
PLAIN = {"prompts": None, "guidance": None}
SAMPLERS = [Ddim, DpmSolver, Pndm]


class Pixels:
    """What a sampler needs of a model: pixels in [-1, 1] and a forward process."""

    def __init__(self, **noise):
        self.noise = noise

    def latent_shape(self):
        return SHAPE

    def decode(self, latents):
        return ((latents.clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)

    def noise_scheduler(self):
        return DDPMScheduler(**self.noise)


class Gaussian(nn.Module):
    """The best denoiser of pixels that are independent N(MEAN, DEVIATION^2)."""

    def __init__(self, model):
        super().__init__()
        self.alpha_bar = model.noise_scheduler().alphas_cumprod
        self.velocity = model.noise_scheduler().config.prediction_type == "v_prediction"
        self.anything = nn.Parameter(torch.zeros(1))

    def forward(self, sample, timestep):
        a = self.alpha_bar[timestep]
        centred = sample - a.sqrt() * MEAN
        noise = (1 - a).sqrt() * centred / (a * DEVIATION**2 + 1 - a)
        if self.velocity:
            clean = (sample - (1 - a).sqrt() * noise) / a.sqrt()
            return SimpleNamespace(sample=a.sqrt() * noise - (1 - a).sqrt() * clean)
        return SimpleNamespace(sample=noise)


def initial_noise(seed, n):
    return Stream("generation", seed).normal(torch.arange(n), SHAPE)


def pixels(images):
    return images.double() / 127.5 - 1


@pytest.mark.parametrize("noise", [{}, {"clip_sample": False}, {"beta_schedule": "scaled_linear"}])
def test_ddim_is_the_ddim_pipeline_of_diffusers(noise, monkeypatch):
    model, denoiser = Pixels(**noise), unet()
    ours = Ddim(images=5, steps=10, batch_size=5, **PLAIN).generate(
        denoiser, model, seed=3, prompts=None
    )
    monkeypatch.setattr(
        "diffusers.pipelines.ddim.pipeline_ddim.randn_tensor",
        lambda shape, **_: initial_noise(3, 5).view(shape),
    )
    pipeline = DDIMPipeline(denoiser, DDIMScheduler(**noise))
    pipeline.set_progress_bar_config(disable=True)
    theirs = pipeline(batch_size=5, num_inference_steps=10, output_type="np").images
    difference = ours[:, 0].numpy().astype(float) - theirs[..., 0] * 255
    assert np.abs(difference).max() < 0.51


@pytest.mark.parametrize("prediction_type", ["epsilon", "v_prediction"])
@pytest.mark.parametrize(("sampler", "steps"), [(Ddim, 1000), (DpmSolver, 38)])
def test_images_of_a_gaussian_are_where_its_flow_leads(sampler, steps, prediction_type):
    """Along the flow the distance to the mean, in deviations, stays what it is."""
    model = Pixels(clip_sample=False, prediction_type=prediction_type)
    images = sampler(images=500, steps=steps, batch_size=500, **PLAIN).generate(
        Gaussian(model), model, 1, None
    )
    last = model.noise_scheduler().alphas_cumprod[-1]
    deviation = (last * DEVIATION**2 + 1 - last).sqrt()
    standard = (initial_noise(1, 500) - last.sqrt() * MEAN) / deviation
    error = pixels(images) - (MEAN + DEVIATION * standard).clamp(-1, 1)
    assert error.abs().max() < 3 / 255
    values = pixels(images).flatten().numpy()
    assert values.mean() == pytest.approx(MEAN, abs=3 * DEVIATION / np.sqrt(values.size))
    assert values.std() == pytest.approx(DEVIATION, rel=0.03)
    jittered = values + np.random.default_rng(0).uniform(-1, 1, values.size) / 255
    assert stats.kstest(jittered, "norm", (MEAN, DEVIATION)).pvalue > 1e-3


def test_the_samplers_agree_when_they_take_many_steps():
    model = Pixels(clip_sample=False)
    one = Ddim(64, 1000, 64, **PLAIN).generate(Gaussian(model), model, 5, None)
    other = DpmSolver(64, 38, 64, **PLAIN).generate(Gaussian(model), model, 5, None)
    assert (one.int() - other.int()).abs().max() <= 2


def test_dpm_solver_follows_the_models_own_betas():
    betas = (np.linspace(0.05, 0.1, 50) ** 2).tolist()
    scheduler = DDPMScheduler(num_train_timesteps=50, trained_betas=betas)
    config = DpmSolver(1, 5, 1, **PLAIN).make_scheduler(scheduler).config
    assert config.trained_betas == betas
    assert config.num_train_timesteps == 50
    assert config.timestep_spacing == "linspace"


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_batch_size_changes_no_image(sampler):
    model, denoiser = Pixels(), unet()
    at_once = sampler(7, 6, 7, **PLAIN).generate(denoiser, model, 0, None)
    assert at_once.shape == (7, *SHAPE)
    assert at_once.dtype == torch.uint8
    for batch_size in (1, 3, 100):
        images = sampler(7, 6, batch_size, **PLAIN).generate(denoiser, model, 0, None)
        assert (images.int() - at_once.int()).abs().max() <= 1
    fewer = sampler(3, 6, 7, **PLAIN).generate(denoiser, model, 0, None)
    assert (fewer.int() - at_once[:3].int()).abs().max() <= 1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_are_a_function_of_the_seed(sampler):
    model, denoiser = Pixels(), unet()
    before = torch.random.get_rng_state()
    draw = sampler(4, 5, 4, **PLAIN).generate
    images = [draw(denoiser, model, seed, None) for seed in (1, 2, 1)]
    assert torch.equal(images[0], images[2])
    assert not torch.equal(images[0], images[1])
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_images_are_drawn_without_dropout_and_gradients(sampler):
    denoiser = unet()
    denoiser.mid_block.resnets[0].dropout = nn.Dropout(0.9)
    denoiser.train()
    images = [sampler(2, 3, 2, **PLAIN).generate(denoiser, Pixels(), 0, None) for _ in range(2)]
    assert torch.equal(*images)
    assert not images[0].requires_grad
    assert all(p.grad is None for p in denoiser.parameters())


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_denoiser_that_diverged_is_no_black_image(sampler):
    model = Pixels()
    denoiser = Gaussian(model)
    denoiser.alpha_bar = denoiser.alpha_bar * float("nan")
    with pytest.raises(EvaluationError, match="NaN or infinity"):
        sampler(2, 3, 2, **PLAIN).generate(denoiser, model, 0, None)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("key", ["images", "steps", "batch_size"])
def test_numbers_below_one_are_refused_by_name(sampler, key):
    with pytest.raises(ConfigError, match=rf"generation\.{key}: expected 1 or more, got 0"):
        sampler(**{"images": 4, "steps": 4, "batch_size": 4, key: 0}, **PLAIN)


@pytest.mark.parametrize(("sampler", "steps"), [(Ddim, 21), (DpmSolver, 20), (DpmSolver, 21)])
def test_more_steps_than_timesteps_are_refused(sampler, steps):
    with pytest.raises(ConfigError, match=rf"generation\.steps: {steps} .* the 20 timesteps"):
        sampler(1, steps, 1, **PLAIN).generate(unet(), Pixels(num_train_timesteps=20), 0, None)


@pytest.mark.parametrize(
    ("sampler", "steps"),
    [(Ddim, 1), (Ddim, 13), (Ddim, 20), (DpmSolver, 1), (DpmSolver, 3), (DpmSolver, 6)],
)
def test_any_smaller_number_of_steps_works(sampler, steps):
    sampler(1, steps, 1, **PLAIN).generate(unet(), Pixels(num_train_timesteps=20), 0, None)


class Silent(nn.Module):
    """Predicts no noise, so that parts of the image seem to be out of bounds."""

    def forward(self, sample, timestep):
        return SimpleNamespace(sample=torch.zeros_like(sample))


@pytest.mark.parametrize("sampler", [Ddim, DpmSolver])
@pytest.mark.parametrize("clips", [True, False])
def test_what_the_image_seems_to_be_is_clipped_where_the_process_says_so(sampler, clips):
    model = Pixels(clip_sample=clips, beta_end=1e-3)
    sampling = sampler(8, 1, 8, **PLAIN)
    (timestep,) = sampling._scheduler(model).timesteps
    seems = initial_noise(0, 8) / model.noise_scheduler().alphas_cumprod[timestep].sqrt()
    latents = sampling._denoise(Silent(), model, Stream("generation", 0), torch.arange(8), None)
    torch.testing.assert_close(latents, seems.clamp(-1, 1) if clips else seems)


# ---------------------------------------------------------------------------------- prompts


class Echo(nn.Module):
    """Predicts, everywhere, the number that stands in the prompt; notes every batch it is given."""

    def __init__(self):
        super().__init__()
        self.anything = nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, sample, timestep, encoder_hidden_states):
        self.batches.append(len(sample))
        number = encoder_hidden_states.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        return SimpleNamespace(sample=number.expand_as(sample))


PROMPTS = torch.tensor([0.0, 1.0, 2.0]).view(3, 1, 1).expand(3, 4, 8)


def test_prompts_are_drawn_in_turn():
    sampling = Ddim(5, 2, 5, prompts=["a", "b"], guidance=None)
    echo = Echo()
    predict = sampling._predictor(echo, torch.arange(5), PROMPTS)
    shown = predict(torch.zeros(5, *SHAPE), torch.tensor(3))[:, 0, 0, 0]
    assert shown.tolist() == [1, 2, 1, 2, 1]
    assert echo.batches == [5]


@pytest.mark.parametrize("weight", [0.0, 1.0, 7.5])
def test_guidance_leads_away_from_the_empty_prompt(weight):
    sampling = Ddim(2, 2, 2, prompts=["a", "b"], guidance=weight)
    prompts = PROMPTS + 10.0
    predict = sampling._predictor(Echo(), torch.arange(2), prompts)
    shown = predict(torch.zeros(2, *SHAPE), torch.tensor(3))[:, 0, 0, 0]
    assert shown.tolist() == [10 + weight, 10 + 2 * weight]


class Rounded(nn.Module):
    """Predicts in half precision, and hands it on in the kind of numbers asked for."""

    def __init__(self, kind):
        super().__init__()
        self.network = unet()
        self.kind = kind

    def forward(self, sample, timestep, prompts):
        shift = prompts.mean(dim=(1, 2)).view(-1, 1, 1, 1)
        predicted = self.network(sample, timestep).sample + shift
        return SimpleNamespace(sample=predicted.bfloat16().to(self.kind))


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("guidance", [None, 7.5])
def test_predictions_in_half_precision_are_reckoned_with_in_full(sampler, guidance):
    drawn = [
        sampler(2, 4, 2, prompts=["a", "b"], guidance=guidance)._denoise(
            Rounded(kind).eval(), Pixels(), Stream(0), torch.arange(2), PROMPTS / 10
        )
        for kind in (torch.bfloat16, torch.float32)
    ]
    assert torch.equal(*drawn)


def test_which_prompt_an_image_shows_does_not_depend_on_the_batch_size():
    model = Pixels(clip_sample=False)
    drawn = [
        Ddim(5, 3, size, prompts=["a", "b"], guidance=2.0).generate(Echo(), model, 0, PROMPTS / 10)
        for size in (5, 2, 1)
    ]
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])


@pytest.mark.parametrize(
    ("prompts", "guidance", "message"),
    [
        ("a cat", None, r"generation\.prompts: expected a list.*\['a cat'\]"),
        ([], None, r"generation\.prompts: expected at least one"),
        (None, 7.5, r"generation\.guidance: 7\.5 .* there are none"),
    ],
)
def test_prompts_that_cannot_be_drawn_are_refused(prompts, guidance, message):
    with pytest.raises(ConfigError, match=message):
        Ddim(1, 1, 1, prompts, guidance)


BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


@pytest.mark.parametrize(
    ("sampler", "scheduler", "calls"),
    [
        (
            Pndm,
            PNDMScheduler(**BETAS, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
            11,
        ),
        (DpmSolver, DPMSolverMultistepScheduler(**BETAS, solver_order=2, use_lu_lambdas=True), 10),
    ],
)
def test_samplers_are_the_schedulers_of_diffusers(sampler, scheduler, calls):
    model, denoiser = Pixels(**BETAS, clip_sample=False), unet().eval()
    ours = sampler(3, 10, 3, **PLAIN)._denoise(
        denoiser, model, Stream("generation", 3), torch.arange(3), None
    )
    scheduler.set_timesteps(10)
    theirs = initial_noise(3, 3)
    with torch.no_grad():
        for timestep in scheduler.timesteps:
            predicted = denoiser(theirs, timestep).sample
            theirs = scheduler.step(predicted, timestep, theirs).prev_sample
    torch.testing.assert_close(ours, theirs)
    assert len(scheduler.timesteps) == calls


# ---------------------------------------------------------------------------------- timesteps


@pytest.mark.parametrize("sampler", [Ddim, Pndm])
def test_steps_that_lead_beyond_the_last_timestep_are_refused(sampler):
    """With an offset of 1, as Stable Diffusion has it, as many steps as timesteps are too many."""
    model = Pixels(num_train_timesteps=20)
    model.noise_scheduler = lambda: DDIMScheduler(num_train_timesteps=20, steps_offset=1)
    with pytest.raises(ConfigError, match=r"generation\.steps: 20 steps .* the 20 timesteps"):
        sampler(1, 20, 1, **PLAIN).generate(unet(), model, 0, None)
    sampler(1, 19, 1, **PLAIN).generate(unet(), model, 0, None)


def test_a_schedule_that_a_sampler_cannot_follow_is_refused():
    model = Pixels(prediction_type="v_prediction", rescale_betas_zero_snr=True)
    for sampler in (Ddim, DpmSolver):
        sampler(1, 10, 1, **PLAIN).check(model)
    with pytest.raises(ConfigError, match="PNDMScheduler cannot follow the noise schedule"):
        Pndm(1, 10, 1, **PLAIN).check(model)


def test_few_steps_of_the_solver_come_as_close_on_the_cosine_schedule():
    model = Pixels(beta_schedule="squaredcos_cap_v2")
    found = DpmSolver(2000, 20, 2000, **PLAIN).generate(Gaussian(model), model, 0, None)
    pixels = found.double() / 127.5 - 1
    assert pixels.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert pixels.std().item() == pytest.approx(DEVIATION, abs=0.02)


class Copies(TorchDispatchMode):
    """Counts what is copied from one device to another, and numbers that are asked for."""

    def __init__(self):
        super().__init__()
        self.copies = 0
        self.numbers = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default:
            self.copies += result.device != args[0].device
        if func is torch.ops.aten._local_scalar_dense.default:
            self.numbers += args[0].device.type == "meta"
        return result


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_step_waits_for_the_device(sampler):
    """A device without numbers stands for one whose numbers the CPU would have to wait for."""
    copies = []
    for steps in (3, 9):
        denoiser, ids = unet().to("meta").eval(), torch.arange(2, device="meta")
        with torch.no_grad(), Copies() as counted:
            sampling = sampler(2, steps, 2, **PLAIN)
            latents = sampling._denoise(denoiser, Pixels(), Stream(0), ids, None)
        assert latents.device.type == "meta"
        assert counted.numbers == 0
        copies.append(counted.copies)
    assert copies == [1, 1]


# ---------------------------------------------------------------------------------- memory


class Narrow(nn.Module):
    """A denoiser on a device that has memory for so many images at once."""

    def __init__(self, most):
        super().__init__()
        self.network = unet()
        self.most = most
        self.batches = []

    def forward(self, sample, timestep):
        self.batches.append(len(sample))
        if len(sample) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return self.network(sample, timestep)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_auto_is_a_batch_for_the_device(sampler):
    seen, sampling = Narrow(1000), sampler(300, 1, "auto", **PLAIN)
    sampling.generate(seen, Pixels(), 0, None)
    assert list(dict.fromkeys(seen.batches)) == [128, 44]
    assert (sampling.at_once("cpu"), sampling.at_once("cuda")) == (128, 300)
    assert sampler(3000, 1, "auto", **PLAIN).at_once("cuda") == 1024


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_batch_that_does_not_fit_is_halved(sampler, capsys):
    plain = sampler(11, 3, 3, **PLAIN).generate(unet(), Pixels(), 0, None)
    narrow, sampling = Narrow(3), sampler(11, 3, 100, **PLAIN)
    images = sampling.generate(narrow, Pixels(), 0, None)
    assert (images.int() - plain.int()).abs().max() <= 1
    assert list(dict.fromkeys(narrow.batches)) == [11, 5, 2, 1]
    assert narrow.batches.count(11) == narrow.batches.count(5) == 1
    said = capsys.readouterr().err
    assert said.count("not enough memory for 11 images at once") == said.count("memory") == 1
    assert "generation.batch_size" in said
    narrow.batches.clear()
    again = sampling.generate(narrow, Pixels(), 0, None)
    assert torch.equal(again, images)
    assert max(narrow.batches) == 2
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_single_image_that_does_not_fit_is_an_error(sampler):
    narrow = Narrow(0)
    with pytest.raises(torch.OutOfMemoryError):
        sampler(5, 3, 4, **PLAIN).generate(narrow, Pixels(), 0, None)
    assert narrow.batches == [4, 2, 1]


def test_what_did_not_fit_is_gone_before_the_next_try():
    """A traceback that is held would hold the latents of the batch that failed."""
    alive = weakref.WeakSet()

    class Watching(Narrow):
        def forward(self, sample, timestep):
            if len(self.batches) == 0:
                kept = sample.clone()
                alive.add(kept)
            elif len(self.batches) == 1:
                assert len(alive) == 0
            return super().forward(sample, timestep)

    denoiser = Watching(4)
    Ddim(8, 2, 8, **PLAIN).generate(denoiser, Pixels(), 0, None)
    assert denoiser.batches[:2] == [8, 4]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_schedule_that_a_sampler_does_not_know_is_refused(sampler):
    drawn = sampler(images=1, steps=4, batch_size=1, **PLAIN)
    with pytest.raises(ConfigError, match=r"^generation: the sampler cannot follow .*sigmoid"):
        drawn.check(Pixels(beta_schedule="sigmoid"))


@pytest.mark.parametrize("words", ["CUBLAS_STATUS_ALLOC_FAILED", "unable to find an engine"])
def test_libraries_that_find_no_memory_are_understood(words, monkeypatch):
    drawn = Ddim(images=4, steps=2, batch_size=4, **PLAIN)
    asked = []
    real = Ddim._denoise

    def denoise(self, denoiser, model, noise, ids, prompts):
        asked.append(len(ids))
        if len(ids) > 2:
            raise RuntimeError(f"{words} when calling something")
        return real(self, denoiser, model, noise, ids, prompts)

    monkeypatch.setattr(Ddim, "_denoise", denoise)
    model = Pixels()
    assert len(drawn.generate(Gaussian(model), model, 0, None)) == 4
    assert asked == [4, 2, 2]
