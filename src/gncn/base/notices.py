"""What is said, once a process, of data that could mean something else: `say_once`."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from gncn.base.shown import shown


class Notice(UserWarning):
    """Says what was done with data that could mean something else; once a process for each kind."""


_said: set[str] = set()
# A context variable: a thread that loads a run's data silences no other.
_silent: ContextVar[bool] = ContextVar("gncn_silent", default=False)
_WITHIN = ("gncn", "jaxtyping", "beartype")
"""Packages whose lines a notice doesn't point at."""


def say_once(kind: str, text: str) -> None:
    """Warn with a `Notice`, at the first line outside the library, unless it was said before."""
    if kind in _said or _silent.get():
        return
    _said.add(kind)
    level, frame = 1, sys._getframe(0)
    # Up the stack to the line that called the library: that is the line to change.
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _WITHIN:
        level, frame = level + 1, frame.f_back
    warnings.warn(shown(text), Notice, stacklevel=level)


@contextmanager
def unsaid() -> Iterator[None]:
    """Give no notices within the block: they came when its data were first read."""
    token = _silent.set(True)
    try:
        yield
    finally:
        _silent.reset(token)
