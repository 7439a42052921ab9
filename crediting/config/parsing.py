"""What Hydra's parser of the command line needs on newer Pythons."""

from argparse import Action, ArgumentParser
from collections.abc import Iterator
from contextlib import contextmanager

_CHECK = "_check_help"


@contextmanager
def lazy_help() -> Iterator[None]:
    """Let Hydra make its parser.

    From Python 3.14 on argparse reads the help of an option when that is added. One of Hydra 1.3's
    is no text before it is printed, which ended every command in a traceback.
    """
    check = getattr(ArgumentParser, _CHECK, None)
    if check is None:
        yield
        return

    def check_text(parser: ArgumentParser, action: Action) -> None:
        if isinstance(action.help, str | None):
            check(parser, action)

    setattr(ArgumentParser, _CHECK, check_text)
    try:
        yield
    finally:
        setattr(ArgumentParser, _CHECK, check)
