"""Progress of long functions: told where the work is done, shown where somebody asked for it.

Nothing hears what `tell` and `advance` say, unless a function further up was called with
``progress=True`` and works within `shown_progress`.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs

Report = Callable[[str], None]
"""Receives what is being done, in a few words, for a progress display."""


class Display(Protocol):
    """Shows what is being done."""

    def __call__(self, what: str) -> None:
        """Another stage of the work begins, or goes on: ``annealing: 3 of 24 images``."""

    def count(self, done: int, n: int) -> None:
        """Of a stage that doesn't count by itself, so much is done."""


# A context variable: threads and tasks have a display of their own.
_display: ContextVar[Display | None] = ContextVar("gncn_display", default=None)


def tell(what: str) -> None:
    """Say what is being done."""
    if (display := _display.get()) is not None:
        display(what)


def advance(done: int, n: int) -> None:
    """Say how much of it is done."""
    if (display := _display.get()) is not None:
        display.count(done, n)


def check_progress(progress: Any) -> bool:
    """Whether progress is to be shown.

    Raises:
        ConfigError: it is neither true nor false, or Rich isn't installed.
    """
    if not isinstance(progress, bool):
        raise ConfigError(f"progress must be True or False; received {quoted(progress)}.")
    if progress:
        needs("rich", "cli")
    return progress


@contextmanager
def shown_progress(progress: bool, what: str) -> Iterator[Report]:
    """Show what is told within the block, if `progress` is true.

    Off a terminal, and in a notebook without widgets, lines are written on standard error: for
    each stage, and every minute within one.

    Args:
        progress: what the caller of a function asked for.
        what: is shown before anything is told.

    Yields:
        What receives news: `tell`.

    Raises:
        ConfigError: see `check_progress`.
    """
    if not check_progress(progress):
        yield tell
        return
    # Imported here, since Rich is an extra.
    from gncn.base.screen import Stage, console

    with Stage(console, what) as stage:
        token = _display.set(stage)
        try:
            yield tell
        finally:
            _display.reset(token)
