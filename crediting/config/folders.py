"""Where options lie: those that are shipped, and a user's own."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from crediting.config import help_text
from crediting.config.schema import Schema
from crediting.errors import ConfigError

_PACKAGE = Path(__file__).resolve().parent.parent
CONFIG_DIR = next(
    folder
    for folder in (_PACKAGE / "configs", _PACKAGE.parent / "configs")
    if (folder / "config.yaml").is_file()
)
"""Inside the package when installed from a wheel, beside it in a checkout."""


def register() -> None:
    """Make the schema known to Hydra, what `credit --help` lists, and `${shipped:<path>}`.

    That is a file beside the options, wherever the package is installed.
    """
    ConfigStore.instance().store(name="schema", node=Schema)
    help_text.register()
    OmegaConf.register_new_resolver("shipped", lambda name: str(CONFIG_DIR / name), replace=True)


def config_dirs(folders: Sequence[str]) -> list[str]:
    """Return the words by which a command line names the folder of a user's own options."""
    own = [folder for folder in folders if Path(folder).resolve() != CONFIG_DIR]
    return [word for folder in own for word in ("--config-dir", folder)]


def refuse_shadowed_options(folders: Sequence[str]) -> None:
    """Refuse user options that bear a built-in's name: Hydra would silently ignore them.

    Args:
        folders: every folder that Hydra searches, CONFIG_DIR among them unless it was replaced.

    Raises:
        ConfigError: naming every such option.
    """
    searched = [Path(folder).resolve() for folder in folders]
    if CONFIG_DIR not in searched:
        return
    built_in = [path.relative_to(CONFIG_DIR) for path in sorted(CONFIG_DIR.rglob("*.yaml"))]
    clashes = [
        str(folder / path)
        for folder in searched
        if folder != CONFIG_DIR
        for path in [*built_in, Path("schema.yaml")]
        if (folder / path).exists()
    ]
    if clashes:
        raise ConfigError(
            "these options of yours bear the name of a built-in one, which would win silently; "
            "give them other names: " + ", ".join(clashes)
        )


def refuse_designs_of_methods(
    choices: Mapping[str, str], words: Sequence[str], folders: Sequence[str]
) -> None:
    """Refuse an estimator of a method whose option chose the design of the whole study.

    An option that brings a design cannot tell where it is put itself.

    Args:
        choices: the option that was chosen of each group.
        words: what the command line sets.
        folders: every folder that Hydra searches.

    Raises:
        ConfigError: naming the method's estimator, and how to choose designs.
    """
    if any(word.startswith("design=") for word in words):
        return
    own = _design_brought(choices.get("estimator"), folders)
    for group, option in choices.items():
        brought = _design_brought(option, folders) if group.startswith("estimator@") else own
        if brought not in (None, own) and choices.get("design") == brought:
            method = group.removeprefix("estimator@").removesuffix(".estimator")
            raise ConfigError(
                f"{group}={option}: it would choose design={brought} for the study itself; add "
                f"design={own or '<option>'} to keep the study's own, and "
                f"+design@{method}.design={brought} if the method is to have it"
            )


def _design_brought(estimator: str | None, folders: Sequence[str]) -> str | None:
    """Return the design that an option of the group estimator chooses, if it does."""
    files = [Path(folder, "estimator", f"{estimator}.yaml") for folder in folders]
    texts = [file.read_text(encoding="utf-8") for file in files if file.is_file()]
    found = re.search(r"override /design@_global_\.design: (\w+)", "\n".join(texts))
    return found and found[1]
