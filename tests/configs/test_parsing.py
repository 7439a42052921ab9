"""Hydra's parser where argparse checks help texts early, as it does from Python 3.14 on."""

from argparse import ArgumentParser, _ActionsContainer

import pytest
from hydra._internal.utils import get_args_parser

from crediting import config


@pytest.fixture
def strict(monkeypatch):
    """Make argparse read every help text as soon as its option is added."""
    if hasattr(ArgumentParser, "_check_help"):
        return
    add = _ActionsContainer.add_argument

    def check(self, action):
        if action.help:
            try:
                "%" in action.help  # noqa: B015  (as argparse looks for what it would fill in)
                action.help % {"prog": "", **vars(action)}
            except (TypeError, ValueError, KeyError) as error:
                raise ValueError("badly formed help string") from error

    def add_argument(self, *args, **kwargs):
        action = add(self, *args, **kwargs)
        if isinstance(self, ArgumentParser):
            self._check_help(action)
        return action

    monkeypatch.setattr(ArgumentParser, "_check_help", check, raising=False)
    monkeypatch.setattr(ArgumentParser, "add_argument", add_argument)


@pytest.mark.usefixtures("strict")
def test_hydra_makes_its_parser_only_where_help_may_be_lazy():
    with pytest.raises(ValueError, match="badly formed"):
        get_args_parser()
    with config.lazy_help():
        assert get_args_parser().parse_args(["--shell-completion"]).shell_completion
    with pytest.raises(ValueError, match="badly formed"):
        get_args_parser()


@pytest.mark.usefixtures("strict")
def test_other_help_is_checked_as_before():
    with config.lazy_help(), pytest.raises(ValueError, match="badly formed"):
        ArgumentParser().add_argument("--share", help="100 % of it")
