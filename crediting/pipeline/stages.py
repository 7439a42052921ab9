"""The stages in order, and how one or all of them are run."""

from collections.abc import Callable

from crediting.pipeline.estimate import estimate
from crediting.pipeline.evaluate import evaluate
from crediting.pipeline.extract import extract
from crediting.pipeline.prune import prune
from crediting.pipeline.study import Study
from crediting.pipeline.train import train


def run(study: Study, stage: str) -> None:
    """Run one stage, or `all` of them; what the store holds already is reused."""
    for name, run_stage in _STAGES.items():
        if stage in (name, "all"):
            run_stage(study)


def _estimate(study: Study) -> None:
    from crediting.reporting.terminal import print_table

    from crediting.pipeline.report import table_of

    for name, attribution in estimate(study).items():
        print_table(table_of(study, name, attribution))


def _report(study: Study) -> None:
    from crediting.pipeline.report import report

    report(study, estimate(study))


_STAGES: dict[str, Callable[[Study], None]] = {
    "train": train,
    "prune": prune,
    "extract": extract,
    "evaluate": evaluate,
    "report": _report,
}
