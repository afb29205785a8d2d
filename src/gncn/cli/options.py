"""Options and output that commands share."""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from rich.cells import cell_len
from rich.table import Column, Table
from typer import Argument, Option

from gncn.base.errors import ConfigError, quoted
from gncn.base.files import explained, jsonable, place
from gncn.base.screen import Screen, say

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


def suffixed(*suffixes: str) -> Any:
    """As `PATH`, of a file that is written: others than these are refused, and so kept."""

    def checked(value: str) -> Path:
        path = place(value)
        if path.suffix not in suffixes:
            raise ConfigError(
                f"The file {quoted(path.name)} must end in {' or '.join(suffixes)}, which is what "
                "is written to it."
            )
        return path

    return PATH | {"parser": checked}


FigureOption = Annotated[
    Path | None, Option(help="PNG to write. Default: in the run's figures.", **suffixed(".png"))
]
WaitOption = Annotated[
    bool,
    Option(
        "--wait", help="Wait until no other process writes to the folder, in place of refusing."
    ),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON on standard output.")]


def no_effect(names: list[str], why: str) -> ConfigError:
    """The error for options that were given in vain; `why` they are."""
    one = len(names) == 1
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    return ConfigError(
        f"{listed} {'has' if one else 'have'} no effect {why}. Leave {'it' if one else 'them'} out."
    )


def say_if_unfinished(folder: Any) -> None:
    """Say that a run's training hasn't reached its end, or nothing."""
    if unfinished := folder.unfinished:
        say(unfinished)


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output; signs beyond ASCII are escaped."""
    print_text(json.dumps(jsonable(value), indent=2, allow_nan=False))


def print_text(text: str) -> None:
    """Print a result on standard output, or fail."""
    with explained("Can't write to standard output"):
        try:
            print(text, flush=True)
        # As with `| head`: no traceback.
        except BrokenPipeError:  # nobody reads it
            sys.exit(1)


def print_table(table: Table) -> None:
    """Print a result on standard output, as a table."""
    screen = Screen()
    if not screen.is_bounded:  # else a title would be as narrow as its table
        texts = (str(table.title or ""), str(table.caption or ""))
        table.min_width = max(map(cell_len, texts))
    with explained("Can't write to standard output"):
        screen.print(table)


def new_table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """A table without rows.

    Args:
        title: stands above it.
        left: headings of the first columns, of words.
        right: headings of the other columns, of numbers.
    """
    numbers = (Column(heading, justify="right") for heading in right)
    return Table(*left, *numbers, title=title, title_justify="left")
