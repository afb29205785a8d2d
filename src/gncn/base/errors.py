"""The errors this library raises.

Every message names the value received, the values allowed and what to do.  All derive from
`GncnError`, so that a caller can tell "you asked for something impossible" from a defect.
"""

import reprlib
from collections.abc import Iterable
from numbers import Integral

from gncn.base.shown import shown

MAX_MESSAGE = 8_000
"""Characters of a message: more than any needs that doesn't quote a huge value."""
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 4, 200, 200, 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 20


class GncnError(Exception):
    """Base of all errors that this library raises on purpose.

    Of a message that quotes too much, the middle is left out.  Signs that a terminal would obey
    are written as escapes.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(shortened(one)) if isinstance(one, str) else one for one in args))


class ConfigError(GncnError, ValueError):
    """An option has an unknown name or a value that is not allowed."""


class DataError(GncnError, ValueError):
    """Data are missing, malformed, altered, or outside the allowed range."""


class RunError(GncnError):
    """A run folder can't be written, or doesn't hold what was asked for."""


class InUseError(RunError):
    """Another process, thread or host is at work on a folder."""


class DivergenceError(GncnError, ArithmeticError):
    """Settling or learning produced values that are not finite."""


def shortened(text: str, most: int = MAX_MESSAGE) -> str:
    """A text of at most `most` characters, and a few that say what was left out of its middle."""
    left_out, end = len(text) - most, most // 4
    if left_out <= 0:
        return text
    return f"{text[: most - end]} […{left_out:,} characters…] {text[-end:]}"


def quoted(value: object) -> str:
    """A value as Python writes it, shortened if it is long."""
    try:
        return _REPR.repr(value)
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits
        return "a number of thousands of digits"


def unknown_choice(what: str, received: object, allowed: Iterable[object]) -> ConfigError:
    """The error for a value that is not one of `allowed`; `what` it is, say "activation"."""
    choices = ", ".join(repr(choice) for choice in allowed)
    return ConfigError(f"Unknown {what} {quoted(received)}. Choose one of: {choices}.")


def check_whole(name: str, value: object, least: int | None = None) -> int:
    """The whole number that a value is, NumPy's too; refuses others, and what is below `least`.

    Raises:
        ConfigError: naming the value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} must be a whole number; received {quoted(value)}.")
    if least is not None and int(value) < least:
        raise ConfigError(f"{name} must be at least {least}; received {value}.")
    return int(value)
