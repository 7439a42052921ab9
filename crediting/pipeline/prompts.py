"""The prompts whose images a study draws."""

from crediting.errors import ConfigError
from crediting.interfaces import Planned


def prompts_of(study: Planned) -> list[str]:
    """Return the prompts to draw, in order; of captions as many as there are images at most.

    However few are drawn, captions come from all over the dataset, whose rows are sorted by path
    and so by contributor.

    Raises:
        ConfigError: captions are asked for, and there are none.
    """
    asked = study.generation.prompts
    if asked is None or not isinstance(asked, str):
        return list(asked or ())
    captions = captions_of(study)
    return [captions[row] for row in _spread(len(captions))[: study.generation.images]]


def captions_of(study: Planned) -> list[str]:
    """Return the captions of the dataset, each once; raises ConfigError if it has none."""
    columns = study.dataset.columns()
    if "caption" not in columns:
        raise ConfigError(
            "generation.prompts: captions are asked for, and this dataset has none; give a list "
            "of prompts"
        )
    return list(dict.fromkeys(str(caption) for caption in columns["caption"]))


def _spread(count: int) -> list[int]:
    """Return 0 .. count - 1 so that every beginning is spread evenly: by their bits, reversed.

    Source: van der Corput, "Verteilungsfunktionen", 1935.
    """
    digits = max(count - 1, 1).bit_length()
    return sorted(range(count), key=lambda number: f"{number:0{digits}b}"[::-1])
