import gc
import json
import os
import platform
import signal
import time
import weakref
from functools import partial
from multiprocessing import get_context
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from miniature_study import make_study, read_ledgers
from repeating_tape import RepeatingTape
from torch._dynamo.utils import counters

from crediting.errors import ArtifactError, ConfigError
from crediting.executors import Processes, Serial
from crediting.executors.environment import environment_of_workers
from crediting.game.coalition import coalition_key
from crediting.interfaces import Task
from crediting.multiprocess import starting_context
from crediting.pipeline import machine, stages
from crediting.pipeline.evaluate import coalition_models, step_rates, tuning
from crediting.pipeline.evaluate.diffusion_game import DiffusionGame
from crediting.pipeline.evaluate.step_rates import all_end_well
from crediting.pipeline.evaluate.tuning import Tuning, choose, job_size, known_width, tuned
from crediting.pipeline.train import RAW
from crediting.training.compiling import as_it_is

INFLUENCE = (
    *("finetuning=influence_unlearning", "finetuning.draws=1"),
    *("finetuning.fisher_batches=1", "finetuning.batch_size=512"),
)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Return the outputs of a miniature that is ready to be evaluated."""
    folder = tmp_path_factory.mktemp("tuning")
    study = make_study(folder)
    for stage in ("encode", "extract", "train", "prune"):
        stages.run(study, stage)
    return folder


@pytest.mark.parametrize(
    ("stacks", "shared", "expected"),
    [
        ({1: 10.0}, {}, Tuning(1, 1)),
        ({1: 10.0, 2: 15.0, 4: 22.0, 8: 21.0}, {}, Tuning(4, 1)),
        ({1: 10.0, 2: 10.3, 4: 10.4}, {}, Tuning(1, 1)),
        ({1: 10.0, 2: 15.0}, {2: 19.0, 4: 19.5}, Tuning(1, 2)),
        ({1: 10.0, 2: 25.0}, {2: 19.0}, Tuning(2, 1)),
        ({}, {}, Tuning(1, 1)),
    ],
)
def test_the_fastest_is_chosen_and_the_smaller_of_equals(stacks, shared, expected):
    assert choose(stacks, shared) == expected


@pytest.mark.parametrize(
    ("tasks", "width", "stack", "expected"),
    [(102, 2, 8, 8), (20, 2, 8, 5), (10, 2, 8, 5), (3, 2, 8, 2), (1, 4, 8, 1), (100, 1, 1, 1)],
)
def test_jobs_are_no_larger_than_gives_every_worker_as_many(tasks, width, stack, expected):
    assert job_size(tasks, width, stack) == expected


def test_a_number_is_taken_as_it_is(outputs, monkeypatch):
    monkeypatch.setattr(tuning, "steps_per_second", None)
    study = make_study(outputs, "runtime.stack=3")
    assert tuned(study, study.game) == (study.executor, 3)


def test_auto_is_measured_once_and_told(outputs, monkeypatch, capsys):
    asked = []

    def measure(study, spec, size):
        asked.append(size)
        return {1: 50.0, 2: 80.0, 4: 39.0}[size]

    monkeypatch.setattr(tuning, "steps_per_second", measure)
    study = make_study(outputs, "runtime.stack=auto")
    assert tuned(study, study.game)[1] == 2
    assert asked == [1, 2, 4]  # larger ones than the first that is twice as slow are not tried
    assert "2 coalitions at once in 1 process per device" in capsys.readouterr().err
    assert tuned(make_study(outputs, "runtime.stack=auto"), study.game)[1] == 2
    assert asked == [1, 2, 4]
    (path,) = outputs.glob("store/tuning-*.json")
    assert json.loads(path.read_text())["stacks"] == {"1": 50.0, "2": 80.0, "4": 39.0}
    path.unlink()


def test_more_are_tried_though_a_few_are_slower():
    asked = []
    rates = {1: 50.0, 2: 40.0, 4: 60.0, 8: 29.0, 16: 99.0}
    found = tuning._rates(list(rates), lambda size: asked.append(size) or rates[size])
    assert asked == [1, 2, 4, 8]
    assert choose(found, {}) == Tuning(4, 1)


@pytest.mark.parametrize(
    ("changed", "anew"),
    [
        *(("finetuning.recipe.batch_size=7", True), ("pruning.ratio=0.4", True)),
        *((f"runtime.{key}=true", True) for key in ("channels_last", "deterministic")),
        *((f"runtime.{word}", True) for word in ("precision=bf16", "threads=2", "compile=default")),
        *(("runtime.cuda_graphs=true", True), ("runtime.keep_images=false", False)),
        *(("property=[fid]", False), ("estimator=kernel_shap", False), ("name=x", False)),
    ],
)
def test_speed_is_measured_anew_only_where_it_may_be_another(outputs, changed, anew):
    one, other = (make_study(outputs, *words) for words in ((), (changed,)))
    assert (tuning._setting(one, one.game) != tuning._setting(other, other.game)) is anew


def test_speed_is_measured_anew_on_another_machine_or_with_other_releases(outputs, monkeypatch):
    study = make_study(outputs, "runtime.device=cpu")
    before = tuning._setting(study, study.game)
    for place, name in ((tuning, "versions"), (tuning, "_processor"), (platform, "machine")):
        with monkeypatch.context() as patch:
            patch.setattr(place, name, lambda: "another")
            assert tuning._setting(study, study.game) != before


@pytest.mark.parametrize(
    ("seconds", "steps"), [(9.0, 6), (0.5, 6), (0.1, 30), (0.03, 100), (0.001, 300)]
)
def test_steps_are_timed_for_half_a_second(seconds, steps):
    assert step_rates._enough(seconds) == steps  # six took so long


def test_a_rate_is_that_of_all_in_the_faster_of_two_runs(monkeypatch):
    asked, seconds = [], iter([0.1, 4.0, 2.0])

    def run(steps):
        asked.append(steps)
        return next(seconds)

    monkeypatch.setattr(step_rates, "_prepared", lambda study, spec, size: run)
    assert tuning.steps_per_second(None, None, 4) == 4 * 30 / 2.0
    assert asked == [6, 30, 30]


def test_the_clock_starts_after_the_first_steps_and_what_is_called_then(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(step_rates, "time", SimpleNamespace(perf_counter=lambda: now[0]))
    clock = step_rates.Clock(lambda: now.append(now.pop() + 100))
    for step in range(step_rates.RUN_IN + 7):  # before each step, and after the last
        clock(step)
        now[0] += 1
    assert clock.seconds() == 7


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA error: out of memory"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("Batching rule not implemented"), True),
    ],
)
def test_what_does_not_fit_or_cannot_be_stacked_is_not_chosen(
    error, told, outputs, monkeypatch, capsys
):
    def measure(study, spec, size):
        if size > 2:
            raise error
        return 10.0 * size

    monkeypatch.setattr(tuning, "steps_per_second", measure)
    study = make_study(outputs, "runtime.stack=auto")
    assert tuned(study, study.game)[1] == 2
    assert (f"tune: 4 at once cannot be trained here: {error}" in capsys.readouterr().err) is told
    next(outputs.glob("store/tuning-*.json")).unlink()


@pytest.mark.parametrize("size", [1, 2])
def test_all_steps_after_the_first_are_timed(outputs, monkeypatch, size):
    steps, begun = [], []

    class Noting(step_rates.Clock):
        def __call__(self, step):
            steps.append(step)
            super().__call__(step)

    monkeypatch.setattr(step_rates, "Clock", Noting)
    study = make_study(outputs)
    run = step_rates._prepared(study, study.game, size)
    run(3, lambda: begun.append(steps[-1]))
    assert begun == [step_rates.RUN_IN]
    assert steps == list(range(step_rates.RUN_IN + 3 + 1))
    monkeypatch.setattr(step_rates, "can_stack", lambda *_: False)
    assert (step_rates._prepared(study, study.game, size) is None) is (size > 1)


def test_processes_that_share_a_gpu_are_measured_beside_stacks(outputs, monkeypatch):
    monkeypatch.setattr(tuning, "steps_per_second", lambda study, spec, size: 10.0 + size)
    monkeypatch.setattr(tuning, "in_processes", lambda study, spec, count: 20.0 * count)
    monkeypatch.setattr(tuning, "gpus", lambda runtime: ("0", "1"))
    monkeypatch.setattr(tuning, "_setting", lambda study, spec: {"machine": "with two GPUs"})
    study = make_study(outputs, "runtime.stack=auto", "executor=processes")
    study = SimpleNamespace(**vars(study), runtime=study.runtime, store=study.store)
    study.executor = Processes("auto", 2, 1).sized(2, ("0", "1"))
    assert known_width(study, study.game) == 2  # as long as nothing is measured
    executor, stack = tuned(study, study.game)
    assert stack == 1
    assert executor.width() == known_width(study, study.game) == 8
    # who says how many workers there are, or evaluates otherwise, has the fastest stack instead
    study.executor = Processes(2, 2, 1).sized(2, ("0", "1"))
    study.config = {**study.config, "executor": {"workers": 2}}
    executor, stack = tuned(study, study.game)
    assert (executor.width(), stack) == (2, 256 if torch.cuda.is_available() else 16)
    study.executor = Serial()
    assert tuned(study, study.game) == (study.executor, stack)


def test_sharing_is_measured_when_it_first_matters(outputs, monkeypatch):
    asked = []
    monkeypatch.setattr(
        tuning, "steps_per_second", lambda study, spec, size: asked.append(size) or 9
    )
    monkeypatch.setattr(
        tuning, "in_processes", lambda study, spec, count: asked.append(-count) or 30
    )
    monkeypatch.setattr(tuning, "gpus", lambda runtime: ("0",))
    monkeypatch.setattr(tuning, "_setting", lambda study, spec: {"machine": "with one GPU"})
    study = make_study(outputs, "runtime.stack=auto", "executor=serial")
    assert tuned(study, study.game) == (study.executor, 1)
    stacks = list(asked)
    assert min(stacks) == 1
    study = make_study(outputs, "runtime.stack=auto", "executor=processes")
    study = SimpleNamespace(**vars(study), runtime=study.runtime, store=study.store)
    study.executor = Processes("auto", 2, 1).sized(1, ("0",))
    assert tuned(study, study.game)[0].width() == 2
    assert asked == [*stacks, -2, -4]


@pytest.mark.parametrize("executor", ["ray", "slurm"])
def test_what_is_measured_here_is_not_used_on_other_machines(outputs, executor):
    with pytest.raises(ConfigError, match=r"runtime\.stack: auto is measured on this machine"):
        make_study(outputs, "runtime.stack=auto", f"executor={executor}")


def test_who_says_how_many_share_a_gpu_says_how_many_are_stacked(outputs):
    words = ("executor=processes", "executor.per_gpu=4")
    with pytest.raises(ConfigError, match=r"executor\.per_gpu: expected 1, got 4"):
        make_study(outputs, "runtime.stack=auto", *words)
    make_study(outputs, "runtime.stack=2", *words)


def test_where_nothing_is_trained_no_processes_are_started_to_measure_it(outputs, monkeypatch):
    monkeypatch.setattr(tuning, "in_processes", None)
    monkeypatch.setattr(tuning, "gpus", lambda runtime: ("0",))
    monkeypatch.setattr(tuning, "_setting", lambda study, spec: {"machine": "with a GPU"})
    words = (*INFLUENCE, "executor=processes", "runtime.stack=auto")
    study = make_study(outputs, *words)
    assert tuned(study, study.game)[1] == 1
    assert {} in [
        json.loads(path.read_text()).get("sharing") for path in outputs.glob("store/tuning-*.json")
    ]


@pytest.mark.slow
@pytest.mark.parametrize("end", [os.abort, partial(os._exit, 3)])
def test_processes_do_not_wait_for_one_that_died(end):
    context = get_context("spawn")
    sleeping, dying = context.Process(target=time.sleep, args=(600,)), context.Process(target=end)
    for process in (sleeping, dying):
        process.start()
    assert not all_end_well([sleeping, dying])
    assert not sleeping.is_alive()


def test_processes_that_are_measured_leave_ctrl_c_to_the_command(monkeypatch):
    blocked = []

    class Member:
        def __init__(self, **_):
            pass

        def start(self):
            blocked.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))

    queue = SimpleNamespace(get=lambda: 2.5)
    context = SimpleNamespace(Barrier=lambda count: None, Queue=lambda: queue, Process=Member)
    monkeypatch.setattr(step_rates, "get_context", lambda kind: context)
    monkeypatch.setattr(step_rates, "all_end_well", lambda members: len(members) == 3)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    assert tuning.in_processes(None, None, 3) == 7.5
    assert blocked == [before | {signal.SIGINT}] * 3
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    assert tuning.in_processes(None, None, 2) == 0  # they did not end well


@pytest.mark.slow
def test_a_real_measurement_in_processes_counts_all_of_them(outputs, monkeypatch):
    # spawned ones, as a GPU needs them, would import everything again
    context = starting_context(on_gpus=False)
    monkeypatch.setattr("crediting.pipeline.evaluate.step_rates.get_context", lambda kind: context)
    study = make_study(outputs)
    with environment_of_workers():  # tests that come later may fork workers from the same process
        assert tuning.in_processes(study, study.game, 2) > 0
        assert tuning.steps_per_second(study, study.game, 2) > 0
        ascending = make_study(outputs, "finetuning=gradient_ascent")  # nothing for everybody
        assert tuning.steps_per_second(ascending, ascending.game, 2) > 0
        unchanged = make_study(outputs, *INFLUENCE)
        assert tuning.steps_per_second(unchanged, unchanged.game, 2) == 0


def test_where_all_images_are_kept_nothing_is_measured_to_train(outputs, monkeypatch):
    few = ("plan.coalitions=2", "partition.contributors=2", "executor=serial", "seed=4")
    stages.run(make_study(outputs, *few, "property=[fid]"), "all")
    monkeypatch.setattr(tuning, "steps_per_second", None)
    another = make_study(outputs, *few, "property=[diversity]", "runtime.stack=auto")
    stages.run(another, "evaluate")
    drawn = make_study(outputs, *few, "property=[fid]", "runtime.stack=auto", "replicates=2")
    with pytest.raises(TypeError, match="not callable"):
        stages.run(drawn, "evaluate")


def test_a_stacked_study_has_the_utilities_of_one_by_one(outputs, tmp_path):
    alone = make_study(outputs, "executor=serial")
    game = DiffusionGame(alone, alone.game)
    keys = [coalition_key(row) for row in alone.coalitions(alone.game)[1:5]]
    tasks = tuple(Task(key, 0, ("fid", "diversity")) for key in keys)
    alone.config["runtime"]["keep_images"] = False
    together = game(tasks)
    singly = [game((task,))[0] for task in tasks]
    for one, other in zip(together, singly, strict=True):
        assert one.task == other.task
        assert one.values == pytest.approx(other.values, rel=1e-3)


def test_one_that_fails_does_not_take_its_stack_with_it(outputs, monkeypatch):
    study = make_study(outputs, "executor=serial", "runtime.keep_images=false")
    game = DiffusionGame(study, study.game)
    rows = study.coalitions(study.game)[2:5]
    ask = type(game.models).ask

    def fails(self, row, replicate):
        if (row == rows[1]).all():
            raise FloatingPointError("diverged")
        return ask(self, row, replicate)

    monkeypatch.setattr(type(game.models), "ask", fails)
    outcomes = game(tuple(Task(coalition_key(row), 0, ("fid",)) for row in rows))
    assert [bool(outcome.failures) for outcome in outcomes] == [False, True, False]
    assert "diverged" in outcomes[1].failures[""]


@pytest.mark.parametrize(
    "error", [OSError("no file"), ArtifactError("damaged"), ConfigError("key")]
)
@pytest.mark.parametrize(("place", "count"), [("ask", 1), ("ask", 2), ("train_stacked", 2)])
def test_what_is_no_fault_of_a_coalition_is_raised(
    outputs, monkeypatch, capsys, error, place, count
):
    def fails(*_):
        raise error

    study = make_study(outputs, "executor=serial")
    models = DiffusionGame(study, study.game).models
    whole = type(models) if place == "ask" else coalition_models
    monkeypatch.setattr(whole, place, fails)
    with pytest.raises(type(error), match=str(error)):
        list(models.make(differing_in_steps(study)[0][:count], 0))
    assert "trained one by one" not in capsys.readouterr().err


def differing_in_steps(study):
    """Return four coalitions whose ascents take one, two and again one and two steps."""
    rows = np.array([[1, 1, 1, 0], [1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1]], dtype=bool)
    return rows, tuple(Task(coalition_key(row), 0, ("fid",)) for row in rows)


@pytest.fixture
def stacks(monkeypatch):
    """Return a list that grows by the size of every stack that is trained."""
    sizes = []
    original = coalition_models.train_stacked

    def counting(trainer, trainings, *rest):
        sizes.append(len(trainings))
        return original(trainer, trainings, *rest)

    monkeypatch.setattr(coalition_models, "train_stacked", counting)
    return sizes


ASCENT = ("finetuning=gradient_ascent", "executor=serial", "runtime.keep_images=false")


@pytest.mark.parametrize(("count", "sizes"), [(4, [2, 2]), (3, [2])])
def test_those_of_one_kind_are_stacked_and_all_come_in_order(outputs, stacks, count, sizes):
    study = make_study(outputs, *ASCENT, "finetuning.passes=0.1", "finetuning.recipe.steps=9")
    models = DiffusionGame(study, study.game).models
    rows = differing_in_steps(study)[0][:count]
    assert [models.ask(row, 0).recipe.steps for row in rows] == [2, 3, 2, 3][:count]
    together = [weights(made.denoiser) for made in models.make(rows, 0)]
    assert sorted(stacks) == sizes
    for one, row in zip(together, rows, strict=True):
        torch.testing.assert_close(one, weights(models.one(row, 0)), rtol=0, atol=1e-5)
    assert (together[0] - together[2]).abs().max() > 1e-4
    assert sorted(stacks) == sizes


def test_a_stack_for_which_memory_does_not_suffice_is_told(outputs, monkeypatch, capsys):
    def too_large(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(coalition_models, "train_stacked", too_large)
    study = make_study(outputs, "executor=serial", "runtime.keep_images=false")
    _, tasks = differing_in_steps(study)
    outcomes = DiffusionGame(study, study.game)(tasks)
    assert not any(outcome.failures for outcome in outcomes)
    assert "not enough memory to train 4 coalitions at once" in capsys.readouterr().err


def test_denoisers_of_a_stack_are_given_away_one_by_one(outputs, stacks):
    study = make_study(outputs, "executor=serial")
    models = DiffusionGame(study, study.game).models
    rows, _ = differing_in_steps(study)
    gc.disable()
    try:
        for made in models.make(rows, 0):
            gone = weakref.ref(made.denoiser)
            del made
            assert gone() is None
    finally:
        gc.enable()
    assert stacks == [4]


def test_dropout_is_the_same_in_every_job_of_a_study_with_stacks(outputs, stacks):
    words = ("model.unet.dropout=0.5", "executor=serial", "finetuning.recipe.ema_decay=0.5")
    study = make_study(outputs, *words, "runtime.stack=4")
    for stage in ("encode", "extract", "train", "prune"):
        stages.run(study, stage)
    rows, _ = differing_in_steps(study)
    models = DiffusionGame(study, study.game).models
    together = [weights(made.denoiser) for made in models.make(rows, 0)]
    singly = [weights(models.one(row, 0)) for row in rows]
    assert stacks == [4, 1, 1, 1, 1]
    start = weights(models.stored(RAW))
    for one, other in zip(together, singly, strict=True):
        assert (one - other).norm() < 1e-2 * (one - start).norm()
    plain = make_study(outputs, *words)  # on a GPU its dropout is other: no stack, no stack of one
    DiffusionGame(plain, plain.game).models.one(rows[0], 0)
    assert len(stacks) == 5


def weights(denoiser):
    return torch.cat([p.detach().flatten() for p in denoiser.parameters()])


@pytest.mark.slow
def test_the_command_evaluates_in_stacks(outputs):
    study = make_study(outputs, "runtime.stack=4", "seed=0")
    stages.run(study, "evaluate")
    assert len(read_ledgers(outputs)) >= 3 * len(study.coalitions(study.game))


def evaluated(outputs, *settings, replicates=1, tape=None, coalitions=4):
    """Return the FID of some coalitions, freshly evaluated, (coalitions, replicates)."""
    # of another number of images than in other tests, which may have kept theirs
    fresh = ("executor=serial", "runtime.keep_images=false", "generation.images=10")
    study = make_study(outputs, *fresh, *settings)
    game = DiffusionGame(study, study.game)
    game.trainer._tape = tape
    keys = [coalition_key(row) for row in study.coalitions(study.game)[1 : 1 + coalitions]]
    return np.array(
        [
            [game((Task(key, replicate, ("fid",)),))[0].values["fid"] for key in keys]
            for replicate in range(replicates)
        ]
    ).T


def rms(differences):
    return float(np.sqrt((differences**2).mean()))


def test_bf16_changes_utilities_less_than_another_replicate_does(outputs):
    exact = evaluated(outputs, replicates=2)
    rounded = evaluated(outputs, "runtime.precision=bf16")
    assert 0 < rms(rounded[:, 0] - exact[:, 0]) < rms(exact[:, 1] - exact[:, 0])


def test_the_order_of_weights_in_memory_changes_no_utility(outputs):
    exact, ordered = evaluated(outputs), evaluated(outputs, "runtime.channels_last=true")
    np.testing.assert_allclose(ordered, exact, rtol=1e-3)


@pytest.mark.parametrize(("precision", "coalitions"), [("fp32", 4), ("bf16", 2)])
def test_recorded_steps_and_calls_change_no_utility(outputs, precision, coalitions):
    longer = ("finetuning.recipe.steps=6", "generation.steps=8", f"runtime.precision={precision}")
    before = RepeatingTape.recordings
    recorded = evaluated(outputs, *longer, tape=RepeatingTape(), coalitions=coalitions)
    # of each coalition, its steps and its calls
    assert RepeatingTape.recordings == before + 2 * coalitions
    expected = evaluated(outputs, *longer, coalitions=coalitions)
    np.testing.assert_allclose(recorded, expected, rtol=1e-3)


@pytest.mark.slow
def test_compiled_denoisers_give_the_same_utilities(outputs, monkeypatch):
    def eager_graphs(mode):
        if mode is None:
            return as_it_is
        return lambda computation: torch.compile(computation, backend="aot_eager", dynamic=False)

    monkeypatch.setattr(machine, "compiler", eager_graphs)
    exact = evaluated(outputs)
    torch._dynamo.reset()
    counters.clear()
    compiled = evaluated(outputs, "runtime.compile=default")
    np.testing.assert_allclose(compiled, exact, rtol=1e-3)
    assert 2 <= counters["stats"]["unique_graphs"] <= 3  # training and drawing, once for all
