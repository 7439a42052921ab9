"""Running a comparison: evaluate what it needs, then write every table and figure of it."""

from collections.abc import Iterator, Mapping
from typing import Any

from crediting.errors import ConfigError
from crediting.pipeline.compare.baselines import (
    evaluate_proxies,
    lacks_of_baselines,
    score_baselines,
    try_out_baselines,
)
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.contestants import contestants, from_files
from crediting.pipeline.compare.counterfactuals import (
    lacks_of_counterfactuals,
    needs_of_counterfactuals,
)
from crediting.pipeline.compare.material import StudyMaterial
from crediting.pipeline.compare.needs import (
    Lack,
    agreement_coalitions,
    lacks,
    meet,
    needs_of_agreement,
    needs_of_methods,
    needs_of_truth,
)
from crediting.pipeline.compare.written import missing_text, write_comparison
from crediting.pipeline.encode import encode
from crediting.pipeline.evaluate.stage import evaluate
from crediting.pipeline.extract.stage import extract
from crediting.pipeline.prune import prune
from crediting.pipeline.study import Study
from crediting.pipeline.train import check_what_follows, train
from crediting.progress import say
from crediting.training.compiling import compiler

Variants = Mapping[str, tuple[Mapping[str, Any], Mapping[str, Any]]]


def compare(study: Study, variants: Variants) -> None:
    """Hold the credits of a study, its methods and its baselines against retraining.

    With compare.evaluate=false nothing is evaluated: the tables are those of what is recorded. A
    dry run only tells what is missing.

    Raises:
        ConfigError: a method, or a baseline, cannot work with this study.
        DataError: a file of scores cannot be read.
        EvaluationError: coalitions failed, and allow_missing is off.
    """
    from_files(study)  # refused before anything is evaluated
    contest = Contest.assemble(study, variants)
    if study.config["dry_run"] or contest.settings["evaluate"]:
        _check_models(contest)
    if study.config["dry_run"]:
        print(missing_text(still_lacking(contest)))
        return
    if contest.settings["evaluate"]:
        _evaluate(contest)
    write_comparison(contest, contestants(contest), still_lacking(contest))


def still_lacking(contest: Contest) -> list[Lack]:
    """Return what a comparison still lacks, as far as this is known."""
    everybody = contestants(contest)
    evaluations = lacks(
        [
            *needs_of_methods(contest),
            *needs_of_truth(contest),
            *needs_of_agreement(contest),
            *needs_of_counterfactuals(contest, everybody),
        ]
    )
    return [
        *_models(contest),
        *evaluations,
        *lacks_of_counterfactuals(contest, everybody),
        *lacks_of_baselines(contest.own, agreement_coalitions(contest)),
    ]


def _models(contest: Contest) -> Iterator[Lack]:
    """Yield the full model and its pruned ones, where they are not there yet."""
    own = contest.own
    starts = [study.game.start for study in contest.distinct_games.values()]
    for what, addresses in (
        ("the full model", [own.trained]),
        ("models to fine-tune", starts),
    ):
        missing = {one.fingerprint for one in addresses if not own.has_stored(one)}
        if missing:
            yield Lack(what, len(missing), None, "to be made first")


def _check_models(contest: Contest) -> None:
    """Refuse now what training would refuse after those before it were evaluated."""
    methods = contest.distinct_games.items()
    games = [("" if name == OWN else f"method.{name}: ", study) for name, study in methods]
    games.append(("compare.truth: ", contest.truth))
    new = [(key, s) for key, s in games if not s.stored_in(s.game.address).exists()]
    if new:
        compiler(contest.own.runtime["compile"])
        denoiser = contest.own.model.untrained(0)
    for key, study in new:
        try:
            check_what_follows(study, denoiser)
        except ConfigError as error:
            raise ConfigError(f"{key}{error}") from error


def _evaluate(contest: Contest) -> None:
    for stage in (encode, extract, try_out_baselines, train):
        stage(contest.own)
    for name, study in contest.games.items():
        say(f"compare: credits of {name}")
        prune(study)
        evaluate(study)
    material = StudyMaterial(contest.own)  # one for both: features of images take their time
    score_baselines(contest.own, material)
    evaluate_proxies(contest.own, material, agreement_coalitions(contest))
    meet([*needs_of_truth(contest), *needs_of_agreement(contest)])
    meet(needs_of_counterfactuals(contest, contestants(contest)))
