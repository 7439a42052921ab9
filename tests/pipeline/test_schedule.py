"""Long evaluations come first, and the time left is what it will turn out to be."""

import errno
import io
import math
import sys
from collections import Counter
from dataclasses import replace
from itertools import chain

import numpy as np
import pytest
from miniature_study import read_ledgers
from rich.console import Console
from toy_executor import ToyExecutor

from crediting import progress
from crediting.game.coalition import all_coalitions, coalition_from_key, coalition_key
from crediting.interfaces import Outcome, Task
from crediting.ledger import Ledger
from crediting.pipeline import dry_run
from crediting.pipeline.evaluate import stage as evaluate
from crediting.pipeline.evaluate.schedule import FEWEST, Pace, Schedule
from crediting.pipeline.evaluate.stopping import stopped

SIZES = np.array([1, 10, 100, 1000, 10_000])
ROWS = np.random.default_rng(0).permutation(all_coalitions(5))
KEYS = [coalition_key(row) for row in ROWS]
TASKS = [Task(key, 0, ("fid",)) for key in KEYS]


def linear(key, start=3.0, each=0.25):
    """Return seconds that are exactly linear in the number of examples."""
    return start + each * float(coalition_from_key(key) @ SIZES)


def scheduled(tasks=TASKS, kept=None, known=()):
    return Schedule(tasks, SIZES, kept or [False] * len(tasks), known)


def done(task, seconds, **values):
    return Outcome(task, values or {"fid": 1.0}, {}, seed=0, seconds=seconds, device="toy")


def by(seconds, keys=KEYS):
    return [(key, seconds(key)) for key in keys]


def coalitions(jobs):
    return [task.coalition for task in chain.from_iterable(jobs)]


# ------------------------------------------------------------------------------ the order


def test_without_records_larger_coalitions_come_first():
    rows = [coalition_from_key(key) for key in coalitions(scheduled().jobs(1))]
    examples = [int(row @ SIZES) for row in rows]
    assert examples == sorted((ROWS @ SIZES).tolist(), reverse=True)


@pytest.mark.parametrize("each", [0.25, -1e-4])
def test_recorded_seconds_decide_whatever_the_size(each):
    jobs = scheduled(known=by(lambda key: linear(key, 3.0, each))).jobs(1)
    seconds = [linear(key, 3.0, each) for key in coalitions(jobs)]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds[0] > seconds[-1]


def test_few_records_do_not_decide():
    few = by(lambda key: -linear(key) + 1e5, KEYS[: FEWEST - 1])
    assert coalitions(scheduled(known=few).jobs(1)) == coalitions(scheduled().jobs(1))


def test_ties_keep_the_order_of_the_design():
    noise = np.random.default_rng(1).normal(size=len(KEYS))
    for known in ([(key, 5.0) for key in KEYS], list(zip(KEYS, 5 + noise, strict=True))):
        assert coalitions(scheduled(known=known).jobs(1)) == KEYS
    twice = [Task(key, replicate, ("fid",)) for key in KEYS for replicate in range(2)]
    jobs = scheduled(twice, known=[(key, 5.0) for key in KEYS]).jobs(1)
    assert list(chain.from_iterable(jobs)) == twice
    alike = Schedule(TASKS, np.ones(5, dtype=int), [False] * len(TASKS), ())
    members = ROWS.sum(axis=1)
    expected = [KEYS[at] for at in np.argsort(-members, kind="stable")]
    assert coalitions(alike.jobs(1)) == expected


@pytest.mark.parametrize("size", [1, 3, 100])
def test_jobs_hold_every_task_once_and_one_replicate_each(size):
    tasks = [Task(key, replicate, ("fid",)) for key in KEYS for replicate in range(2)]
    jobs = scheduled(tasks).jobs(size)
    assert Counter(chain.from_iterable(jobs)) == Counter(tasks)
    assert all(len({task.replicate for task in job}) == 1 for job in jobs)
    assert max(map(len, jobs)) == min(size, len(KEYS))
    assert len(jobs) == 2 * math.ceil(len(KEYS) / size)
    first = [coalition_from_key(job[0].coalition) @ SIZES for job in jobs]
    assert first == sorted(first, reverse=True)


def test_what_need_only_be_measured_comes_last():
    kept = [row[0] for row in ROWS]
    order = [coalition_from_key(key) for key in coalitions(scheduled(kept=kept).jobs(1))]
    assert [bool(row[0]) for row in order] == [False] * 16 + [True] * 16


def test_nothing_to_do():
    assert scheduled([]).jobs(4) == []
    assert scheduled([]).seconds_left(2) == 0.0


# ------------------------------------------------------------------------------ the time left


@pytest.mark.parametrize("slowness", [1.0, 7.0])
@pytest.mark.parametrize("known", [0, 32])
def test_the_time_left_is_the_true_one_if_durations_are_linear(known, slowness):
    schedule = scheduled(known=by(linear, KEYS[:known]))
    to_come = [task for job in schedule.jobs(1) for task in job]
    for count, task in enumerate(list(to_come)):
        schedule.note(done(task, slowness * linear(task.coalition)))
        to_come.remove(task)
        true = math.fsum(slowness * linear(task.coalition) for task in to_come)
        if known or count + 1 >= FEWEST:
            assert schedule.seconds_left(1) == pytest.approx(true, rel=1e-9, abs=1e-6)


def test_the_average_so_far_would_be_far_off():
    schedule = scheduled(known=by(linear))
    half = [task for job in schedule.jobs(1) for task in job][:16]
    for task in half:
        schedule.note(done(task, linear(task.coalition)))
    average = 16 * np.mean([linear(task.coalition) for task in half])
    assert average > 2.5 * schedule.seconds_left(1)


def test_several_at_a_time_share_the_work_but_not_one_task():
    schedule = scheduled(known=by(linear))
    total = math.fsum(map(linear, KEYS))
    assert schedule.seconds_left(2) == pytest.approx(total / 2)
    assert schedule.seconds_left(1000) == pytest.approx(max(map(linear, KEYS)))


def test_the_time_left_is_unknown_until_something_is_done():
    schedule = scheduled()
    assert math.isnan(schedule.seconds_left(1))
    schedule.note(Outcome(TASKS[0], {}, {"": "boom"}, 0, 0.01, "toy"))  # says nothing
    assert math.isnan(schedule.seconds_left(1))
    schedule.note(done(TASKS[1], 4.0))
    assert schedule.seconds_left(1) == pytest.approx(30 * 4.0)


def test_measuring_kept_images_is_told_apart():
    kept = [row[0] for row in ROWS]
    schedule = scheduled(kept=kept, known=by(linear))
    to_measure = [task for task, there in zip(TASKS, kept, strict=True) if there]
    made = math.fsum(linear(t.coalition) for t, there in zip(TASKS, kept, strict=True) if not there)
    assert schedule.seconds_left(1) == pytest.approx(made)  # measuring is short, and not known yet
    schedule.note(done(to_measure[0], 0.5))
    assert schedule.seconds_left(1) == pytest.approx(made + 15 * 0.5)


def test_where_images_need_only_be_measured_nothing_tells_how_long_that_takes():
    schedule = scheduled(kept=[True] * len(TASKS), known=by(linear))
    assert math.isnan(schedule.seconds_left(1))


def test_once_images_need_only_be_measured_nothing_tells_either():
    kept = [row[0] for row in ROWS]
    schedule = scheduled(kept=kept, known=by(linear))
    for task, there in zip(TASKS, kept, strict=True):
        if not there:
            schedule.note(done(task, linear(task.coalition)))
    assert math.isnan(schedule.seconds_left(1))


def test_the_line_is_that_of_least_squares():
    generator = np.random.default_rng(0)
    examples = generator.integers(1, 1000, size=50).astype(float)
    seconds = 20 + 0.1 * examples + generator.normal(size=50)
    pace = Pace()
    for pair in zip(examples, seconds, strict=True):
        pace.learn(*pair)
    pace.learn(0, 1e6)  # nobody's model needs no training
    asked = np.array([1.0, 500.0, 2000.0])
    line = np.polynomial.Polynomial.fit(examples, seconds, 1)
    np.testing.assert_allclose(pace.expected(asked), line(asked))


def test_evaluations_of_one_size_have_one_duration():
    pace = Pace()
    for seconds in range(2 * FEWEST):
        pace.learn(7.0, seconds)
    np.testing.assert_allclose(pace.expected(np.array([1.0, 7.0])), FEWEST - 0.5)


def test_no_time_is_negative():
    pace = Pace()
    for examples in range(10, 30):
        pace.learn(examples, examples - 9.0)
    np.testing.assert_allclose(pace.expected(np.array([1.0, 30.0])), [0.0, 21.0])


# ------------------------------------------------------------------------------ the bar


def test_a_bar_tells_the_time_it_is_told(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    left = [math.nan, 3723.0]
    with progress.bar("evaluate", 10, "coalition", lambda: left[0]) as unknown:
        assert "<?," in str(unknown)
        left.pop(0)
        unknown.update(4)
        assert "4/10" in str(unknown)
        assert "<1:02:03," in str(unknown)
    capsys.readouterr()


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("stream", "label", "drawn"),
    [
        (Terminal, None, True),
        (Terminal, "[3] ", False),
        (io.StringIO, None, False),
    ],
)
def test_a_terminal_of_ones_own_has_bars_and_a_shared_one_labelled_lines(
    monkeypatch, stream, label, drawn
):
    written = stream()
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(progress, "_label", None)
    if label:
        progress.share_terminal(label)
    progress.say("this is said")
    assert written.getvalue() == f"{label or ''}this is said\n"
    with progress.bar("evaluate", 10) as meter:
        assert f"{label or ''}evaluate:   0%" in written.getvalue()
        assert (meter.mininterval < 1) == meter.leave == drawn


def test_lines_of_tables_on_a_shared_terminal_are_whole_labelled_and_no_wider(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(progress, "_label", None)
    progress.share_terminal("[0] ")
    print("one\ntwo")
    print("three", end=" ")
    assert written.getvalue() == "[0] one\n[0] two\n"
    print("four\n")
    assert written.getvalue() == "[0] one\n[0] two\n[0] three four\n[0] \n"
    written.truncate(written.seek(0))
    progress.share_terminal("[12] ")  # the next job of this process
    Console().print("word " * 20)
    lines = written.getvalue().splitlines()
    assert len(lines) > 1
    assert all(line.startswith("[12] word") and len(line) <= 41 for line in lines)


def test_what_nobody_can_hear_is_said_without_harm(monkeypatch):
    class Gone(io.StringIO):
        def write(self, text):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(sys, "stderr", Gone())
    progress.say("this is said")


# ------------------------------------------------------------------------------ studies


class Timed(ToyExecutor):
    """Evaluates the toy game with durations of its own, from the last of all jobs to the first."""

    def __init__(self, duration, reverse=False, **options):
        super().__init__(**options)
        self.duration, self.reverse, self.jobs = duration, reverse, []

    def run(self, make_evaluator, jobs):
        self.jobs += jobs
        for outcome in super().run(make_evaluator, jobs[::-1] if self.reverse else jobs):
            yield replace(outcome, seconds=self.duration(outcome.task.coalition))


def test_a_study_begins_with_the_longest_and_keeps_its_values(study, tmp_path):
    chosen = ("partition.contributors=8", "design.budget=40", "runtime.stack=4")
    forward, backward = (Timed(lambda key: 2.0, reverse) for reverse in (False, True))
    made = replace(study(*chosen), executor=forward)
    evaluate.evaluate(made)
    examples = [int(coalition_from_key(key) @ made.partition.sizes) for key in forward.evaluated]
    assert examples == sorted(examples, reverse=True)
    assert {len(job) for job in forward.jobs[:-1]} == {4}
    other = replace(
        study(*chosen, f"paths.outputs={tmp_path / 'other'}"),
        executor=backward,
    )
    evaluate.evaluate(other)
    assert backward.evaluated != forward.evaluated
    assert read_ledgers(tmp_path / "other") == read_ledgers(tmp_path / "outputs")


def test_the_bar_of_a_study_is_told_of_all_that_is_done(study, monkeypatch):
    told, bar = [], evaluate.bar

    def listening(*given, seconds_left, **options):
        told.append(seconds_left)
        return bar(*given, seconds_left=seconds_left, **options)

    monkeypatch.setattr(evaluate, "bar", listening)
    evaluate.evaluate(replace(study("property=[fid]"), executor=Timed(lambda key: 2.0)))
    assert [left() for left in told] == [0.0]


def test_a_dry_run_prices_what_is_missing_by_its_examples(study, capsys):
    chosen = ("partition.contributors=8", "property=[fid]")
    few = study(*chosen, "design.budget=40", "design=stratified")

    def seconds(key):
        return 60.0 * float(coalition_from_key(key) @ few.partition.sizes)

    evaluate.evaluate(replace(few, executor=Timed(seconds)))
    more = study(*chosen, "design.budget=60", "design=stratified")
    work = dry_run._work(more, more.game, more.coalitions(more.game))
    old, new = ({coalition_key(r) for r in s.coalitions(s.game)} for s in (few, more))
    assert work.to_generate == len(new - old) == 20
    assert work.seconds == pytest.approx(math.fsum(map(seconds, new - old)))
    assert math.isnan(
        dry_run._work(study("seed=1"), study("seed=1").game, more.ends[:, :4]).seconds
    )


# ------------------------------------------------------------------------------ ending early

RULED = (
    "partition.contributors=8",
    "property=[fid]",
    "design=paired_uniform",
    "design.budget=60",
    "stop.hours=1",
)


def test_all_that_arrives_is_recorded_though_a_rule_ended_it_long_before(study):
    ruled = replace(study(*RULED), executor=ToyExecutor(seconds=3600.0))
    evaluate.evaluate(ruled)  # the first evaluation alone takes the hour
    assert len(ruled.executor.evaluated) == 8 + 2
    address = ruled.game.address
    with Ledger(ruled.stored_in(address) / "ledger.sqlite", address.fingerprint) as ledger:
        assert set(ledger.coalitions()) == set(ruled.executor.evaluated)
    assert len(stopped(ruled).sample) == 8


def test_what_another_command_records_late_stays_and_moves_no_end(study):
    ruled = replace(study(*RULED), executor=ToyExecutor(seconds=3600.0))
    evaluate.evaluate(ruled)
    unruled = replace(study(*RULED[:-1]), executor=ToyExecutor(seconds=3600.0))
    evaluate.evaluate(unruled)
    assert len(unruled.executor.evaluated) == 60 - 8
    assert len(stopped(ruled).sample) == 8


def test_a_study_whose_rule_holds_dispatches_nothing(study):
    evaluate.evaluate(replace(study(*RULED[:-1]), executor=ToyExecutor(seconds=3600.0)))
    for rule in ("stop.hours=1", "stop.ci_width=100", "stop.rank_stability=0.01", "stop.budget=30"):
        again = replace(study(*RULED[:-1], rule), executor=ToyExecutor())
        evaluate.evaluate(again)
        assert again.executor.batches == 0
        assert len(stopped(again).sample) < 60
