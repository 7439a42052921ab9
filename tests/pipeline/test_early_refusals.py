"""What cannot work on the chosen model is refused before anything is trained."""

import importlib.util

import pytest
from diffusers import UNet2DModel

from crediting import config
from crediting.baselines import MixtureProxy
from crediting.errors import ConfigError, DataError, EvaluationError, LedgerError, as_user_error
from crediting.models import DDPM
from crediting.pipeline import stages
from crediting.pipeline.train import check_what_follows
from crediting.pruning import Magnitude

RANKS = ("pruning=lora_ranks",)


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ([*RANKS], r"^pruning: lora_ranks expects a model with low-rank adapters"),
        (["pruning.ratio=0.05"], r"^pruning\.ratio: 0\.05 removes no channel .* 0\.0938 or more"),
        (["pruning=random", "pruning.ratio=0.05"], r"^pruning\.ratio: 0\.05 removes no channel"),
        (["pruning=taylor", "pruning.timesteps=1001"], r"^pruning\.timesteps: .*model's 1000"),
        (["finetuning=lora"], r"^finetuning\.targets: .*to_q, to_k, to_v, which none has"),
        (["finetuning=lora", "endpoints=dense"], r"^finetuning\.targets: "),
        ([*RANKS, "endpoints=dense"], r"^pruning: lora_ranks expects "),
        (["generation.steps=1001"], r"^generation\.steps: 1001 steps .*1000 timesteps"),
        (
            ["model.unet.layers_per_block=0", "pruning=none"],
            r"^model: the denoiser cannot be called on a point of shape \(1, 8, 8\) .*RuntimeError",
        ),
        (["model.unet.layers_per_block=0"], r"^model: the denoiser cannot be called .*model\.unet"),
        (
            [
                "model.unet.time_embedding_type=learned",
                "+model.unet.num_train_timesteps=999",
            ],
            r"^model: the denoiser cannot be called on .* at timestep 999 \(IndexError: ",
        ),
    ],
)
@pytest.mark.parametrize("stage", ["train", "all", "dry_run"])
def test_a_method_that_cannot_work_on_the_model_trains_nothing(
    study, trainings, stage, overrides, reason
):
    refused = study(*overrides)
    stages.run(refused, "encode")
    with pytest.raises(ConfigError, match=reason):
        stages.dry_run(refused) if stage == "dry_run" else stages.run(refused, stage)
    assert trainings == []
    assert not refused.store.is_complete("model", refused.trained.fingerprint)


def test_captions_of_a_dataset_that_has_none_are_refused_before_anything_is_made(
    study, monkeypatch
):
    monkeypatch.setattr(DDPM, "conditional", True)
    with pytest.raises(ConfigError, match=r"^generation\.prompts: .* this dataset has none"):
        study("generation.prompts=captions")


@pytest.mark.parametrize(("size", "told"), [("0", "0"), ("-8", "-8"), ("[8,-8]", r"\[8, -8\]")])
def test_sizes_below_one_are_told_by_their_key(study, size, told):
    expected = rf"^model\.unet\.sample_size: expected a whole number above 0.*got {told}"
    with pytest.raises(ConfigError, match=expected):
        stages.dry_run(study(f"model.unet.sample_size={size}"))


@pytest.mark.parametrize(
    "override",
    [
        "sample_size=1000000000000",
        "in_channels=1000000000000000",
        "block_out_channels=[1000000000000000,32]",
    ],
)
def test_of_a_model_that_fits_into_no_memory_it_is_said_which_settings_make_it_large(
    study, override
):
    with pytest.raises(RuntimeError) as caught:
        stages.dry_run(study(f"model.unet.{override}"))
    assert "choose a smaller model (model.unet)" in str(as_user_error(caught.value))


@pytest.mark.parametrize(
    ("name", "setting", "reason"),
    [
        ("trak", "timesteps=1001", r"timesteps: expected at most the model's 1000, got 1001"),
        ("das", "generated=13", r"generated: expected at most the 12 images .* got 13"),
        ("journey_trak", "timesteps=1001", r"timesteps: expected at most the model's 1000"),
        ("journey_trak", "steps=1001", r"steps: expected at most the model's 1000 timesteps"),
        ("journey_trak", "guidance=3.0", r"guidance: 3\.0 strengthens the effect of prompts"),
        ("mixture_proxy", "neighbours=1298", r"neighbours: .* the 1297 training images, got 1298"),
        ("mixture_proxy", "assign=prompts", r"assign: prompts .* this model reads none"),
        (
            *("aesthetic_of_images_mean", "extractor=reference_classifier"),
            r"extractor: expected one that gives scores, and reference_classifier gives none",
        ),
        (
            *("aesthetic_of_images_mean", "extractor=aesthetic"),
            r"extractor: a baseline reads aesthetic, and chosen are only reference_classifier",
        ),
    ],
)
@pytest.mark.parametrize("dry", [True, False])
def test_a_baseline_that_cannot_work_is_refused_before_anything_is_made(
    study, dry, name, setting, reason
):
    words = (f"baseline=[{name}]", f"baseline.{name}.{setting}", f"dry_run={dry}")
    refused = study(*words)
    stages.make_ready(refused, "all")  # to which baselines are nothing
    with pytest.raises(ConfigError, match=rf"^baseline\.{name}\.{reason}"):
        stages.make_ready(refused, "compare")
    assert not (refused.folder / "compare").exists()
    assert not refused.store.is_complete("model", refused.trained.fingerprint)


@pytest.mark.parametrize("dry", [True, False])
@pytest.mark.parametrize("stage", ["all", "encode", "compare"])
def test_an_extractor_without_the_labels_it_learns_from_is_refused_before_anything_is_made(
    study, monkeypatch, dry, stage
):
    unlabelled = study(f"dry_run={dry}")
    monkeypatch.setattr(type(unlabelled.dataset), "reference_labels", lambda self: None)
    with pytest.raises(
        DataError, match=r"^extractor\.reference_classifier: it learns from the lab"
    ):
        stages.make_ready(unlabelled, stage)
    assert not unlabelled.store.root.exists()


def test_an_extractor_that_has_learnt_is_not_asked_again(prepared, monkeypatch):
    ready = prepared("property=[fid]")
    monkeypatch.setattr(type(ready.dataset), "reference_labels", lambda self: None)
    stages.make_ready(ready, "all")


@pytest.mark.parametrize(
    "words",
    [
        ("trak", "timesteps=1000"),
        ("das", "generated=12"),
        ("journey_trak", "generated=13"),  # drawn anew
        ("mixture_proxy", "neighbours=1297"),
        ("embedding_distance_mean", "extractor=reference_classifier"),
    ],
)
def test_a_baseline_that_reaches_its_bounds_is_not_refused(study, words):
    name, setting = words
    stages.make_ready(study(f"baseline=[{name}]", f"baseline.{name}.{setting}"), "compare")


@pytest.mark.parametrize("dry", [True, False])
def test_pixels_of_images_of_other_shapes_are_not_compared(study, dry):
    words = ("baseline=[pixel_similarity_max]", "model.unet.sample_size=16", f"dry_run={dry}")
    with pytest.raises(
        ConfigError,
        match=r"^baseline\.pixel_similarity_max\._target_: .* \(1, 8, 8\), .* \(1, 16, 16\)",
    ):
        stages.make_ready(study(*words), "compare")
    stages.make_ready(study(words[0]), "compare")


@pytest.mark.parametrize("name", ["property_of_images", "mixture_proxy"])
def test_images_that_are_too_few_for_a_property_are_told_of_before_training(study, trainings, name):
    words = (
        *("property=[kid,recall]", "property.kid.subset_size=5"),
        *(f"baseline=[{name}]", f"baseline.{name}.images=4"),
    )
    refused = study(*words)
    with pytest.raises(
        ConfigError, match=rf"^baseline\.{name}\.images=4: property\.kid\.subset_size: .* got 4;"
    ):
        stages.compare(refused, config.methods(refused.config, config.build(refused.config)))
    assert trainings == []


def test_a_baseline_refuses_what_is_encoded_before_training(study, trainings, monkeypatch):
    def refuse(self, material):
        assert len(material.examples("training")) == material.contributors.size
        raise ConfigError("assign: nobody's captions")

    monkeypatch.setattr(MixtureProxy, "try_out", refuse)
    refused = study("property=[fid]", "baseline=[size,mixture_proxy]")
    with pytest.raises(ConfigError, match=r"^baseline\.mixture_proxy\.assign: nobody's captions"):
        stages.compare(refused, config.methods(refused.config, config.build(refused.config)))
    assert trainings == []


def test_examples_that_another_study_encoded_must_fit_the_denoiser(study, trainings):
    stages.run(study(), "encode")
    for words in (
        ["model.unet.sample_size=16"],
        ["model.unet.in_channels=3", "model.unet.out_channels=3"],
    ):
        refused = study(*words)
        stages.run(refused, "encode")
        with pytest.raises(
            ConfigError, match=r"^model: expected training examples of shape .*8, 8"
        ):
            stages.run(refused, "train")
    assert trainings == []


def test_money_for_what_the_study_does_not_measure_is_refused(study):
    with pytest.raises(ConfigError, match=r"report.payout: .* got one for 'fit'; did you mean fid"):
        study("property=[fid]", "+report.payout.fit=30")


@pytest.mark.parametrize("stage", ["extract", "all"])
def test_a_property_that_needs_more_images_is_refused_before_any_is_drawn(study, trainings, stage):
    words = ("property=[kid]", "property.kid.subset_size=20", "generation.images=12")
    with pytest.raises(ConfigError, match=r"property\.kid\.subset_size: .*images"):
        stages.run(study(*words), stage)
    assert trainings == []


def test_a_pretrained_model_is_not_reinitialised(study, trainings, tmp_path):
    UNet2DModel(**study().config["model"]["unet"]).save_pretrained(tmp_path / "published")
    refused = study("pruning=reinit", f"model.pretrained={tmp_path / 'published'}")
    stages.run(refused, "encode")
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*pruned pretrained U-Net"):
        stages.run(refused, "train")
    assert trainings == []


@pytest.mark.parametrize("pruning", ["magnitude", "random", "taylor", "diff_pruning"])
@pytest.mark.parametrize("stage", ["train", "dry_run"])
def test_a_pretrained_model_has_no_untrained_twin_of_fewer_channels(
    study, trainings, tmp_path, pruning, stage
):
    UNet2DModel(**study().config["model"]["unet"]).save_pretrained(tmp_path / "published")
    words = (f"pruning={pruning}", f"model.pretrained={tmp_path / 'published'}")
    refused = study(*words)
    stages.run(refused, "encode")
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*endpoints=dense, or choose "):
        stages.dry_run(refused) if stage == "dry_run" else stages.run(refused, stage)
    assert trainings == []
    for accepted in (study(*words, "endpoints=dense"), study(*words, "pruning=none")):
        check_what_follows(accepted, accepted.model.untrained(0))


def test_what_is_trained_already_is_checked_when_its_stage_comes(study, trainings):
    first, refused = study(), study("pruning.ratio=0.05")
    for stage in ("encode", "train"):
        stages.run(first, stage)
    trainings.clear()
    stages.run(refused, "train")
    with pytest.raises(ConfigError, match=r"^pruning\.ratio: 0\.05 removes no channel"):
        stages.run(refused, "prune")
    assert trainings == []


def test_what_can_work_is_trained_as_ever(study, trainings):
    accepted = study("finetuning=lora", "model.unet.add_attention=true")
    for stage in ("encode", "train"):
        stages.run(accepted, stage)
    assert trainings == [accepted.partition.n_examples]


@pytest.mark.parametrize("group", ["finetuning.recipe", "pruning.recovery", "model.training"])
def test_an_optimizer_that_is_not_installed_is_missed_at_once(study, trainings, group):
    if importlib.util.find_spec("bitsandbytes"):
        pytest.skip("bitsandbytes is installed")
    refused = study(f"{group}.optimizer=adamw8bit")
    stages.run(refused, "encode")
    with pytest.raises(ConfigError, match=rf"^{group}\.optimizer: adamw8bit needs the package"):
        stages.run(refused, "train")
    assert trainings == []


def test_a_pretrained_model_without_an_untrained_twin_does_not_recover(
    study, trainings, tmp_path, monkeypatch
):
    """Of a pruning of one's own it may not be known beforehand that channels go."""
    monkeypatch.setattr(Magnitude, "removes_channels", False)
    UNet2DModel(**study().config["model"]["unet"]).save_pretrained(tmp_path / "published")
    pretrained = f"model.pretrained={tmp_path / 'published'}"
    refused, accepted = study(pretrained), study(pretrained, "endpoints=dense")
    for stage in ("encode", "train"):
        stages.run(refused, stage)
    trainings.clear()
    with pytest.raises(ConfigError, match=r"^model\.pretrained: .*endpoints=dense"):
        stages.run(refused, "prune")
    assert trainings == []
    stages.run(accepted, "prune")
    assert trainings == [accepted.partition.n_examples]


@pytest.mark.parametrize("name", ["leave_one_out", "add_one_in"])
@pytest.mark.parametrize("key", ["design.budget", "stop.budget"])
def test_coalitions_that_an_estimator_cannot_do_without_are_drawn_or_nothing_is(study, name, key):
    words = (f"estimator={name}", "design=paired_uniform", "design.budget=14")
    assert study(*words, f"{key}=12").name  # of 4 contributors
    with pytest.raises(LedgerError, match=rf"estimator={name} needs .*, [12] of them are missing"):
        study(*words, f"{key}=10")


@pytest.mark.parametrize("name", ["leave_one_out", "add_one_in", "shapley_kernel", "permutation"])
def test_a_design_without_complements_is_refused_where_they_are_compared(study, name):
    refused = rf"estimator=bayesian cannot use the coalitions of design={name}; it can use design="
    with pytest.raises(ConfigError, match=refused):
        study("estimator=bayesian", f"design={name}")


@pytest.mark.parametrize(
    ("words", "stage", "key"),
    [
        (["model.training.learning_rate=1e12"], "train", "model.training"),
        (["pruning.recovery.learning_rate=1e12"], "prune", "pruning.recovery"),
    ],
)
def test_weights_that_diverged_are_no_model(study, words, stage, key):
    diverging = study("model.training.steps=12", "plan.recovery_steps=12", *words)
    for earlier in ("encode", "train")[: 1 + (stage == "prune")]:
        stages.run(diverging, earlier)
    with pytest.raises(EvaluationError, match=rf"diverged; lower {key}\.learning_rate"):
        stages.run(diverging, stage)
    address = diverging.trained if stage == "train" else diverging.game.start
    assert not diverging.store.is_complete(address.stage, address.fingerprint)
