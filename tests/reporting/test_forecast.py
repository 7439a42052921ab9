import numpy as np
import pytest

from crediting.reporting import forecast, humanise_seconds

SAMPLED, EXACT, UNKNOWN = np.full(3, 0.1), np.zeros(3), np.array([0.1, np.nan, 0.1])


def test_half_the_interval_takes_three_times_as_many_more():
    assert forecast(100, 9.6, 4, SAMPLED) == (
        "To be twice as certain (intervals half as wide) takes 4x as many coalitions, "
        "i.e. 300 more to evaluate: about 12 minutes on 4 workers."
    )


def test_one_worker_and_thousands():
    sentence = forecast(512, 60, 1, SAMPLED)
    assert sentence.endswith("1,536 more to evaluate: about 26 hours on 1 worker.")


def test_exact_credits_leave_nothing_to_sample():
    assert "nothing remains uncertain from the sampling" in forecast(8, 1.0, 1, EXACT)


def test_unknown_uncertainty_is_said():
    assert "unknown" in forecast(8, 1.0, 1, UNKNOWN)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "less than a second"),
        (1, "about 1 second"),
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


def test_no_worker_is_refused():
    with pytest.raises(ValueError, match="at least 1 worker"):
        forecast(8, 1.0, 0, SAMPLED)
