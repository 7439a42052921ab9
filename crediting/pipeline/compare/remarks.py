"""What stands under the tables of a comparison."""

import math
from collections.abc import Iterator, Mapping, Sequence

from crediting.agreement import DatamodelScore, verdict
from crediting.pipeline.compare.agreements import Agreement
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.contestants import Fit
from crediting.pipeline.compare.judged import Judged, Trained
from crediting.pipeline.compare.published import Published


def score_notes(
    contest: Contest, judged: Sequence[Judged], tests: Mapping[float, Trained], name: str
) -> Iterator[str]:
    """Yield what datamodel scores are, over how many trainings, and who is ahead."""
    yield (
        "100 times the rank correlation of summed credits with the property of models trained from "
        "scratch, over coalitions of one size; intervals of 95 % over coalitions and training "
        "seeds, which allow for the share of all coalitions of that size that was trained, if it "
        "was trained more than once. The paper's interval is over seeds only."
    )
    for alpha, rows in contest.tests.items():
        test = tests.get(alpha)
        done, times = test.utilities.shape if test else (0, 0)
        said = f"alpha={alpha:g}: {done} coalitions of {int(rows.sum(axis=1)[0])} contributors"
        asked = f"{len(rows)} x {contest.trainings}"
        short = "" if (done, times) == (len(rows), contest.trainings) else f", of {asked} asked for"
        trainings = f"{times} trainings of each"
        if times == 1:
            trainings = "1 training of each, so that intervals are over coalitions alone"
        yield f"{said}, {trainings}{short}."
    yield from _verdict_notes(contest, judged)
    for one in judged:
        reason = None if one.fits or not tests else one.contestant.refusal(name)
        if reason:
            yield f"{one.contestant.name} gives no credits: {reason}"
    for alpha in tests:
        yield from _fit_notes(alpha, {one.contestant.name: one.fits.get(alpha) for one in judged})
        yield from _undefined(alpha, judged)
    for one in judged:
        node = contest.settings["scores"].get(one.contestant.name)
        if isinstance(node, Mapping) and one.scores:
            yield f"{one.contestant.name}: {node['note']}"
    published = Published(contest).of(name)
    if published:
        yield f"Published: {published['source']}; its intervals are over seeds only."
        yield from published.get("differences", [])


def _fit_notes(alpha: float, fits: Mapping[str, Fit | None]) -> Iterator[str]:
    """Say how many test coalitions were left out of whose fit, and who could not do without."""
    known = {name: found for name, found in fits.items() if found}
    left_out = [f"{name} {found.left_out}" for name, found in known.items() if found.left_out]
    if left_out:
        yield (
            f"Left out of the fits for alpha={alpha:g}, being test coalitions: "
            f"{', '.join(left_out)}."
        )
    leaking = [name for name, found in known.items() if found.leaks]
    if leaking:
        yield (
            f"Fitted to test coalitions of alpha={alpha:g} too, as they need every one: "
            f"{', '.join(leaking)}."
        )


def _undefined(alpha: float, judged: Sequence[Judged]) -> Iterator[str]:
    """Say whose credits rank no coalitions of one size."""
    names = [one.contestant.name for one in judged if alpha in one.fits and alpha not in one.scores]
    if names:
        yield (
            f"No score for alpha={alpha:g}, where what is predicted or what was measured is the "
            f"same for all coalitions, or there is one alone: {', '.join(names)}."
        )


def _verdict_notes(contest: Contest, judged: Sequence[Judged]) -> Iterator[str]:
    """Say whether the study's own credits are ahead of all others, beyond doubt or not."""
    main = contest.main_alpha
    others = [one for one in judged if one.contestant.name != OWN and main in one.scores]
    own = next((one.scores.get(main) for one in judged if one.contestant.name == OWN), None)
    if own is None or not others:
        return
    for kind, wording in (("baseline", "baseline"), ("game", "other method")):
        rivals = [one for one in others if one.contestant.kind == kind]
        if not rivals:
            continue
        best = max(rivals, key=lambda one: one.scores[main].score)
        theirs = best.scores[main]
        yield (
            f"alpha={main:g}: own {_told(own)}; the best {wording} is {best.contestant.name} with "
            f"{_told(theirs)}: {_apart(own, theirs)}."
        )
    ahead = [one.contestant.name for one in others if one.own_lead and one.own_lead.low > 0]
    if ahead:
        yield (
            f"alpha={main:g}: own is shown to be ahead (paired interval above 0) of "
            f"{', '.join(ahead)}."
        )


def _told(one: DatamodelScore) -> str:
    """Return a score with its interval, if it has one."""
    interval = "" if math.isnan(one.low) else f" [{one.low:.1f}, {one.high:.1f}]"
    return f"{one.score:.1f}{interval}"


def _apart(one: DatamodelScore, other: DatamodelScore) -> str:
    """Say whether the intervals of two scores have anything in common."""
    gap = max(one.low - other.high, other.low - one.high)
    if math.isnan(gap):
        return "there are too few coalitions for intervals"
    return f"the intervals {'do not overlap' if gap > 0 else 'overlap'}"


def warnings(contest: Contest, found: Sequence[Agreement]) -> Iterator[str]:
    """Yield a warning for every way of obtaining utilities that cannot be trusted."""
    for one in found:
        said = verdict(one.fidelity, contest.settings["fidelity"])
        if said and one.alpha is not None:
            yield f"{one.name}, alpha={one.alpha:g}: {said}"
