"""Progress of long functions: told where the work is done, shown where somebody asked for it.

Nothing hears what `tell` and `advance` say, unless a function further up was called with
``progress=True`` and works within `shown_progress`.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import Any, Protocol, runtime_checkable

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs

Report = Callable[[str], None]
"""Receives what is being done, in a few words, for a progress display."""


@runtime_checkable
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


class _Reporting:
    """Passes on what is being done to a user's function, and to a display if there is one."""

    def __init__(self, report: Report, display: Display | None) -> None:
        self._report, self._next, self._what = report, display, ""

    def __call__(self, what: str) -> None:
        self._what = what
        self._report(what)
        if self._next is not None:
            self._next(what)

    def count(self, done: int, n: int) -> None:
        if ":" not in self._what:
            self._report(f"{self._what}: {done} of {n}")
        if self._next is not None:
            self._next.count(done, n)


@contextmanager
def shown_progress(
    progress: bool, what: str, report: Callable[[str], Any] | None = None
) -> Iterator[Report]:
    """Show what is told within the block, if `progress` is true.

    Off a terminal, and in a notebook without widgets, lines are written on standard error: for
    each stage, and every minute within one.

    Args:
        progress: what the caller of a function asked for.
        what: is shown before anything is told.
        report: receives all that is told, too.

    Yields:
        What receives news: `tell`.

    Raises:
        ConfigError: see `check_progress`.
    """
    with ExitStack() as stack:
        display = _display.get()
        if check_progress(progress):
            # Imported here, since Rich is an extra.
            from gncn.base.screen import Stage, console

            display = stack.enter_context(Stage(console, what))
        if report is not None:
            display = _Reporting(report, display)
        token = _display.set(display)
        try:
            yield tell
        finally:
            _display.reset(token)
