"""What executors refuse of their settings: each message names the key."""

from crediting.errors import ConfigError


def require(key: str, value: object, expected: str, holds: bool) -> None:
    """Raise ConfigError unless it holds that a setting is as expected."""
    if not holds:
        raise ConfigError(f"executor.{key} must be {expected}, got {value!r}")


def require_count(key: str, value: object, least: int, or_auto: bool = False) -> None:
    """Raise ConfigError unless a setting is an integer of at least 0 or 1, or "auto" if it may."""
    expected = "a positive integer" if least else "0 or a positive integer"
    if or_auto:
        expected += " or auto"
    whole = isinstance(value, int) and not isinstance(value, bool) and value >= least
    require(key, value, expected, whole or (or_auto and value == "auto"))
