import pytest
import torch

from crediting.randomness import Stream
from crediting.training.examples import Examples

POINTS = Stream("points").normal(torch.arange(6), (2, 3, 3))
IDS = torch.tensor([4, 0, 4])


def full():
    mirrored = Examples(POINTS + 100, deviations=torch.full_like(POINTS, 0.5))
    return Examples(
        POINTS,
        deviations=torch.full_like(POINTS, 2.0),
        mirrored=mirrored,
        captions=torch.arange(2.0).view(2, 1, 1).expand(2, 4, 8).contiguous(),
        caption_of=torch.tensor([0, 1, 0, 1, 1, 0]),
    )


def test_points_without_deviations_are_drawn_as_they_are():
    drawn = Examples(POINTS).draw(IDS, None, Stream("draw"))
    assert torch.equal(drawn, POINTS[IDS])


def test_points_of_posteriors_are_drawn_around_their_means():
    means, deviations = torch.tensor([[3.0], [-1.0]]), torch.tensor([[0.5], [2.0]])
    examples = Examples(means, deviations=deviations)
    ids = torch.arange(2)
    draws = torch.stack([examples.draw(ids, None, Stream("d", step)) for step in range(4000)])
    torch.testing.assert_close(draws.mean(dim=0), means, atol=0.1, rtol=0)
    torch.testing.assert_close(draws.std(dim=0), deviations, rtol=0.05, atol=0)


def test_a_draw_depends_on_the_stream_and_the_example_only():
    examples = full()
    one = examples.draw(IDS, None, Stream("draw"))
    assert torch.equal(one[0], one[2])
    assert torch.equal(one, examples.draw(IDS, None, Stream("draw")))
    assert not torch.equal(one, examples.draw(IDS, None, Stream("other")))


def test_pixels_are_mirrored_left_to_right():
    flipped = torch.tensor([True, False, False])
    drawn = Examples(POINTS, in_pixels=True).draw(IDS, flipped, Stream("draw"))
    assert torch.equal(drawn[0], POINTS[4].flip(-1))
    assert torch.equal(drawn[1:], POINTS[IDS[1:]])


def test_latents_of_mirrored_images_are_those_that_were_encoded():
    flipped = torch.tensor([True, False, True])
    drawn, plain = (full().draw(IDS, which, Stream("draw")) for which in (flipped, None))
    assert torch.equal(drawn[1], plain[1])
    assert torch.equal(drawn[0], drawn[2])
    luck = (plain[0] - POINTS[4]) / 2.0
    torch.testing.assert_close(drawn[0], POINTS[4] + 100 + 0.5 * luck)


@pytest.mark.parametrize(
    ("examples", "can"),
    [(Examples(POINTS), False), (Examples(POINTS, in_pixels=True), True), (full(), True)],
)
def test_who_can_mirror(examples, can):
    assert examples.can_mirror is can


def test_conditions_are_the_captions_of_the_examples():
    given = full().conditions(IDS)["encoder_hidden_states"]
    assert given.shape == (3, 4, 8)
    assert given[:, 0, 0].tolist() == [1, 0, 1]
    assert Examples(POINTS).conditions(IDS) == {}


@pytest.mark.parametrize("examples", [Examples(POINTS), Examples(POINTS, in_pixels=True), full()])
def test_taken_apart_and_put_together_nothing_changes(examples):
    again = Examples.from_tensors(examples.tensors())
    assert again.tensors().keys() == examples.tensors().keys()
    for name, tensor in examples.tensors().items():
        assert torch.equal(tensor, again.tensors()[name])
    assert again.can_mirror == examples.can_mirror
    assert again.in_pixels == examples.in_pixels
    assert len(again) == 6
    moved = examples.to(torch.device("cpu"))
    assert torch.equal(moved.draw(IDS, None, Stream(0)), examples.draw(IDS, None, Stream(0)))
