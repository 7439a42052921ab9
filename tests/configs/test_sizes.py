import pytest

from crediting import config
from crediting.config.words import fetch_command
from crediting.errors import ConfigError

EXPERIMENTS = {path.stem for path in (config.CONFIG_DIR / "experiment").glob("*.yaml")}
EVALUATED = sorted(EXPERIMENTS - {"recorded"})
"""A recorded game has the size it has."""


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["+experiment=a", "seed=1"], ["+experiment=a", "seed=1"]),
        (["+experiment=a", "+size=miniature"], ["+experiment=a", "+size/miniature=a"]),
        (
            ["seed=1", "+size=miniature", "--cfg", "job", "+experiment=a", "name=x"],
            ["seed=1", "+experiment=a", "--cfg", "job", "+size/miniature=a", "name=x"],
        ),
    ],
)
def test_a_size_is_that_of_the_experiment_and_stands_behind_it(words, expected):
    assert config.of_this_experiment(words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+size=miniature"], "it makes one experiment small; add"),
        (["+size=miniature", "+experiment=a,b"], "it makes one experiment small"),
        (["+experiment=a", "+size=tiny"], r"\+size=tiny: there is no such size; known: miniature"),
    ],
)
def test_a_size_without_its_experiment_is_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        config.of_this_experiment(words)


@pytest.mark.parametrize("order", [1, -1])
def test_a_size_wins_over_the_experiment_and_the_command_line_over_both(resolved, order):
    words = ["+experiment=cifar_ddpm", "+size=miniature"][::order]
    small = resolved(*words, "finetuning.recipe.steps=5")
    whole = resolved("+experiment=cifar_ddpm")
    assert small["name"] == "cifar_ddpm_miniature"
    assert small["generation"]["images"] < whole["generation"]["images"]
    assert small["finetuning"]["recipe"]["steps"] == 5
    assert small["pruning"]["ratio"] == whole["pruning"]["ratio"]


@pytest.mark.parametrize("experiment", EVALUATED)
def test_every_experiment_has_a_miniature_of_the_same_classes(experiment, resolved):
    """Parts stay what they are; only numbers, names and places change."""
    whole = resolved(f"+experiment={experiment}")
    small = resolved(f"+experiment={experiment}", "+size=miniature")
    assert targets(whole) == targets(small)


def targets(node):
    if not isinstance(node, dict):
        return []
    return [v if k == "_target_" else (k, targets(v)) for k, v in sorted(node.items())]


def test_the_command_that_fetches_is_the_users_own():
    command = fetch_command(["+experiment=a", "stage=train", "dry_run=true", "x=[a b]"])
    assert command == "credit stage=fetch +experiment=a 'x=[a b]'"
