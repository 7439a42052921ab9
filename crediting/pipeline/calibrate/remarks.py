"""What stands under the tables of a calibration, and what it proposes."""

import math
from collections.abc import Iterator

from crediting.pipeline.calibrate.choices import IMAGES
from crediting.pipeline.calibrate.proposal import Found
from crediting.pipeline.calibrate.settings import proper_coalitions
from crediting.pipeline.calibrate.variance import best_spent

REPEAT = "unchanged, second replicate"


def setting_notes(found: Found, name: str) -> Iterator[str]:
    """Yield how far the table of a property can be trusted."""
    credits = found.credits[name]
    if credits is None:
        yield "The credits of the study's own setting cannot be estimated: coalitions failed."
        return
    width = float((credits.ci_high - credits.ci_low).mean())
    if math.isnan(width):
        yield (
            f"estimator={credits.estimator} gives no intervals here, so no setting can be said to "
            "agree; choose another estimator for calibrating."
        )
        return
    total = credits.v_full - credits.v_empty
    yield (
        f"The intervals of the study's own credits are those that {credits.n_coalitions} "
        f"coalitions allow, {width:.3g} wide in the mean, where v(N) - v(empty) is {total:.3g}. "
        "From more coalitions they would be narrower and ask more of a setting."
    )


def variance_notes(found: Found, name: str) -> Iterator[str]:
    """Yield what follows from the components of the variance of a property."""
    said = best_spent(found.components[name], found.costs.generation_share)
    yield f"{said[0].upper()}{said[1:]}."


def reading_notes(found: Found) -> Iterator[str]:
    """Yield what the tables show, for all properties."""
    study = found.settings.own.study
    m, times = len(proper_coalitions(study)), len(study.replicates)
    yield (
        f"Settings: utilities of {m} coalitions, the first of the design but for the empty and the "
        f"grand one, means of {times} replicates, against those of the study's own setting: rank "
        "correlation with its 95 % interval over coalitions (bootstrap), and mean absolute "
        "difference."
    )
    yield (
        "Credits inside: contributors whose credit, estimated from these coalitions, lies in the "
        "interval of the study's own setting; farthest credit: the largest difference over half "
        "the width of that interval."
    )
    yield (
        "A setting agrees if all credits are inside and the interval of the rank correlation does "
        f"not go below {found.settings.threshold:g}."
    )
    yield (
        f"{REPEAT}: its second replicate against its first, which is how well luck lets a setting "
        "agree. The others share their random numbers with it and are means, so they may do better."
    )
    yield (
        "Seconds: of one coalition in one replicate, as recorded; they compare only if all were "
        "evaluated on the same machine. Those of fewer images alone, which are measured on images "
        "that were there, are worked out from the other settings."
    )
    yield (
        "Variance: of one utility by one training and its images, over these coalitions. Coalition "
        "is what credits are made of; training is other batches and noise; generation is other "
        f"images, told from the two halves of the {study.generation.images} images of one model. "
        "By the method of moments; negative estimates are shown as 0. What all coalitions of a "
        "replicate have in common, as they share random numbers, cancels in credits and is left "
        "out."
    )
    if len(study.sample) < 2 ** len(study.partition) - 2:
        yield (
            "A further replicate takes as long as a further coalition and tells less, as long as "
            "there are coalitions that were not evaluated."
        )
    yield from found.settings.left_out


def proposal_text(found: Found) -> str:
    """Return the setting that is proposed and what it was judged by, or that none is."""
    best = found.proposal
    if best is None:
        return (
            "No setting that was tried is cheaper and agrees for every property: stay with the "
            "study's own."
        )
    assert best.judgements is not None
    judged = "; ".join(
        f"{name}: rank correlation {one.agreement.spearman:.2f} (95 % interval "
        f"{one.agreement.low:.2f} to {one.agreement.high:.2f}), {one.inside} of "
        f"{one.of} credits in their intervals"
        for name, one in best.judgements.items()
    )
    faster = best.times_as_fast(found.costs.own)
    speed = "" if math.isnan(faster) else f", {faster:.1f} times as fast"
    estimated = " by estimate" if best.setting.part and speed else ""
    lines = [f"Proposed{speed}{estimated}:", "", f"    credit ... {best.setting.name}", ""]
    coalitions = len(proper_coalitions(best.setting.study))
    lines.append(f"Judged on {coalitions} coalitions by {judged}. Nothing was changed.")
    if best.setting.factor == IMAGES:
        lines.append("This changes the game: all coalitions must be evaluated again.")
    return "\n".join(lines)
