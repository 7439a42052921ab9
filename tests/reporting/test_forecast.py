import math

import numpy as np
import pytest

from crediting.design import Exhaustive
from crediting.estimators import Exact
from crediting.game.game import play
from crediting.reporting.forecast import Precision, Spent, forecast, humanise_seconds, noise_floor


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a second"),
        (1, "about 1 second"),
        (1.04, "about 1 second"),
        (3.14, "about 3.1 seconds"),
        (119.4, "about 119 seconds"),
        (119.6, "about 2 minutes"),
        (720, "about 12 minutes"),
        (7199, "about 2 hours"),
        (9000, "about 2.5 hours"),
        (47.6 * 3600, "about 2 days"),
        (1000 * 86400, "about 2.7 years"),
    ],
)
def test_humanise_seconds(seconds, said):
    assert humanise_seconds(seconds) == said


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf")])
def test_impossible_durations_are_refused(seconds):
    with pytest.raises(ValueError, match="duration"):
        humanise_seconds(seconds)


# ------------------------------------------------------------------------------ how fast it falls

NAN = math.nan


def precision(rate, growth=2.0, now=1.0, floor=0.0):
    """Return what is known of an error that falls as coalitions^-rate towards a floor."""
    earlier = math.sqrt(floor**2 + (now**2 - floor**2) * growth ** (2 * rate))
    return Precision(now, earlier, growth, floor)


@pytest.mark.parametrize("floor", [0.0, 0.3])
@pytest.mark.parametrize("rate", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("growth", [1.5, 2.0])
def test_the_rate_is_found_and_halves_the_error(rate, growth, floor):
    known = precision(rate, growth, 0.8, floor)
    assert known.rate == pytest.approx(rate)
    then = math.sqrt(floor**2 + (0.8**2 - floor**2) * known.to_halve ** (-2 * rate))
    assert then == pytest.approx(0.4)


def test_rates_beyond_belief_are_cut_off():
    assert precision(0.1).rate == 0.25
    assert precision(-1.0).rate == 0.5  # an error that grew tells nothing of how it will fall
    assert precision(3.0).rate == 2.0


@pytest.mark.parametrize(
    "unknown",
    [Precision(1.0, NAN, 2.0, 0.0), Precision(1.0, 2.0, 1.0, 0.0), Precision(1.0, NAN, 1.0, NAN)],
)
def test_an_unknown_rate_is_the_usual_one(unknown):
    assert unknown.rate == 0.5
    assert unknown.to_halve == pytest.approx(4)


def test_an_error_that_was_at_the_floor_before_tells_no_rate():
    assert Precision(1.0, 0.0, 2.0, 0.0).rate == Precision(0.6, 0.5, 2.0, 0.5).rate == 0.5


def test_an_unknown_floor_is_none():
    assert Precision(1.0, 2.0, 2.0, NAN).to_halve == Precision(1.0, 2.0, 2.0, 0.0).to_halve == 2


def test_a_floor_above_half_the_error_is_never_left():
    assert math.isinf(precision(0.5, floor=0.5).to_halve)
    assert math.isfinite(precision(0.5, floor=0.499).to_halve)


@pytest.mark.parametrize("n_players", [1, 2, 5, 9])
def test_the_floor_is_the_noise_of_exact_values(n_players):
    sample = play(lambda rows: rows.sum(axis=1), Exhaustive().sample(n_players), 0.7)
    expected = Exact(0.95)(sample).std_errors
    np.testing.assert_allclose(noise_floor(n_players, 0.7), expected)


def test_the_floor_of_many_players_is_that_of_the_four_largest_weights():
    assert noise_floor(3000, 1.0) == pytest.approx(2 / 3000, rel=1e-3)
    assert math.isnan(noise_floor(5, NAN))


# ------------------------------------------------------------------------------ what is said

SPENT = Spent(coalitions=100, left=10_000, replicates=1, mean_seconds=9.6, workers=4)


def test_half_the_width_by_the_usual_law():
    assert forecast({"fid": precision(0.5)}, SPENT) == (
        "Intervals half as wide for fid take 4x as many coalitions, i.e. 300 more to evaluate: "
        "about 12 minutes on 4 workers."
    )


def test_the_slowest_property_and_replicates_count():
    both = {"fid": precision(0.5), "kid": precision(1.0)}
    said = forecast(both, SPENT._replace(replicates=2, workers=1))
    assert "for fid and kid take 4x" in said
    assert "300 more to evaluate x 2 replicates: about 96 minutes on 1 worker." in said
    assert forecast(both, SPENT._replace(workers=2)).endswith("about 24 minutes on 2 workers.")


def test_no_more_than_there_are():
    for left, all_others in ((301, False), (300, True), (7, True)):
        said = forecast({"fid": precision(0.5)}, SPENT._replace(left=left))
        assert ("Evaluating all other coalitions" in said) is all_others
        assert f"{min(left, 300)} more to evaluate" in said
    noisy, calm = {"fid": precision(0.5, floor=0.1)}, {"kid": precision(0.5)}
    for known, noise in ((noisy, True), (calm, False), ({**noisy, **calm}, True)):
        assert ("exact but for noise" in forecast(known, SPENT._replace(left=7))) is noise


def test_everything_evaluated_leaves_nothing_to_evaluate():
    assert "estimator=exact" in forecast({"fid": precision(0.5)}, SPENT._replace(left=0))


def test_what_noise_leaves_asks_for_replicates_instead():
    said = forecast({"fid": precision(0.5, floor=0.9)}, SPENT._replace(replicates=2))
    assert said.startswith("More coalitions alone cannot halve the intervals for fid")
    assert "raise replicates (now 2)" in said
    assert "more to evaluate" not in said


def test_unknown_and_exact_properties_are_told_apart():
    known = {
        "fid": Precision(NAN, NAN, 2.0, NAN),
        "kid": Precision(0.0, NAN, 2.0, NAN),
        "is": precision(0.5),
    }
    said = forecast(known, SPENT)
    assert "credits for fid is unknown" in said
    assert "credits for kid are exact" in said
    assert "for is take 4x" in said
    assert "More coalitions alone cannot" not in said


def test_without_seconds_only_coalitions_are_told():
    said = forecast({"fid": precision(0.5)}, SPENT._replace(mean_seconds=NAN))
    assert said.endswith("i.e. 300 more to evaluate.")


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="at least 1 worker"):
        forecast({"fid": precision(0.5)}, SPENT._replace(workers=0))
