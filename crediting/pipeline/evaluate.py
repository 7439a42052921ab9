"""Stage evaluate: fill the ledger with the utilities of the coalitions that are missing."""

from contextlib import closing
from functools import partial

import numpy as np

from crediting.errors import EvaluationError
from crediting.game.coalition import CoalitionMatrix, coalition_key
from crediting.interfaces import Task
from crediting.ledger import Failure, Ledger
from crediting.pipeline.address import GameSpec
from crediting.pipeline.diffusion_game import DiffusionGame
from crediting.pipeline.machine import release_memory
from crediting.pipeline.stopping import until_sure
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
            game = spec.address.fingerprint
            new = [row for row in part.coalitions(spec) if (game, coalition_key(row)) not in tried]
            tried.update((game, coalition_key(row)) for row in new)
            if new:
                evaluate_coalitions(part, spec, np.stack(new))

    until_sure(study, evaluate_new, say)


def evaluate_coalitions(study: Study, spec: GameSpec, coalitions: CoalitionMatrix) -> None:
    """Evaluate what the ledger of a game lacks of distinct coalitions (m, n).

    Raises:
        EvaluationError: as `evaluate`.
    """
    keys = [coalition_key(row) for row in coalitions]
    with _open_ledger(study, spec) as ledger:
        tasks = ledger.missing(keys, len(study.replicates), study.property_fingerprints)
        total = len(keys) * len(study.replicates)
        say(
            f"evaluate: {counted(study, len(keys))}, {total - len(tasks)} reused, "
            f"{len(tasks)} to evaluate ({ledger.path.parent.name})"
        )
        _evaluate_tasks(study, spec, ledger, tasks)
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


def _evaluate_tasks(study: Study, spec: GameSpec, ledger: Ledger, tasks: list[Task]) -> None:
    """Evaluate tasks wherever the executor does, recording each outcome as it comes."""
    if not tasks:
        return
    release_memory()
    size = study.runtime["stack"]
    jobs = [tuple(tasks[first : first + size]) for first in range(0, len(tasks), size)]
    with (
        closing(study.executor.run(partial(DiffusionGame, study, spec), jobs)) as outcomes,
        bar("evaluate", len(tasks), unit="coalition") as progress,
    ):
        for outcome in outcomes:
            ledger.record(outcome, study.property_fingerprints)
            progress.update()


def _report_disagreements(ledger: Ledger) -> None:
    repeats = ledger.disagreements()
    if repeats:
        last = repeats[-1]
        say(
            f"evaluate: {len(repeats)} repeated evaluations came out otherwise, for instance "
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
    ends = {coalition_key(row) for row in study.ends}
    fatal = [f for f in failed if f.coalition in ends] if study.config["allow_missing"] else failed
    if fatal:
        raise EvaluationError(_explain(ledger, fatal, study))
    say(f"evaluate: leaving out {len(failed)} failed evaluations, as allow_missing=true asks for")


def _explain(ledger: Ledger, failed: list[Failure], study: Study) -> str:
    last = failed[-1]
    reason = last.traceback.strip().splitlines()[-1]
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
