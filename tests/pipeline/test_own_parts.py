"""Parts that somebody else wrote and that do not quite fit are told of, where they are used."""

from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from composing import resolved
from miniature_study import MINIATURE
from safetensors.torch import load_file

from crediting import config
from crediting.config.protocols import PROTOCOLS, members, part_problems
from crediting.design import PairedUniform
from crediting.errors import ConfigError
from crediting.estimators import Bayesian, Exact
from crediting.estimators.uncertainty import unknown
from crediting.game.coalition import all_coalitions
from crediting.game.game import Sample, play
from crediting.game.toy import Additive
from crediting.interfaces import Estimator, PruningReport
from crediting.partitions import ByLabel
from crediting.pipeline import given, stages
from crediting.pipeline.compare.baselines import score_baselines
from crediting.pipeline.compare.material import StudyMaterial
from crediting.pipeline.estimate.finding import credits_of
from crediting.pipeline.estimate.pairing import check_pairing, drawn, kind_of
from crediting.pipeline.extract.gauges import network_of
from crediting.pipeline.prune import prune_for
from crediting.pipeline.study import Study
from crediting.pipeline.train import AVERAGED, RAW

GAME = Additive((1.0, 2.0, 3.0))
ROWS = all_coalitions(3)
SAMPLE = play(GAME, Sample(ROWS, np.zeros(len(ROWS))))


class Own:
    """An estimator that returns whatever it is told to."""

    name = "own"
    designs = ("recorded",)

    def __init__(self, make):
        self.make = make

    def minimum_coalitions(self, n_players):
        return 1

    def __call__(self, sample):
        return self.make(sample)


@pytest.mark.parametrize(
    ("make", "complaint"),
    [
        (lambda sample: np.zeros(3), "expected it to return an Attribution.* got ndarray"),
        (lambda sample: unknown(np.zeros(2), sample, "own"), r"expected 3 credits, .* got \(2,\)"),
        (lambda sample: unknown(np.ones((3, 1)), sample, "own"), r"expected 3 .* \(3, 1\)"),
        (
            lambda sample: replace(unknown(np.ones(3), sample, "own"), credits=[1.0] * 3),
            "expected 3 credits as a numpy array of real numbers, got list",
        ),
        (
            lambda sample: unknown(np.array([1, np.nan, np.inf]), sample, "own"),
            "expected 3 credits, of which 2 are NaN",
        ),
    ],
)
def test_what_is_no_credit_is_refused(make, complaint):
    with pytest.raises(ConfigError, match=f"^estimator=own: {complaint}"):
        credits_of(Own(make), SAMPLE)


def test_credits_are_returned_as_they_are():
    found = credits_of(Exact(0.95), SAMPLE)
    np.testing.assert_allclose(found.credits, GAME.shapley_values)


def test_what_a_part_lacks_is_named():
    assert list(part_problems("estimator", Own(None))) == []
    (problem,) = part_problems("estimator", PairedUniform(4, 0, True))
    assert problem.startswith("estimator: PairedUniform has no __call__, designs, minimum_coal")
    assert "Estimator in crediting/interfaces.py" in problem
    (problem,) = part_problems("property", {"mine": object()})
    assert problem.startswith("property.mine: object has no bind, extractor, higher_is_better")


@pytest.mark.parametrize(("group", "key"), [("estimator", "designs"), ("extractor", "gives")])
def test_a_text_in_the_place_of_a_tuple_is_told(group, key):
    whole = dict.fromkeys(members(PROTOCOLS[group]))
    forgot = type("Forgot", (), whole | {key: ("bernoulli")})()
    (problem,) = part_problems(group, {"mine": forgot})
    assert problem == (
        f"{group}.mine: {key} of Forgot must be a tuple of names, got the text 'bernoulli'; for "
        "one name write ('bernoulli',)"
    )
    assert not list(part_problems(group, type("Good", (), whole | {key: ("bernoulli",)})()))


def test_members_are_those_that_a_protocol_asks_for():
    assert members(Estimator) == {"__call__", "name", "designs", "minimum_coalitions"}
    assert set(PROTOCOLS) == set(config.GROUPS)


def test_a_design_may_be_like_a_built_in_one():
    class Mine(PairedUniform):
        name = "mine"

    drawn = Mine(4, 0, True).sample(3).coalitions
    bayesian = Bayesian(confidence=0.95, signal=1.0, signal_spread=1.0, towards=None)
    with pytest.raises(ConfigError, match="cannot use the coalitions of design=mine"):
        check_pairing(bayesian, kind_of(Mine(4, 0, True)), drawn)
    Mine.like = "paired_uniform"
    check_pairing(bayesian, kind_of(Mine(4, 0, True)), drawn)
    assert kind_of(replace(PairedUniform(4, 0, True), budget=6)) == "paired_uniform"


@pytest.mark.parametrize("dtype", [complex, bool, object])
def test_credits_must_be_real_numbers(dtype):
    def make(sample):
        return replace(unknown(np.ones(3), sample, "own"), credits=np.ones(3, dtype))

    with pytest.raises(ConfigError, match="a numpy array of real numbers, got"):
        credits_of(Own(make), SAMPLE)


def test_credits_of_single_precision_are_taken():
    single = GAME.shapley_values.astype(np.float32)
    made = Own(lambda sample: replace(unknown(np.ones(3), sample, "own"), credits=single))
    np.testing.assert_array_equal(credits_of(made, SAMPLE).credits, single)


def test_credits_may_be_integers():
    found = credits_of(Own(lambda sample: unknown(np.arange(3), sample, "own")), SAMPLE)
    assert found.credits.dtype == np.float64
    assert np.isnan(found.std_errors).all()


def test_the_least_number_of_coalitions_must_be_one():
    own = Own(None)
    own.minimum_coalitions = lambda n_players: None
    with pytest.raises(ConfigError, match="expected a number of coalitions from minimum_coali"):
        check_pairing(own, "recorded", ROWS)


class OwnDesign:
    name = "mine"

    def __init__(self, made):
        self.made = made

    def sample(self, n_players):
        return self.made


THREE = np.array([[1, 0], [0, 1], [1, 0]])


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (THREE, "a crediting.game.game.Sample, got ndarray"),
        (
            Sample(np.ones((3, 4), bool), np.zeros(3)),
            r"shape \(m, 2\), .* got \(3, 4\)",
        ),
        (Sample(np.ones(2, bool), np.zeros(2)), r"shape \(m, 2\), .* got \(2,\)"),
        (Sample(2 * THREE, np.zeros(3)), "coalitions of 0 and 1, or booleans"),
        (Sample(THREE.astype(str), np.zeros(3)), "coalitions of 0 and 1, or booleans"),
        (Sample(THREE, np.zeros(2)), r"for each of its 3 coalitions, got shape \(2,\)"),
        (Sample(THREE, np.array([0, np.nan, 0])), "of which some are NaN"),
        (Sample(THREE, np.array([0, -np.inf, 0])), "of which some are NaN or infinite"),
    ],
)
def test_a_design_of_somebodys_own_must_draw_coalitions(made, said):
    with pytest.raises(ConfigError, match=rf"design=mine: expected sample\(2\) to return .*{said}"):
        drawn(OwnDesign(made), 2)


@pytest.mark.parametrize("varying", ["coalitions", "chances", "number"])
def test_a_design_of_somebodys_own_must_draw_the_same_whenever_it_is_asked(varying):
    class Restless(OwnDesign):
        asked = 0

        def sample(self, n_players):
            self.asked += 1
            rows = np.roll(THREE, self.asked if varying == "coalitions" else 0, axis=1)
            chances = np.full(3, float(self.asked) if varying == "chances" else 0.0)
            kept = slice(self.asked) if varying == "number" else slice(None)
            return Sample(rows[kept], chances[kept])

    with pytest.raises(ConfigError, match=r"design=mine: .* got other coalitions the second time"):
        drawn(Restless(None), 2)


@pytest.mark.parametrize("kind", [bool, int, float])
def test_coalitions_may_be_written_as_numbers(kind):
    found = drawn(OwnDesign(Sample(THREE.astype(kind), [0, 0, 0])), 2)
    assert found.coalitions.dtype == np.bool_
    assert np.array_equal(found.coalitions, THREE == 1)
    assert found.log_probabilities.dtype == np.float64


@pytest.mark.parametrize("scores", [np.ones(3), np.ones((4, 1)), np.array([1, 2, 3, np.nan])])
def test_a_baseline_that_does_not_score_everybody_is_named(prepared, scores):
    class OwnBaseline:
        def scores(self, material):
            return scores

    study = replace(prepared("baseline=[size]"), baselines={"size": OwnBaseline()})
    with pytest.raises(
        ConfigError, match=r"^baseline\.size\._target_: .* each of 4 contributors, .*OwnBaseline"
    ):
        score_baselines(study, StudyMaterial(study))


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"std_errors": np.ones(2)}, r"3 std_errors, shape \(3,\), got \(2,\)"),
        ({"std_errors": None}, "3 std_errors as a numpy array of real numbers, got NoneType"),
        ({"ci_low": [0.0] * 3}, "3 ci_low as a numpy array of real numbers, got list"),
        ({"noise_errors": np.ones((3, 1))}, r"3 noise_errors, .* got \(3, 1\)"),
        ({"draws": np.ones((5, 2))}, r"draws of shape \(r, 3\), got \(5, 2\)"),
        ({"std_errors": np.array([1.0, -1.0, 1.0])}, "std_errors of 0 or more"),
        ({"ci_low": np.ones(3), "ci_high": np.zeros(3)}, "no ci_low above its ci_high"),
    ],
)
def test_errors_that_are_none_are_refused(changed, complaint):
    made = Own(lambda sample: replace(unknown(np.ones(3), sample, "own"), **changed))
    with pytest.raises(ConfigError, match=f"^estimator=own: expected .*{complaint}"):
        credits_of(made, SAMPLE)


class OwnDataset:
    """Digits of four makers, but for what a test has it give otherwise."""

    def __init__(self, **otherwise):
        images = torch.arange(12 * 64).remainder(256).to(torch.uint8).reshape(12, 1, 8, 8)
        self._given = {
            "columns": {"maker": np.array(["a", "b", "c", "d"] * 3)},
            "training_images": images,
            "reference_images": images,
            "reference_labels": np.arange(12) % 4,
            "digest": "1",
        } | otherwise

    def __getattr__(self, name):
        return lambda: self.__dict__["_given"][name]


IMAGES = OwnDataset().training_images()


@pytest.mark.parametrize(
    ("otherwise", "complaint"),
    [
        ({"columns": None}, r"columns\(\) to return arrays by name, got NoneType"),
        ({"columns": {}}, r"columns\(\) to return arrays by name, got dict"),
        ({"columns": {"maker": list("abcd")}}, "column 'maker' as a numpy array .* got list"),
        ({"columns": {"maker": np.full((4, 1), "a")}}, r"column 'maker' .* shape \(4, 1\)"),
        (
            {"columns": {"maker": np.array(["a", "b"]), "camera": np.array(["x"])}},
            "columns of 2 training images, .* got columns of 1, 2",
        ),
    ],
)
def test_columns_that_are_none_are_refused(otherwise, complaint):
    with pytest.raises(ConfigError, match=f"^dataset: expected .*{complaint}"):
        given.contributors(ByLabel("maker"), OwnDataset(**otherwise))


def test_contributors_are_a_partition_of_the_columns():
    assert given.contributors(ByLabel("maker"), OwnDataset()).names == ["a", "b", "c", "d"]

    class OwnPartition:
        def partition(self, columns):
            return {"a": np.arange(6), "b": np.arange(6, 12)}

    with pytest.raises(ConfigError, match=r"^partition: expected .*\.Partition, got dict$"):
        given.contributors(OwnPartition(), OwnDataset())


@pytest.mark.parametrize("digest", [None, "", 7, b"1"])
def test_a_digest_that_would_not_tell_other_data_is_refused(digest):
    with pytest.raises(ConfigError, match=r"^dataset: expected digest\(\) to return a text"):
        given.digest_of(OwnDataset(digest=digest))
    assert given.digest_of(OwnDataset()) == "1"


@pytest.mark.parametrize(
    ("images", "got"),
    [
        (IMAGES / 255, r"Tensor of float32, shape \(12, 1, 8, 8\)"),
        (IMAGES.numpy(), r"ndarray of uint8, shape \(12, 1, 8, 8\)"),
        (IMAGES[:, 0], r"Tensor of uint8, shape \(12, 8, 8\)"),
        (None, "NoneType"),
    ],
)
def test_images_that_are_none_are_refused(images, got):
    with pytest.raises(ConfigError, match=rf"^dataset: expected training_images\(\).* got {got}$"):
        given.training_images(OwnDataset(training_images=images), 12)
    with pytest.raises(ConfigError, match=rf"^dataset: expected reference_images\(\).* got {got}$"):
        given.reference(OwnDataset(reference_images=images))


@pytest.mark.parametrize("count", [11, 13])
def test_images_must_be_as_many_as_the_columns_tell_of(count):
    with pytest.raises(ConfigError, match=rf"has 12 images, and columns\(\) tells of {count}$"):
        given.training_images(OwnDataset(training_images=IMAGES), count)


@pytest.mark.parametrize(
    "labels",
    [np.arange(11), np.array(["a"] * 12), np.ones(12), np.ones((12, 1), int), np.ones(12, bool)],
)
def test_labels_that_are_none_are_refused(labels):
    with pytest.raises(ConfigError, match=r"reference_labels\(\) to return a whole number for ea"):
        given.reference(OwnDataset(reference_labels=labels))


def test_labels_may_be_a_list_or_bytes_or_unknown():
    for labels in ([3] * 12, np.full(12, 3, np.uint8)):
        _, found = given.reference(OwnDataset(reference_labels=labels))
        np.testing.assert_array_equal(found, np.full(12, 3), strict=True)
    assert given.reference(OwnDataset(reference_labels=None))[1] is None


def test_an_extractor_without_a_network_is_told_so(tmp_path):
    class Histograms:
        network = None

        def load(self, folder):
            return self.network

    own, here = Histograms(), torch.device("cpu")
    with pytest.raises(ConfigError, match=r"^extractor\.mine: expected load\(\) .* got NoneType"):
        network_of("mine", own, tmp_path, here)
    own.network = torch.nn.Identity()
    assert network_of("mine", own, tmp_path, here) is own.network


@pytest.mark.parametrize(
    ("otherwise", "stage", "said"),
    [
        ({"training_images": IMAGES[:11]}, "encode", r"has 11 images, and columns\(\) tells of 12"),
        ({"training_images": IMAGES / 255}, "encode", "Tensor of float32"),
        ({"reference_labels": np.arange(11)}, "extract", "each of the 12 reference images"),
    ],
)
def test_what_a_dataset_gives_is_checked_where_it_is_used(tmp_path, otherwise, stage, said):
    plain = resolved(*MINIATURE, outputs=tmp_path / "outputs")
    parts = config.build(plain) | {
        "dataset": OwnDataset(**otherwise),
        "partition": ByLabel("maker"),
    }
    study = Study.assemble(plain, parts)
    with pytest.raises(ConfigError, match=f"^dataset: .*{said}"):
        stages.run(study, stage)


class OwnPruning:
    """Sets weights to zero in what it is given or in a copy of it, or leaves them as they are."""

    recovery = None

    def __init__(self, copies, zeros):
        self._copies, self._zeros = copies, zeros

    def check(self, denoiser, model):
        pass

    def prune(self, denoiser, model, loss):
        pruned = deepcopy(denoiser) if self._copies else denoiser
        if self._zeros:
            torch.nn.init.zeros_(pruned.conv_out.weight)
        return pruned, PruningReport(2, 1, 2, 1)


@pytest.mark.parametrize("copies", [False, True])
@pytest.mark.parametrize("zeros", [False, True])
def test_a_pruning_may_alter_what_it_is_given(prepared, capsys, copies, zeros):
    study = prepared("property=[fid]")
    trained = load_file(study.stored_in(study.trained) / f"{AVERAGED}.safetensors")
    address = replace(study.game.start, fingerprint=f"{copies}{zeros}")
    prune_for(study, replace(study.game, pruning=OwnPruning(copies, zeros), start=address))
    raw, averaged = (
        load_file(study.stored_in(address) / f"{name}.safetensors") for name in (RAW, AVERAGED)
    )
    torch.testing.assert_close(averaged, raw if zeros else trained, rtol=0, atol=0)
    assert bool(raw["conv_out.weight"].any()) is not zeros
    assert ("prune: SSIM" in capsys.readouterr().err) is zeros


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (lambda denoiser: None, "NoneType"),
        (lambda denoiser: denoiser, "UNet2DModel"),
        (lambda denoiser: (denoiser, (2, 1, 2, 1)), "UNet2DModel, tuple"),
    ],
)
def test_a_pruning_must_return_a_denoiser_and_a_report(prepared, returned, got):
    study = prepared("property=[fid]")
    pruning = SimpleNamespace(recovery=None, prune=lambda denoiser, model, loss: returned(denoiser))
    address = replace(study.game.start, fingerprint=got)
    with pytest.raises(ConfigError, match=f"^pruning: expected prune.*PruningReport, got {got}$"):
        prune_for(study, replace(study.game, pruning=pruning, start=address))


def test_what_encoding_depends_on_must_be_given(study, monkeypatch):
    known = study().examples.fingerprint
    kind = type(study().model)
    monkeypatch.setattr(kind, "encoder_settings", ("noise", "colour"))
    with pytest.raises(ConfigError, match=r"^model\.colour: missing; encoder_settings of DDPM nam"):
        study()
    monkeypatch.setattr(kind, "encoder_settings", ("noise",))
    addresses = {study(f"model.noise.beta_end={end}").examples.fingerprint for end in (0.02, 0.03)}
    assert len(addresses | {known}) == 3
