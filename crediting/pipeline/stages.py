"""The stages in order, and how one or all of them are run."""

from collections.abc import Callable

from crediting.pipeline.calibrate.stage import calibrate
from crediting.pipeline.compare.baselines import check_baselines
from crediting.pipeline.compare.stage import compare
from crediting.pipeline.dry_run import dry_run
from crediting.pipeline.encode import encode
from crediting.pipeline.estimate.pairing import advise
from crediting.pipeline.estimate.stage import estimate
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.evaluate.stopping import stopped
from crediting.pipeline.export import export
from crediting.pipeline.extract.stage import check_extractors, extract
from crediting.pipeline.fetch import fetch, require
from crediting.pipeline.file_names import make_folder
from crediting.pipeline.prune import prune
from crediting.pipeline.report.stage import report, results_of
from crediting.pipeline.report.tables import print_tables
from crediting.pipeline.study import Study
from crediting.pipeline.train import train
from crediting.progress import say


def make_ready(study: Study, stage: str) -> None:
    """Refuse now what would else be found when models are trained: where to evaluate and to write.

    A dry run only asks the parts that look at images, not where to evaluate and to write.

    Raises:
        CreditingError: an extractor cannot be fitted to the dataset,
        ConfigError: a baseline or the executor cannot work here, or the study's folder cannot be
            made.
    """
    check_extractors(study)
    if stage == "compare":
        check_baselines(study)
    if study.config["dry_run"]:
        return
    if stage in _EVALUATING and hasattr(study.executor, "check"):
        study.executor.check()
    if stage in _WRITING:
        make_folder(study.folder)


def run(study: Study, stage: str) -> None:
    """Run one stage, or `all` of them; what the store holds already is reused.

    A dry run only says what all of them would do.
    """
    if study.config["dry_run"] or stage in ("all", "evaluate"):
        advise(study.estimator, study.sample.coalitions)
    if study.config["dry_run"]:
        dry_run(study)
    elif stage == "all":
        width = study.executor.width()
        say(
            f"study {study.name}: {len(study.partition)} contributors, properties "
            f"{', '.join(study.properties)}, {width} coalition{'s' * (width > 1)} at a time"
        )
        for step in (encode, extract, train, prune, evaluate, _report):
            step(study)
    else:
        _STAGES[stage](study)


def _estimate(study: Study) -> None:
    """Print the tables and write nothing."""
    done = stopped(study)
    results = results_of(done, estimate(done))
    print_tables(results.tables, results.payout)


def _report(study: Study) -> None:
    done = stopped(study)
    report(done, estimate(done))


_STAGES: dict[str, Callable[[Study], None]] = {
    "encode": encode,
    "train": train,
    "prune": prune,
    "extract": extract,
    "evaluate": evaluate,
    "estimate": _estimate,
    "report": _report,
    "export": export,
}

_EVALUATING = ("all", "evaluate", "compare", "calibrate")
_WRITING = ("all", "report", "export", "compare", "calibrate")

__all__ = ["calibrate", "compare", "dry_run", "fetch", "make_ready", "require", "run"]
