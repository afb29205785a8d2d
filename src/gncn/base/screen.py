"""The screen: messages and bars as terminals, notebooks and files can show them.

It needs Rich; `gncn.base.progress` imports it when something is to be shown.
"""

import os
import re
import sys
import time
from importlib.util import find_spec
from typing import Any

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.progress import (
    BarColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.status import Status
from rich.text import Text

from gncn.base.shown import shown

QUIET = 60.0
"""Seconds after which a long command says how far it is, where there is no terminal."""
_COUNT = re.compile(r"(\d+) of (\d+)")
WIDE = 10_000
"""Columns where there is no terminal: no line is wrapped in a file or a pipe."""


class Screen(Console):
    """A console that shows text as it is: no markup, no emoji codes, no control signs.

    Lines are wrapped to the width of a terminal, or to ``COLUMNS``, and nowhere else.  Where nobody
    reads results any more, the command ends.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, **options)

    @property
    def is_bounded(self) -> bool:
        """Whether lines have a greatest width."""
        return self.is_terminal or self._width is not None or "COLUMNS" in os.environ

    @property
    def size(self) -> ConsoleDimensions:  # pyright: ignore[reportIncompatibleMethodOverride]
        found = super().size
        return found if self.is_bounded else found._replace(width=WIDE)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(shown(text), **options)

    def status(self, status: Any, *, spinner: str = "", **options: Any) -> Status:
        # Dots need signs beyond ASCII.
        drawn = "dots" if self.encoding.startswith("utf") else "line"
        return super().status(status, spinner=spinner or drawn, **options)

    @property
    def can_draw(self) -> bool:
        """Whether what moves can be drawn: in a terminal, or a notebook that has widgets."""
        return self.is_terminal or (self.is_jupyter and find_spec("ipywidgets") is not None)

    def on_broken_pipe(self) -> None:
        # No traceback: whoever read the output has gone, as with `| head`.
        sys.exit(1)


console = Screen(stderr=True)
"""For messages; results go to standard output."""


def say(*lines: str | Text, style: str = "") -> None:
    """Print messages, each on a line of its own.

    A terminal gets them broken between words.  A word that is too long for it, such as a path,
    stays whole, so that one can copy it.
    """
    for line in lines:
        text = console.render_str(line) if isinstance(line, str) else line
        breaks = _breaks(text.plain, console.width) if console.is_terminal else []
        for part in text.divide(breaks):
            part.rstrip()
            console.print(part, style=style, soft_wrap=True)


def _breaks(text: str, width: int) -> list[int]:
    """Where to break a text between words, so that lines fit a width where words do."""
    found, used = list[int](), 0
    for word in re.finditer(r"\s*\S+", text):
        _, newline, last = word[0].rpartition("\n")
        used, wide = 0 if newline else used, cell_len(last)
        if used and used + wide > width:
            found.append(word.end() - len(word[0].lstrip()))
            used, wide = 0, cell_len(word[0].lstrip())
        used += wide
    return found


def styled(*parts: str | tuple[str, str]) -> Text:
    """Parts in a row, some with a style, for what Rich would look for markup in."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((shown(text), style) for text, style in pairs))


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds, as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


class Stages:
    """Tells where there is no terminal what a long command is doing, and how long that will take.

    It says when a stage begins, and every minute how far it is.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._told = 0.0

    def __call__(self, what: str) -> None:
        # What stands after the colon changes; a stage is what comes before.
        now, stage = time.monotonic(), what.partition(":")[0]
        if stage not in self._seen:
            self._seen[stage] = self._told = now
            say(stage)
        elif now > self._told + QUIET:
            self._told = now
            say(f"{what}{time_left(what, now - self._seen[stage])}")


def time_left(what: str, seconds: float, n_here: int | None = None) -> str:
    """The time left, as the end of a line, if the text counts: "3 of 8", for instance.

    In so many seconds `n_here` of them were done; by default all that are.
    """
    if (counted := _COUNT.search(what)) is None:
        return ""
    done, n = map(int, counted.groups())
    if not (known := done if n_here is None else n_here) or done >= n:
        return ""
    return f", about {duration(seconds * (n - done) / known)} left"


class Stage(Progress):
    """A `gncn.base.progress.Display`: a bar of the stage under way, or off a terminal lines."""

    def __init__(self, console: Screen, what: str) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.can_draw,
            transient=True,
        )
        self._stages, self._what = Stages(), what
        self._bar, self._stage = self.add_task(what, total=None), what

    def __call__(self, what: str) -> None:
        self._what = what
        self._show(what)

    def count(self, done: int, n: int) -> None:
        # A stage with a colon counts by itself.
        if ":" not in self._what:
            self._show(f"{self._what}: {done} of {n}")

    def _show(self, what: str) -> None:
        if self.disable:
            self._stages(what)
            return
        if (stage := what.partition(":")[0]) != self._stage:
            self.remove_task(self._bar)  # `reset` would keep its total
            self._bar, self._stage = self.add_task(stage, total=None), stage
        counted = _COUNT.search(what)
        done, n = map(int, counted.groups()) if counted else (0, None)
        self.update(self._bar, description=shown(what), completed=done, total=n)
