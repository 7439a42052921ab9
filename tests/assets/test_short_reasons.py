import pytest

from crediting.assets.messages import in_short


@pytest.mark.parametrize(
    ("said", "short"),
    [
        (
            "Weights only load failed. In PyTorch 2.6, we changed. Do so.",
            "Weights only load failed",
        ),
        ("cannot read 'a/b.safetensors'. ", "cannot read 'a/b.safetensors'"),
        ("expected 0.5, got a.b\n  and more", "expected 0.5, got a.b and more"),
        ("", "ValueError"),
    ],
)
def test_of_what_a_library_says_the_first_sentence_is_kept(said, short):
    assert in_short(ValueError(said)) == short
