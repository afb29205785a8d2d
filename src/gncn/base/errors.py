"""The errors this library raises.

Every message names the value received, the values allowed and what to do.  All derive from
`GncnError`, so that a caller can tell "you asked for something impossible" from a defect.
"""

import math
import reprlib
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Integral, Real
from typing import cast

from gncn.base.shown import shown

MAX_MESSAGE = 8_000
"""Characters of a message: more than any needs that doesn't quote a huge value."""
MAX_QUOTED = 400
"""Characters of a value in a message."""
MOST_COUNT = 2**31 - 1
"""The largest whole number with which programs count."""
MOST_SEED = 2**32 - 1
"""The largest seed: JAX would drop the bits above, and two seeds would be one."""
MOST_STEPS = 1_000_000
"""The most settling steps: more are a mistake, and would take days."""
_LARGEST = 3.4e38
"""Larger numbers are infinite in single precision."""
_REPR = reprlib.Repr()
_REPR.maxlevel, _REPR.maxstring, _REPR.maxother, _REPR.maxlong = 4, 200, 200, 80
_REPR.maxlist = _REPR.maxtuple = _REPR.maxdict = _REPR.maxset = 20


class GncnError(Exception):
    """Base of all errors that this library raises on purpose.

    A message that quotes too much loses its middle.  Signs that a terminal would obey are written
    as escapes.
    """

    def __init__(self, *args: object) -> None:
        super().__init__(*(shown(shortened(one)) if isinstance(one, str) else one for one in args))

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled with its attributes, whatever a subclass takes to be made: pools send errors."""
        # Errors with arguments of their own could not be made again from the message alone.
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[GncnError], args: tuple[object, ...], state: dict[str, object]) -> object:
    error = kind.__new__(kind, *args)
    error.__dict__.update(state)
    return error


class ConfigError(GncnError, ValueError):
    """An option has an unknown name or a value that is not allowed."""


class DataError(GncnError, ValueError):
    """Data are missing, malformed, altered, or outside the allowed range."""


class DataTypeError(DataError, TypeError):
    """Data hold objects that are no numbers: a `TypeError`, as NumPy and scikit-learn have it."""


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
    # The beginning says what is wrong and the end what to do, so the middle goes.
    return f"{text[: most - end]} […{left_out:,} characters…] {text[-end:]}"


def quoted(value: object) -> str:
    """A value as Python writes it, in one line, shortened if it is long."""
    try:
        text = _REPR.repr(value)
    except ValueError:  # Python refuses to write out whole numbers of thousands of digits
        return "a number of thousands of digits"
    return shortened(" ".join(text.split()) if "\n" in text else text, MAX_QUOTED)


def unknown_choice(what: str, received: object, allowed: Iterable[object]) -> ConfigError:
    """The error for a value that is not one of `allowed`; `what` it is, say "activation"."""
    names = [*allowed]
    choices, close = ", ".join(map(repr, names)), did_you_mean(received, names)
    return ConfigError(f"Unknown {what} {quoted(received)}.{close} Choose one of: {choices}.")


def did_you_mean(received: object, allowed: Iterable[object]) -> str:
    """A sentence that names the choice most like what was received; empty if none is like it.

    >>> did_you_mean("mnits", ["mnist", "kmnist"])
    " Did you mean 'mnist'?"
    """
    if not isinstance(received, str) or len(received) > 100:  # comparing takes the square of it
        return ""
    names = [one for one in allowed if isinstance(one, str)]
    # Options may be written with their section before them, or without it.
    own = {one.rpartition(".")[2]: one for one in reversed(names)}
    if close := get_close_matches(received, names, 1):
        return f" Did you mean {close[0]!r}?"
    close = get_close_matches(received.rpartition(".")[2], own, 1)
    return f" Did you mean {own[close[0]]!r}?" if close else ""


def check_whole(name: str, value: object, least: int | None = None, most: int | None = None) -> int:
    """The whole number that a value is, NumPy's too; refuses others, and what is out of range.

    Raises:
        ConfigError: naming the value.
    """
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ConfigError(f"{name} must be a whole number; received {quoted(value)}.")
    number = int(value)
    if least is not None and number < least:
        raise ConfigError(f"{name} must be at least {least}; received {quoted(number)}.")
    if most is not None and number > most:
        raise ConfigError(f"{name} must be at most {most:,}; received {quoted(number)}.")
    return number


def check_seed(seed: object, name: str = "seed") -> int:
    """The seed that a value is: a whole number from 0 to `MOST_SEED`, or a `ConfigError`."""
    return check_whole(name, seed, least=0, most=MOST_SEED)


def check_counts(most: int = MOST_COUNT, /, **counts: object) -> None:
    """Refuse options that are not whole numbers from 1 to `most`, by a `ConfigError`."""
    for name, value in counts.items():
        check_whole(name, value, least=1, most=most)


def check_shape(shape: object, name: str = "image_shape") -> tuple[int, int]:
    """The rows and columns that a value is: two whole numbers from 1, or a `ConfigError`."""
    if not isinstance(shape, tuple | list) or len(shape) != 2:
        raise ConfigError(f"{name} must be (rows, columns); received {quoted(shape)}.")
    rows, columns = (check_whole(name, side, least=1, most=MOST_COUNT) for side in shape)
    return rows, columns


def check_positive(**numbers: object) -> None:
    """Refuse options that are not finite numbers above 0, by a `ConfigError`."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Real):
            raise ConfigError(f"{name} must be a number; received {quoted(value)}.")
        try:
            number = float(value)
        except OverflowError:  # a whole number of hundreds of digits
            number = math.inf if cast(int, value) > 0 else -math.inf
        if not number > 0:  # NaN isn't either
            raise ConfigError(f"{name} must be above 0; received {quoted(value)}.")
        if number > _LARGEST:
            raise ConfigError(f"{name} must be at most {_LARGEST}; received {quoted(value)}.")


def beyond_single(value: object) -> bool:
    """Whether a finite number is infinite in single precision."""
    # Infinity itself is judged elsewhere, as a value that is not finite.
    is_number = isinstance(value, int | float)
    return is_number and bool(_LARGEST < abs(value) != math.inf)
