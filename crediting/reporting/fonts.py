"""Which fonts a figure is written in: names of people come in all scripts."""

from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

from crediting.progress import say

FIRST = "DejaVu Sans"
"""Comes with matplotlib, and has Latin, Greek, Cyrillic, Arabic and Hebrew."""
OTHERS = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP"),
    *("Noto Sans KR", "Source Han Sans", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "WenQuanYi Micro Hei", "SimHei"),
    *("Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Symbola"),
)
"""Fonts of other scripts that systems bring along; whichever are installed are looked through."""


def write_in_fonts(figure: Any) -> None:
    """Set the fonts of all texts of a figure, and say once which characters none of them has."""
    texts = figure.findobj(Text)
    characters = {character for text in texts for character in text.get_text()}
    families = [FIRST, *_installed()] if lacking([FIRST], characters) else [FIRST]
    for text in texts:
        text.set_fontfamily(families)
    if missing := lacking(families, characters):
        _tell("".join(sorted(missing)[:10]))


def lacking(families: Sequence[str], characters: Iterable[str]) -> set[str]:
    """Return the characters that are to be seen and that no font of these families has."""
    known = set().union(*map(_characters, families))
    return {one for one in characters if one.isprintable() and ord(one) not in known}


@cache
def _installed() -> list[str]:
    names = {font.name for font in fontManager.ttflist}
    return [name for name in OTHERS if name in names]


@cache
def _characters(family: str) -> frozenset[int]:
    return frozenset(get_font(findfont(FontProperties(family=family))).get_charmap())


@cache
def _tell(characters: str) -> None:
    say(
        f"figures: no font of this machine has {characters}, so empty boxes stand there; tables "
        "have every name as it is. Install a font of that script, such as Noto Sans CJK"
    )
