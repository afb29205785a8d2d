"""The errors this library raises.

Every message names the value received, the values allowed and what to do.  All derive from
`GncnError`, so that a caller can tell "you asked for something impossible" from a defect.
"""

from collections.abc import Iterable
from numbers import Integral


class GncnError(Exception):
    """Base of all errors that this library raises on purpose."""


class ConfigError(GncnError, ValueError):
    """An option has an unknown name or a value that is not allowed."""


class DataError(GncnError, ValueError):
    """Data are missing, malformed, altered, or outside the allowed range."""


class RunError(GncnError):
    """A run folder can't be written, or doesn't hold what was asked for."""


class DivergenceError(GncnError, ArithmeticError):
    """Settling or learning produced values that are not finite."""


def unknown_choice(what: str, received: object, allowed: Iterable[object]) -> ConfigError:
    """The error for a value that is not one of `allowed`; `what` it is, say "activation"."""
    choices = ", ".join(repr(choice) for choice in allowed)
    return ConfigError(f"Unknown {what} {received!r}. Choose one of: {choices}.")


def check_whole(name: str, value: object, least: int | None = None) -> None:
    """Refuse what isn't a whole number, or is below `least`.

    Raises:
        ConfigError: naming the value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} must be a whole number; received {value!r}.")
    if least is not None and int(value) < least:
        raise ConfigError(f"{name} must be at least {least}; received {value}.")
