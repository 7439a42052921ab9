"""From credits and what is known of their errors to an attribution; every estimator ends here."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from crediting.errors import ConfigError
from crediting.game.attribution import Attribution
from crediting.game.coalition import CoalitionMatrix, ends
from crediting.game.game import EvaluatedSample

Floats = NDArray[np.float64]

DRAWS = 2000
"""Joint draws of the credits; a probability of 1/2 is told to within 0.02 by so many."""
SEED = 20240711
"""Of these draws, the same for every attribution: equal errors give equal probabilities."""


def check_confidence(confidence: float) -> None:
    """Raise ConfigError unless a confidence level lies between 0 and 1."""
    if not 0 < confidence < 1:
        raise ConfigError(
            "estimator.confidence: expected a number between 0 and 1, "
            f"got {confidence}; 0.95 is usual."
        )


def by_covariance(
    credits: Floats,
    covariance: Floats,
    degrees: float,
    sample: EvaluatedSample,
    name: str,
    confidence: float,
    noise: Floats,
    explanation: str = "",
) -> Attribution:
    """Return credits (n,) whose errors have a covariance (n, n), with Student intervals.

    Args:
        credits: best estimates.
        covariance: of their errors; zero if there are none.
        degrees: of freedom of the Student distribution; infinite for a normal one.
        sample: what they were estimated from.
        name: of the estimator.
        confidence: of the intervals.
        noise: standard errors (n,) from the noise of utilities alone, NaN where unknown.
        explanation: see `Attribution`.
    """
    errors = np.sqrt(np.clip(np.diag(covariance), 0, None))
    reach = stdtrit(degrees, (1 + confidence) / 2) * errors
    draws = credits + _student_draws(covariance, degrees)
    bounds = credits - reach, credits + reach
    return _attribution(
        credits, errors, bounds, noise, draws, confidence, explanation, sample, name
    )


def by_resampling(
    credits: Floats,
    resampled: Floats,
    sample: EvaluatedSample,
    name: str,
    confidence: float,
    noise: Floats,
) -> Attribution:
    """Return credits (n,) with percentile intervals of a bootstrap, credits (r, n).

    Resamples are stretched about the credits to the measured noise where that alone is more: they
    cannot show that of coalitions which were drawn again and again, or of which all are alike.
    """
    errors = resampled.std(axis=0, ddof=1)
    still = (errors == 0) & (noise > 0)
    if still.any():  # nothing to stretch: draws of the noise itself
        luck = np.random.default_rng(SEED).normal(size=resampled.shape)
        resampled = np.where(still, credits + noise * luck, resampled)
        errors = np.where(still, noise, errors)
    with np.errstate(divide="ignore", invalid="ignore"):
        stretch = np.where(errors > 0, np.fmax(noise / errors, 1.0), 1.0)
    draws = credits + stretch * (resampled - credits)
    low, high = np.quantile(draws, [(1 - confidence) / 2, (1 + confidence) / 2], axis=0)
    return _attribution(
        credits, stretch * errors, (low, high), noise, draws, confidence, "", sample, name
    )


def without_sampling_error(
    credits: Floats,
    sample: EvaluatedSample,
    name: str,
    confidence: float,
    noise: Floats,
    explanation: str = "",
) -> Attribution:
    """Return credits (n,) of which all coalitions in question were evaluated.

    What remains is the noise of their utilities: where it was measured it is the standard error.
    """
    errors = np.zeros_like(credits) if np.isnan(noise).any() else noise
    covariance, degrees = np.diag(errors**2), sample.noise_degrees
    return by_covariance(credits, covariance, degrees, sample, name, confidence, noise, explanation)


def unknown(
    credits: Floats,
    sample: EvaluatedSample,
    name: str,
    explanation: str = "",
    noise: Floats | None = None,
) -> Attribution:
    """Return credits (n,) of whose errors nothing can be told, but for noise where it is given."""
    credits = np.asarray(credits, dtype=np.float64)  # own estimators may hand on integers
    nothing, none = np.full_like(credits, np.nan), np.empty((0, len(credits)))
    noise = nothing if noise is None else noise
    return _attribution(
        credits, nothing, (nothing, nothing), noise, none, math.nan, explanation, sample, name
    )


def _attribution(
    credits: Floats,
    errors: Floats,
    bounds: tuple[Floats, Floats],
    noise: Floats,
    draws: Floats,
    confidence: float,
    explanation: str,
    sample: EvaluatedSample,
    name: str,
) -> Attribution:
    return Attribution(
        credits=credits,
        std_errors=errors,
        ci_low=bounds[0],
        ci_high=bounds[1],
        noise_errors=noise,
        draws=draws,
        confidence=confidence,
        explanation=explanation,
        v_empty=sample.v_empty,
        v_full=sample.v_full,
        estimator=name,
        n_coalitions=len(sample),
    )


def noise_errors(
    coalitions: CoalitionMatrix, weights: Floats, ends_weights: Floats, noise_variance: float
) -> Floats:
    """Return the standard errors (n,) that noise alone gives credits linear in the utilities.

    credits = weights @ utilities + ends_weights @ (v_empty, v_full). A coalition that occurs more
    than once, or is an end, is one evaluation with one error.

    Args:
        coalitions: that the utilities are of, (m, n).
        weights: (n, m).
        ends_weights: (n, 2).
        noise_variance: of a utility.
    """
    rows = np.packbits(np.concatenate([coalitions, ends(coalitions.shape[1])]), axis=1)
    _, which = np.unique(rows, axis=0, return_inverse=True)
    total = np.zeros((which.max() + 1, len(weights)))
    np.add.at(total, which.ravel(), np.concatenate([weights, ends_weights], axis=1).T)
    return np.sqrt(noise_variance * (total**2).sum(axis=0))


def not_below(covariance: Floats, errors: Floats) -> Floats:
    """Return a covariance (n, n) whose standard errors are at least these (n,), NaN for unknown.

    Where a credit hangs on a single utility, so does its error from leaving out units, and may be
    small by chance; the noise of that utility, if measured, is not.
    """
    return covariance + np.diag(np.fmax(errors**2 - np.diag(covariance), 0))


def degrees_with_noise(
    degrees: float, noise: Floats, covariance: Floats, noise_degrees: float
) -> float:
    """Return the degrees of freedom, no more than those of variances that are partly noise.

    Source: Satterthwaite, "An approximate distribution of estimates of variance components", 1946.

    Args:
        degrees: with which the covariance (n, n) of the credits would else be known.
        noise: the part (n,) of their variances that noise makes; NaN where it is unknown.
        covariance: with that.
        noise_degrees: with which the noise is known.
    """
    whole = float(np.trace(covariance))
    share = float(noise.sum()) / whole if whole > 0 and not np.isnan(noise).any() else 0.0
    both = (1 - share) ** 2 / degrees + share**2 / noise_degrees
    return min(degrees, 1 / both) if both else degrees


def _student_draws(covariance: Floats, degrees: float) -> Floats:
    """Return draws (DRAWS, n) from a Student distribution around zero; one if there is no error."""
    n_players = len(covariance)
    if not np.any(covariance):
        return np.zeros((1, n_players))
    generator = np.random.default_rng(SEED)
    normal = generator.normal(size=(DRAWS, n_players))
    if np.isfinite(degrees):
        normal /= np.sqrt(generator.chisquare(degrees, size=(DRAWS, 1)) / degrees)
    values, vectors = np.linalg.eigh(covariance)
    # The symmetric root: where eigenvalues are alike, rounding turns the vectors, but not this.
    return normal @ (vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T
