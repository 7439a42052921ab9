"""What baselines refuse of their settings: each message begins with the key."""

from collections.abc import Collection

from crediting.errors import ConfigError


def check_choice(key: str, value: str, choices: Collection[str]) -> None:
    """Raise ConfigError if a setting is none of the choices."""
    if value not in choices:
        raise ConfigError(f"{key}: expected one of {', '.join(choices)}, got {value!r}")


def check_count(key: str, value: int) -> None:
    """Raise ConfigError if a setting is less than one."""
    if value < 1:
        raise ConfigError(f"{key}: expected 1 or more, got {value}")


def check_positive(key: str, value: float | None) -> None:
    """Raise ConfigError if a setting is neither a positive number nor null."""
    if value is not None and not value > 0:
        raise ConfigError(f"{key}: expected a positive number, got {value}")
