"""Where options lie: those that are shipped, and a user's own."""

from collections.abc import Sequence
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
