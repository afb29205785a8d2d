"""The errors this library raises.

Every message names the value received, the values allowed and what to do.  All derive from
`GncnError`, so that a caller can tell "you asked for something impossible" from a defect.
"""

from collections.abc import Iterable


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
