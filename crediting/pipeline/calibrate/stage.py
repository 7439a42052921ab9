"""Running a calibration: evaluate every setting, judge it, and say which would do as well."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

from crediting.errors import EvaluationError
from crediting.pipeline.calibrate.costs import costs
from crediting.pipeline.calibrate.image_parts import ImagePart
from crediting.pipeline.calibrate.judged import Judgements, estimated, judge, judge_repeat
from crediting.pipeline.calibrate.proposal import Found, Tried, combined_choices
from crediting.pipeline.calibrate.settings import Alter, Setting, Settings, proper_coalitions
from crediting.pipeline.calibrate.variance import components, halves
from crediting.pipeline.calibrate.written import write_calibration
from crediting.pipeline.dry_run import tell_artifacts, tell_evaluations
from crediting.pipeline.encode import encode
from crediting.pipeline.extract.stage import extract
from crediting.pipeline.pace import measure_pace
from crediting.pipeline.prune import prune
from crediting.pipeline.study import Study
from crediting.pipeline.train import train
from crediting.progress import say
from crediting.reporting.forecast import humanise_seconds
from crediting.training.compiling import compiler


def calibrate(study: Study, alter: Alter) -> None:
    """Evaluate a few coalitions by cheaper settings and propose the cheapest that agrees.

    No setting of the study is changed. A dry run only tells what would be evaluated.

    Raises:
        ConfigError: a setting cannot work, or the coalitions are too few.
        EvaluationError: coalitions failed by the study's own setting.
    """
    settings = Settings.assemble(study, alter)
    if study.config["dry_run"]:
        _tell(settings)
        return
    for stage in (encode, extract, train, prune):
        stage(settings.own.study)
    write_calibration(found_by(settings))


def found_by(settings: Settings) -> Found:
    """Evaluate what the ledgers lack of all settings, and return all there is to tell of them."""
    own = settings.own
    say(f"calibrate: {own.name}")
    own.evaluate()
    for half in halves(own):
        _measure_half(half)
    tried = _priced(settings, [(one, _judged(own, one)) for one in settings.tried])
    chosen = combined_choices(tried, settings.threshold)
    if chosen:
        several = settings.setting(chosen)
        encode(several.study)  # of fewer images fewer captions are drawn
        judged = [(one.setting, one.judgements) for one in tried]
        tried = _priced(settings, [*judged, (several, _judged(own, several))])
    return Found(
        settings,
        tried,
        judge_repeat(own),
        costs(own, [one.setting for one in tried]),
        {name: estimated(own.study, name) for name in own.study.properties},
        {name: components(own, name) for name in own.study.properties},
    )


def _judged(own: Setting, setting: Setting) -> Judgements | None:
    """Evaluate a setting and return how it agrees, or None if coalitions failed."""
    say(f"calibrate: {setting.name}")
    try:
        setting.evaluate()
    except EvaluationError as error:
        say(f"calibrate: {setting.name} is not judged: {error}")
        return None
    return judge(own, setting)


def _measure_half(half: ImagePart) -> None:
    """Measure a half of the images of proper coalitions; where it cannot be measured is no harm."""
    lenient = half.whole.configured(allow_missing=True)
    replace(half, whole=lenient).evaluate_coalitions(lenient.game, proper_coalitions(lenient))


def _priced(settings: Settings, judged: Sequence[tuple[Setting, Judgements | None]]) -> list[Tried]:
    spent = costs(settings.own, [one for one, _ in judged]).by_setting
    return [Tried(one, spent[one.name], found) for one, found in judged]


def _tell(settings: Settings) -> None:
    """Print what would be made, and what every setting would evaluate, and how long it takes."""
    pace = cache(lambda: measure_pace(settings.own.study))
    seconds = tell_artifacts(settings.own.study, pace)
    for setting in [settings.own, *settings.tried]:
        print(f"setting   {setting.name}")
        if setting.part:
            print("          measured on the first of the images as it is")
        else:
            seconds += tell_evaluations(setting.study, pace)
    if seconds > 0:
        compiler(settings.own.study.runtime["compile"])
    for said in settings.left_out:
        print(said)
    print(
        f"Altogether {humanise_seconds(seconds)} of training and evaluating on this machine, plus "
        "one combination of the settings that agree. Nothing was run."
    )
