"""What a command would do, what the store has of it, and how long the rest would take."""

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

from crediting.executors import Processes, RayCluster
from crediting.game.coalition import CoalitionMatrix, coalition_keys
from crediting.ledger import short
from crediting.pipeline.address import Addressed, GameSpec
from crediting.pipeline.evaluate.diffusion_game import images_path
from crediting.pipeline.evaluate.schedule import Schedule
from crediting.pipeline.evaluate.stage import counted
from crediting.pipeline.evaluate.stopping import looks_at, rules_of
from crediting.pipeline.evaluate.tuning import known_width
from crediting.pipeline.extract.gauges import gauged
from crediting.pipeline.file_names import obstacle
from crediting.pipeline.machine import gpus
from crediting.pipeline.memory import tell_memory
from crediting.pipeline.pace import Pace, measure_pace, seconds_per_coalition
from crediting.pipeline.study import Study
from crediting.pipeline.train import check_what_follows
from crediting.reporting.forecast import humanise_seconds
from crediting.training import Recipe
from crediting.training.compiling import compiler


class Work(NamedTuple):
    """Evaluations in the ledger, to come, and to measure on kept images.

    `seconds` are those of the ones to come, by what is recorded; NaN where nothing is.
    """

    recorded: int
    to_generate: int
    to_measure: int
    seconds: float


def dry_run(study: Study) -> None:
    """Print every stage with its fingerprint, its state and an estimate; store nothing.

    Raises:
        ConfigError: training would be refused, because what follows it cannot work, or what is
            left could not be compiled here.
    """
    if not study.has_stored(study.trained):
        check_what_follows(study, study.model.untrained(0))
    print(
        f"Study {study.name}: {len(study.partition)} contributors, properties "
        f"{', '.join(study.properties)}"
    )
    pace = cache(lambda: measure_pace(study))
    looks = looks_at(study)
    longest, at_most = study.with_budget(looks[-1]), "at most " if len(looks) > 1 else ""
    seconds = tell_artifacts(study, pace) + tell_evaluations(longest, pace)
    if seconds > 0:
        compiler(study.runtime["compile"])
        tell_memory(study)
    for rule, value in rules_of(study).chosen.items():
        print(
            f"stop      {rule}={value:g}, looked at after {', '.join(map(str, looks))} coalitions"
        )
    print(
        f"estimate  {study.estimator.name} on {at_most}{len(longest.sample)} coalitions of "
        f"{study.design.name}"
    )
    hindered = obstacle(study.folder)
    print(f"report    {study.folder}{f', but {hindered} cannot be written to' if hindered else ''}")
    print(
        f"Altogether {at_most}{humanise_seconds(seconds)} of training and generating on this "
        f"machine, {known_width(study, study.game)} evaluations at a time"
        f"{_left_out(study, seconds)}. "
        "Nothing was run."
    )


def _left_out(study: Study, seconds: float) -> str:
    """Say of which extractors no forecast knows yet how long they look at an image."""
    unknown = [name for name in gauged(study) if not study.has_stored(study.extracted[name])]
    if not unknown or not seconds:
        return ""
    return (
        f", not counting feature extraction by {', '.join(unknown)}, which is measured after "
        "stage=extract"
    )


def tell_artifacts(study: Study, pace: Callable[[], Pace]) -> float:
    """Print what is there before evaluation and what is not; return the seconds of training."""
    total = 0.0
    for label, address, recipe in _artifacts(study):
        if study.has_stored(address):
            print(_line(label, address, "in the store"))
        elif recipe is None:
            print(_line(label, address, "to do"))
        else:
            seconds = pace().training_step * recipe.steps
            total += seconds
            print(_line(label, address, f"to do, {humanise_seconds(seconds)}"))
    return total


def tell_evaluations(study: Study, pace: Callable[[], Pace]) -> float:
    """Print what each game's ledger has and lacks; return the seconds of what it lacks."""
    total = 0.0
    for spec in study.games:
        coalitions = study.coalitions(spec)
        work = _work(study, spec, coalitions)
        state = f"{counted(study, len(coalitions))}, {work.recorded} in the ledger"
        if work.to_generate:
            seconds, proviso = work.seconds, ""
            if math.isnan(seconds):
                rounds = -(-work.to_generate // known_width(study, spec))
                seconds = rounds * seconds_per_coalition(study, spec, pace())
                if spec is study.game and spec.finetuning.recipe is None:
                    proviso = " without fine-tuning, whose time is known once some are evaluated"
                proviso += _if_they_share_gpus(study, spec)
            total += seconds
            state += f", {work.to_generate} missing: {humanise_seconds(seconds)}{proviso}"
        if work.to_measure:
            state += f", {work.to_measure} to measure on kept images"
        print(_line("evaluate", spec.address, state))
    return total


def _if_they_share_gpus(study: Study, spec: GameSpec) -> str:
    """Say what is taken for granted of evaluators on one GPU: one alone is timed."""
    executor, found = study.executor, len(gpus(study.runtime))
    share = isinstance(executor, Processes) and 0 < found < known_width(study, spec)
    if isinstance(executor, RayCluster):
        share = 0 < float(executor.gpus_per_worker) < 1
    return ", if those that share a GPU do not slow each other down" if share else ""


def _artifacts(study: Study) -> Iterator[tuple[str, Addressed, Recipe | None]]:
    yield "encode", study.examples, None
    if study.model.conditional:
        yield "embed", study.prompts, None
    for address in study.extracted.values():
        yield "extract", address, None
    yield "train", study.trained, study.model.training
    for spec in {spec.start.fingerprint: spec for spec in study.games}.values():
        yield "prune", spec.start, spec.pruning.recovery


def _line(label: str, address: Addressed, state: str) -> str:
    return f"{label:9} {address.stage}-{short(address.fingerprint)}  {state}"


def _work(study: Study, spec: GameSpec, coalitions: CoalitionMatrix) -> Work:
    keys = coalition_keys(coalitions)
    with study.recorded(spec) as ledger:
        missing = ledger.missing(keys, len(study.replicates), study.property_fingerprints)
        durations = ledger.durations()
    to_generate = [
        task
        for task in missing
        if not images_path(study, spec, task.coalition, task.replicate).exists()
    ]
    known = Schedule(to_generate, study.partition.sizes, [False] * len(to_generate), durations)
    return Work(
        len(keys) * len(study.replicates) - len(missing),
        len(to_generate),
        len(missing) - len(to_generate),
        known.seconds_left(known_width(study, spec)),
    )
