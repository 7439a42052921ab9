"""What stands under the tables of a comparison."""

from collections.abc import Iterator, Mapping, Sequence

from crediting.agreement import verdict
from crediting.pipeline.compare.agreements import Agreement
from crediting.pipeline.compare.contest import OWN, Contest
from crediting.pipeline.compare.judged import Judged, Trained
from crediting.pipeline.compare.published import published_facts


def score_notes(
    contest: Contest, judged: Sequence[Judged], tests: Mapping[float, Trained], name: str
) -> Iterator[str]:
    """Yield what datamodel scores are, over how many trainings, and who is ahead."""
    yield (
        "100 times the rank correlation of summed credits with the property of models trained from "
        "scratch, over coalitions of one size; intervals of 95 % over coalitions and training "
        "seeds. The paper's interval is over seeds only."
    )
    for alpha, rows in contest.tests.items():
        test = tests.get(alpha)
        done, times = test.utilities.shape if test else (0, 0)
        said = f"alpha={alpha:g}: {done} coalitions of {int(rows.sum(axis=1)[0])} contributors"
        asked = f"{len(rows)} x {contest.trainings}"
        short = "" if (done, times) == (len(rows), contest.trainings) else f", of {asked} asked for"
        trainings = "1 training" if times == 1 else f"{times} trainings"
        yield f"{said}, {trainings} of each{short}."
    yield from _verdict_notes(contest, judged)
    dropped = {one.contestant.name: one.fits.get(contest.main_alpha) for one in judged}
    left_out = [f"{key} {found.left_out}" for key, found in dropped.items() if found]
    left_out = [text for text in left_out if not text.endswith(" 0")]
    if left_out:
        yield (
            f"Left out of the fits for alpha={contest.main_alpha:g}, being test coalitions: "
            f"{', '.join(left_out)}."
        )
    leaking = [key for key, found in dropped.items() if found and found.leaks]
    if leaking:
        yield f"Fitted to test coalitions too, as they need every one: {', '.join(leaking)}."
    for one in judged:
        node = contest.settings["scores"].get(one.contestant.name)
        if isinstance(node, Mapping) and one.scores:
            yield f"{one.contestant.name}: {node['note']}"
    published = published_facts(contest, name)
    if published:
        yield f"Published: {published['source']}; its intervals are over seeds only."
        yield from published.get("differences", [])


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
        apart = "do not overlap" if own.low > theirs.high else "overlap"
        yield (
            f"alpha={main:g}: own {own.score:.1f} [{own.low:.1f}, {own.high:.1f}]; the best "
            f"{wording} is {best.contestant.name} with {theirs.score:.1f} [{theirs.low:.1f}, "
            f"{theirs.high:.1f}]: the intervals {apart}."
        )


def warnings(contest: Contest, found: Sequence[Agreement]) -> Iterator[str]:
    """Yield a warning for every way of obtaining utilities that cannot be trusted."""
    for one in found:
        if one.alpha == contest.main_alpha:
            said = verdict(one.fidelity, contest.settings["fidelity"])
            if said:
                yield f"{one.name}: {said}"
