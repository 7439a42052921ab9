"""Which extractor a property reads, and who reads prompts, is settled before anything runs."""

from dataclasses import dataclass

import pytest

from crediting.errors import ConfigError
from crediting.pipeline.refusals import check_prompts, reader_of


@dataclass
class Gives:
    gives: tuple[str, ...]


@dataclass
class Needs:
    needs: str
    extractor: str | None


@dataclass
class Model:
    conditional: bool


@dataclass
class Drawing:
    prompts: object


EXTRACTORS = {
    "first": Gives(("logits",)),
    "second": Gives(("embeddings", "logits")),
    "third": Gives(("embeddings", "scores")),
}


@pytest.mark.parametrize(
    ("measured", "expected"),
    [
        (Needs("logits", None), "first"),
        (Needs("embeddings", None), "second"),
        (Needs("scores", None), "third"),
        (Needs("embeddings", "third"), "third"),
    ],
)
def test_a_property_reads_the_one_it_names_or_the_first_that_will_do(measured, expected):
    assert reader_of("p", measured, EXTRACTORS) == expected


@pytest.mark.parametrize(
    ("measured", "message"),
    [
        (
            Needs("colours", None),
            r"property\.p: it needs colours, which none of the chosen extractors gives;",
        ),
        (Needs("scores", "first"), r"property\.p: it needs scores, which first does not give"),
        (
            Needs("scores", "clip"),
            r"property\.p\.extractor: clip is not among .* extractor=\[first, second, third,clip\]",
        ),
    ],
)
def test_a_property_that_nothing_can_serve_is_refused(measured, message):
    with pytest.raises(ConfigError, match=message):
        reader_of("p", measured, EXTRACTORS)


@pytest.mark.parametrize(
    ("conditional", "prompts"), [(True, ["a"]), (True, "captions"), (False, None)]
)
def test_prompts_for_who_reads_them(conditional, prompts):
    check_prompts(Model(conditional), Drawing(prompts))


@pytest.mark.parametrize(
    ("conditional", "prompts", "message"),
    [
        (True, None, "draws what a prompt says, and there is none"),
        (False, ["a"], "reads no prompts, got"),
    ],
)
def test_prompts_that_do_not_fit_the_model_are_refused(conditional, prompts, message):
    with pytest.raises(ConfigError, match=rf"generation\.prompts: .*{message}"):
        check_prompts(Model(conditional), Drawing(prompts))
