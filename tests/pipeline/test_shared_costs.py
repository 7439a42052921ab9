"""What is shared is charged whole to each that needed it, whoever happened to make it."""

import time

import pytest

from crediting.pipeline.compare.costs import SharedCosts, costs_of


@pytest.fixture
def wait(monkeypatch):
    """Return `wait(seconds)`, which takes exactly so long, and no time passes otherwise."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def pass_by(seconds):
        now[0] += seconds

    return pass_by


def gradients(costs, wait):
    """Use images, and gradients that need the same images."""
    if costs.knows("gradients"):
        costs.use("gradients")
        return
    with costs.making("gradients"):
        images(costs, wait)
        wait(10)


def images(costs, wait):
    if costs.knows("images"):
        costs.use("images")
        return
    with costs.making("images"):
        wait(100)


def scores(costs, wait, name, *parts):
    with costs.making(name) as seconds:
        for part in parts:
            part(costs, wait)
        wait(1)
    return seconds


@pytest.mark.parametrize("parts", [(gradients,), (gradients, images), (images, gradients)])
def test_all_that_was_needed_counts_once_for_each(wait, parts):
    costs = SharedCosts()
    for name in ("first", "second", "third"):
        found = scores(costs, wait, name, *parts)
        assert found == {"images": 100, "gradients": 10, name: 1}


def test_images_that_somebody_else_drew_count_where_gradients_are_reused(wait):
    costs = SharedCosts()
    assert scores(costs, wait, "pixels", images) == {"images": 100, "pixels": 1}
    for name in ("trak", "das"):
        found = scores(costs, wait, name, gradients)
        assert found == {"images": 100, "gradients": 10, name: 1}
    assert scores(costs, wait, "size") == {"size": 1}


def test_what_lies_in_the_store_costs_what_it_once_took(wait):
    """A second process reads the images in no time, and is told what gradients took."""
    costs = SharedCosts()
    with costs.making("scores") as seconds:
        with costs.making("images"):
            wait(0.5)
        costs.use("gradients", {"images": 100.0, "gradients": 10.0})
        wait(1)
    assert seconds == {"images": 100, "gradients": 10, "scores": 1}


def test_what_failed_is_not_known(wait):
    costs = SharedCosts()
    with pytest.raises(ValueError, match="broken"), costs.making("images"):
        raise ValueError("broken")
    assert not costs.knows("images")
    assert scores(costs, wait, "pixels", images) == {"images": 100, "pixels": 1}


def test_what_was_stored_before_parts_were_told_costs_what_it_took():
    assert costs_of({"seconds": 5.0, "facts": {"seconds": {"images": 3.0, "trak": 2.0}}}) == {
        "images": 3.0,
        "trak": 2.0,
    }
    assert costs_of({"seconds": 5.0, "facts": {"shared_seconds": []}}) == {"": 5.0}
