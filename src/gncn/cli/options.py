"""Options and output that commands share."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from rich.cells import cell_len
from rich.console import Console, ConsoleDimensions
from rich.status import Status
from rich.table import Column, Table
from rich.text import Text
from typer import Argument, Option

from gncn.base.files import explained, jsonable, place
from gncn.base.shown import shown

PATH: Any = {"parser": place, "metavar": "PATH"}
"""Of every option that is a path."""

RunArgument = Annotated[
    Path,
    Argument(help="A run folder, as made by `gncn train --out RUN`.", metavar="RUN", parser=place),
]
TrialOption = Annotated[int, Option(help="Which of the run's networks, from 0.", min=0)]
SplitOption = Annotated[
    str, Option(help="Which images: `train`, `validation` or `test`.", metavar="SPLIT")
]
DataDirOption = Annotated[
    Path | None,
    Option(
        help="Folder that holds the original data files. Default: `GNCN_DATA`, the cache, "
        "the mirrors.",
        **PATH,
    ),
]
FigureOption = Annotated[
    Path | None, Option(help="PNG to write. Default: in the run's figures.", **PATH)
]
WaitOption = Annotated[
    bool,
    Option(
        "--wait", help="Wait until no other process writes to the folder, in place of refusing."
    ),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON on standard output.")]


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
        drawn = "dots" if self.encoding.startswith("utf") else "line"
        return super().status(status, spinner=spinner or drawn, **options)

    def on_broken_pipe(self) -> None:
        sys.exit(1)


console = Screen(stderr=True)
"""For messages; results go to standard output."""


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output; signs beyond ASCII are escaped."""
    print_text(json.dumps(jsonable(value), indent=2, allow_nan=False))


def print_text(text: str) -> None:
    """Print a result on standard output, or fail."""
    with explained("Can't write to standard output"):
        try:
            print(text, flush=True)
        except BrokenPipeError:  # nobody reads it
            sys.exit(1)


def say(*lines: str | Text, style: str = "") -> None:
    """Print messages, each on a line of its own however narrow the terminal is."""
    for line in lines:
        console.print(line, style=style, soft_wrap=True)


def styled(*parts: str | tuple[str, str]) -> Text:
    """Parts in a row, some with a style, for what Rich would look for markup in."""
    pairs = ((part, "") if isinstance(part, str) else part for part in parts)
    return Text.assemble(*((shown(text), style) for text, style in pairs))


def print_table(table: Table) -> None:
    """Print a result on standard output, as a table."""
    screen = Screen()
    if not screen.is_bounded:  # else a title would be as narrow as its table
        texts = (str(table.title or ""), str(table.caption or ""))
        table.min_width = max(map(cell_len, texts))
    with explained("Can't write to standard output"):
        screen.print(table)


def duration(seconds: float) -> str:
    """A time in hours, minutes and seconds, as a person says it."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"


def new_table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """A table without rows.

    Args:
        title: stands above it.
        left: headings of the first columns, of words.
        right: headings of the other columns, of numbers.
    """
    numbers = (Column(heading, justify="right") for heading in right)
    return Table(*left, *numbers, title=title, title_justify="left")
