"""Where the variance of utilities comes from, and what a second of work is best spent on."""

import math

import numpy as np

from crediting.agreement import VarianceComponents, variance_components
from crediting.pipeline.calibrate.image_parts import ImagePart
from crediting.pipeline.calibrate.settings import Setting, proper_coalitions
from crediting.pipeline.estimate.stage import read_replicates


def halves(own: Setting) -> list[ImagePart]:
    """Return two halves of the images of the study's own setting; none of a single image.

    Each begins with the first prompt, as all images do: what reads prompts counts on it.
    """
    half = _half(own)
    return [ImagePart(own.study, start, start + half) for start in (0, half)] if half else []


def _half(own: Setting) -> int:
    prompts = len(own.study.drawn_prompts) if own.study.model.conditional else 1
    return own.study.generation.images // 2 // prompts * prompts


def components(own: Setting, name: str) -> VarianceComponents:
    """Return the components of the variance of a property's utility over proper coalitions.

    What generation adds is unknown where halves of the images are too few for the property.
    """
    study, rows = own.study, proper_coalitions(own.study)
    utilities = read_replicates(study, study.game, rows, name)
    parts = [read_replicates(one.study, one.study.game, rows, name) for one in halves(own)]
    first, second = parts or [np.full(utilities.shape, math.nan)] * 2
    share = _half(own) / study.generation.images
    return variance_components(utilities, first, second, share)


def best_spent(found: VarianceComponents, generation_share: float) -> str:
    """Return what to spend a second on, given the share of the seconds that grows with the images.

    With x times the images, an evaluation takes F + x G seconds and, of a variance that an
    estimator is left with, A + var(G) / x; over a fixed time the error of a mean is their product.
    It falls as x grows from 1 if generation has a larger share in the variance than in the time.
    A is the variance of training plus what the estimator cannot explain of the differences between
    coalitions: none of them, or at most all.

    Source: Cochran, "Sampling Techniques", 1977, section 10.6 (optimum subsampling fractions).
    """
    coalition, training, generation = (part.variance for part in found)
    if math.isnan(training + generation + generation_share):
        return "what a second is best spent on is not known"
    noise = training + generation
    least = generation / (noise + coalition) if noise + coalition else 0.0
    most = generation / noise if noise else 0.0
    between = f"{100 * least:.0f} to {100 * most:.0f} %" if most - least >= 0.005 else ""
    said = (
        f"generation makes {between or f'{100 * most:.0f} %'} of the variance that an estimator "
        f"is left with and {100 * generation_share:.0f} % of the seconds: "
    )
    if least > generation_share:
        return said + "more images per model help more than more coalitions"
    if most < generation_share:
        return said + "more coalitions, even of fewer images each, help more than more images"
    return (
        said + "between more images and more coalitions it depends on how much of the differences "
        "between coalitions the estimator explains"
    )
