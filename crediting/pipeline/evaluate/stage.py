"""Stage evaluate: fill the ledger with the utilities of the coalitions that are missing."""

from collections.abc import Callable
from contextlib import closing
from functools import partial

from crediting.errors import EvaluationError
from crediting.game.coalition import CoalitionMatrix, coalition_keys
from crediting.interfaces import Evaluator, Task
from crediting.ledger import Failure, Ledger
from crediting.models.pretrained import forget
from crediting.pipeline.address import GameSpec
from crediting.pipeline.evaluate.diffusion_game import GameFactory, images_path
from crediting.pipeline.evaluate.schedule import Schedule
from crediting.pipeline.evaluate.stopping import until_sure
from crediting.pipeline.evaluate.tuning import job_size, tuned
from crediting.pipeline.machine import gpus, release_memory
from crediting.pipeline.memory import say_peak
from crediting.pipeline.study import Study
from crediting.progress import bar, say


def evaluate(study: Study) -> None:
    """Evaluate what the design asks for and the ledger lacks, until a rule of `stop` ends it.

    Raises:
        EvaluationError: coalitions failed, and allow_missing is off or one of them is an end.
    """
    tried: set[tuple[str, str]] = set()

    def evaluate_new(part: Study) -> None:
        """Evaluate what no batch before this one tried: failures wait for the next command."""
        for spec in part.games:
            asked = part.coalitions(spec)
            keys = [(spec.address.fingerprint, key) for key in coalition_keys(asked)]
            new = [place for place, key in enumerate(keys) if key not in tried]
            tried.update(keys)
            if new:
                evaluate_coalitions(part, spec, asked[new])

    until_sure(study, evaluate_new, say)


def evaluate_coalitions(
    study: Study,
    spec: GameSpec,
    coalitions: CoalitionMatrix,
    make_evaluator: Callable[[], Evaluator] | None = None,
) -> None:
    """Evaluate what the ledger of a game lacks of distinct coalitions (m, n).

    What evaluates is a DiffusionGame unless `make_evaluator` gives something else.

    Raises:
        EvaluationError: as `evaluate`.
    """
    keys = coalition_keys(coalitions)
    with _open_ledger(study, spec) as ledger:
        tasks = ledger.missing(keys, len(study.replicates), study.property_fingerprints)
        total = len(keys) * len(study.replicates)
        say(
            f"evaluate: {counted(study, len(keys))}, {total - len(tasks)} reused, "
            f"{len(tasks)} to evaluate ({ledger.path.parent.name})"
        )
        made = make_evaluator or GameFactory(study, spec)
        _evaluate_tasks(study, spec, ledger, tasks, made)
        _report_disagreements(ledger)
        _judge_failures(study, ledger, keys)


def counted(study: Study, coalitions: int) -> str:
    """Say how many coalitions are evaluated, and how often each."""
    times = len(study.replicates)
    return f"{coalitions} distinct coalitions" + (f" x {times} replicates" if times > 1 else "")


def _open_ledger(study: Study, spec: GameSpec) -> Ledger:
    """Return the ledger of a game, made if need be."""
    content = {
        "game": spec.address.content,
        "start": {"content": spec.start.content, "fingerprint": spec.start.fingerprint},
        "model": {"content": study.trained.content, "fingerprint": study.trained.fingerprint},
        "dataset": {"content": study.config["dataset"], "fingerprint": study.trained.parents[0]},
        "contributors": study.partition.names,
    }
    return Ledger.open(study.stored_in(spec.address), spec.address.fingerprint, content)


def _evaluate_tasks(
    study: Study,
    spec: GameSpec,
    ledger: Ledger,
    tasks: list[Task],
    make_evaluator: Callable[[], Evaluator],
) -> None:
    """Evaluate tasks wherever the executor does, recording each outcome as it comes."""
    if not tasks:
        return
    forget()  # the frozen networks of this process: whoever evaluates has its own
    release_memory()
    kept = [images_path(study, spec, task.coalition, task.replicate).exists() for task in tasks]
    schedule = Schedule(tasks, study.partition.sizes, kept, ledger.durations())
    executor, stack = tuned(study, spec, measuring=not all(kept))
    jobs = schedule.jobs(job_size(len(tasks), executor.width(), stack))
    left = partial(schedule.seconds_left, executor.width())
    with (
        closing(executor.run(make_evaluator, jobs)) as outcomes,
        bar("evaluate", len(tasks), unit="coalition", seconds_left=left) as progress,
    ):
        for outcome in outcomes:
            ledger.record(outcome, study.property_fingerprints)
            schedule.note(outcome)
            progress.update()
    if not gpus(study.runtime):  # on a GPU those who evaluate say it: nobody else can know
        say_peak("evaluate")


def _report_disagreements(ledger: Ledger) -> None:
    repeats = ledger.disagreements()
    if repeats:
        last = repeats[-1]
        say(
            f"evaluate: {len(repeats)} repeated evaluations gave another result, for instance "
            f"{last.property} of {last.coalition}: first {last.first!r} ({last.first_device}), "
            f"then {last.repeat!r} ({last.repeat_device}); the first record counts"
        )


def _judge_failures(study: Study, ledger: Ledger, keys: list[str]) -> None:
    wanted = set(keys)
    measured = set(study.property_fingerprints.values())
    failed = [
        failure
        for failure in ledger.failures()
        if failure.coalition in wanted
        and failure.replicate in study.replicates
        and failure.property_fingerprint in measured
    ]
    if not failed:
        return
    ends = set(coalition_keys(study.ends))
    fatal = [f for f in failed if f.coalition in ends] if study.config["allow_missing"] else failed
    if fatal:
        raise EvaluationError(_explain(ledger, fatal, study))
    say(f"evaluate: leaving out {len(failed)} failed evaluations, as allow_missing=true asks for")


def _first_words(traceback: str) -> str:
    """Return the first line of what an exception says, which stands below its last call."""
    lines = traceback.strip("\n").splitlines()
    calls = [number for number, line in enumerate(lines) if line.startswith('  File "')]
    below = lines[calls[-1] + 1 :] if calls else lines
    return next((line for line in below if not line.startswith(" ")), lines[-1])


def _explain(ledger: Ledger, failed: list[Failure], study: Study) -> str:
    last = failed[-1]
    reason = _first_words(last.traceback)
    advice = (
        "v(N) and v(empty) cannot be left out"
        if study.config["allow_missing"]
        else "to estimate without them, add allow_missing=true"
    )
    return (
        f"{len(failed)} evaluations failed, for instance {last.property} of coalition "
        f"{last.coalition}: {reason}\nTracebacks are in the table `failures` of {ledger.path}. "
        "Everything else is recorded; the same command tries the failed ones again; " + advice + "."
    )
