"""Options and output that commands share."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Column, Table
from typer import Argument, Option

from gncn.base.files import jsonable

RunArgument = Annotated[
    Path, Argument(help="A run folder, as made by `gncn train --out RUN`.", metavar="RUN")
]
TrialOption = Annotated[int, Option(help="Which of the run's networks, from 0.", min=0)]
SplitOption = Annotated[
    str, Option(help="Which images: `train`, `validation` or `test`.", metavar="SPLIT")
]
DataDirOption = Annotated[
    Path | None,
    Option(
        help="Folder that holds the original data files. Default: `GNCN_DATA`, the cache, "
        "the mirrors."
    ),
]
FigureOption = Annotated[Path | None, Option(help="PNG to write. Default: in the run's figures.")]
WaitOption = Annotated[
    bool,
    Option(
        "--wait", help="Wait until no other process writes to the folder, in place of refusing."
    ),
]
JsonOption = Annotated[bool, Option("--json", help="Print JSON on standard output.")]

console = Console(stderr=True)
"""For messages; results go to standard output."""


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output."""
    typer.echo(json.dumps(jsonable(value), indent=2, allow_nan=False))


def say(*lines: str, style: str = "") -> None:
    """Print messages, each on a line of its own however narrow the terminal is."""
    for line in lines:
        console.print(line, style=style, highlight=False, soft_wrap=True)


def new_table(title: str, left: tuple[str, ...], right: tuple[str, ...]) -> Table:
    """A table without rows.

    Args:
        title: stands above it.
        left: headings of the first columns, of words.
        right: headings of the other columns, of numbers.
    """
    numbers = (Column(heading, justify="right") for heading in right)
    return Table(*left, *numbers, title=title, title_justify="left")
