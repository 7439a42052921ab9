"""What the words of a command line are taken for: values that Hydra reads otherwise than typed."""

import hashlib
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from crediting.config.folders import CONFIG_DIR
from crediting.errors import ConfigError

_TAKES_A_WORD = (
    *("--config-dir", "-cd", "--config-path", "-cp", "--config-name", "-cn"),
    *("--cfg", "-c", "--package", "-p"),
)
_MAY_TAKE_ONE = ("--info", "-i")
"""Flags of Hydra that the next word belongs to; the latter if it is none of the settings."""
_LONGEST_NAME = 120  # bytes
_TEXTS = re.compile(
    r"\+{0,2}(name|paths\.outputs|game\.(path|properties|lower_is_better)|axioms\..+)"
)
"""Settings that are text, or lists of it."""


def unreadable(word: str) -> str:
    """Return what to say of a word that Hydra cannot read, with the word to type if it is known."""
    said = f"cannot read {word!r}: expected group=option or key=value; quote lists"
    key, equals, value = word.partition("=")
    if not equals:
        return said
    if re.search(r"""[{,]\s*(["'])[^"']*\1\s*:""", value):
        return f"{said}. In braces, what stands before a colon has no quotes"
    where, _, name = key.rpartition(".")
    braced = f"{where}={{{name}: {value}}}"
    if " " in name and _reads(braced):
        return f"{said}. A name with spaces goes into braces: {shlex.quote(braced)}"
    quoted = f"{key}={_quoted(value)}"
    return f"{said}. To have it as text, type {shlex.quote(quoted)}" if _reads(quoted) else said


def flags_first(words: Sequence[str]) -> list[str]:
    """Return a command line with flags ahead of all settings, where alone Hydra understands them.

    With -m, what is varied leads the settings: folders are named after it first.
    """
    flags: list[str] = []
    settings: list[str] = []
    for word, before in zip(words, ["", *words], strict=False):
        is_told = before in _TAKES_A_WORD or (before in _MAY_TAKE_ONE and "=" not in word)
        (flags if word.startswith("-") or is_told else settings).append(word)
    if {"-m", "--multirun"} & set(flags):
        settings.sort(key=lambda word: not _is_varied(word))
    return [*flags, *settings]


def of_this_experiment(words: Sequence[str]) -> list[str]:
    """Return a command line in which `+size=s` means what it does for the experiment beside it.

    The option is then `+size/s=<experiment>`: Hydra lets no appended group depend on another. It
    stands behind the experiment, over which it wins.

    Raises:
        ConfigError: no experiment is chosen, or several are.
    """
    words = list(words)
    sizes = [place for place, word in enumerate(words) if word.startswith("+size=")]
    chosen = [place for place, word in enumerate(words) if word.startswith("+experiment=")]
    for size in sizes:
        if len(chosen) != 1 or "," in words[chosen[0]]:
            raise ConfigError(f"{words[size]}: it makes one experiment small; add +experiment=...")
        name, experiment = (words[at].partition("=")[2] for at in (size, chosen[0]))
        known = sorted(path.name for path in (CONFIG_DIR / "size").iterdir())
        if name not in known:
            raise ConfigError(f"{words[size]}: there is no such size; known: {', '.join(known)}")
        words[size] = f"+size/{name}={experiment}"
        if size < chosen[0]:
            words[size], words[chosen[0]] = words[chosen[0]], words[size]
    return words


def fetch_command(words: Sequence[str]) -> str:
    """Return the command that fetches what a command line of `credit` needs."""
    others = [text for text in words if not text.startswith(("stage=", "dry_run="))]
    return shlex.join(["credit", "stage=fetch", *others])


def making_command(words: Sequence[str]) -> str | None:
    """Return the command that writes what `+size=miniature` reads, if a command line has that."""
    small = any(word.startswith("+size/miniature=") for word in words)
    return "python scripts/miniature_files.py" if small else None


def refuse_rewritten(words: Iterable[str]) -> None:
    """Refuse numbers and truths where text is meant, unless they come out as they are written.

    Raises:
        ConfigError: `name=1e3`, say, which would be 1000.0, or `name=1.50`, which would be 1.5.
    """
    for word in words:
        key, _, text = word.partition("=")
        if not _TEXTS.fullmatch(key):
            continue
        written = re.split(r"[\s,:\[\]{}]+", text)
        changed = [one for one in _scalars(_value(word)) if str(one) not in written]
        if changed:
            raise ConfigError(
                f"{key.lstrip('+')}: {text} is read as {changed[0]}; to have it as text, type "
                + shlex.quote(f"{key}={_quoted(text)}")
            )


def sweep_name(name: str, overrides: list[str]) -> str:
    """Return a folder name of its own for each job of a sweep, made of its overrides."""
    said = [text.lstrip("+~") for text in overrides]
    label = "__".join([name, *(text for text in said if not text.startswith(("name=", "paths.")))])
    plain = label.replace("/", "_").encode()
    if len(plain) <= _LONGEST_NAME and plain == label.encode():
        return label
    cut = plain[:_LONGEST_NAME].decode(errors="ignore")
    return f"{cut}-{hashlib.sha256(label.encode()).hexdigest()[:8]}"


def _quoted(value: str) -> str:
    """Return a value, or what a list of values holds, in Hydra's quotes."""
    if value.startswith("[") and value.endswith("]"):
        return "[" + ",".join(_quoted(one.strip()) for one in value[1:-1].split(",")) + "]"
    if re.fullmatch(r"""(["']).*\1""", value):
        return value
    escaped = value.replace('"', r"\"")
    return f'"{escaped}"'


def _value(word: str) -> Any:
    return OverridesParser.create().parse_override(word).value()


def _is_varied(word: str) -> bool:
    try:
        return OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        return False


def _reads(word: str) -> bool:
    try:
        _value(word)
    except HydraException:
        return False
    return True


def _scalars(value: Any) -> Iterator[int | float | bool]:
    if isinstance(value, int | float | bool):
        yield value
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for one in value:
            yield from _scalars(one)
