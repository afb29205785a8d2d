"""Options and output that several commands share."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

RunArgument = Annotated[
    Path, typer.Argument(help="A run folder, as made by `gncn train --out RUN`.", metavar="RUN")
]
TrialOption = Annotated[int, typer.Option(help="Which of the run's networks, from 0.", min=0)]
SplitOption = Annotated[
    str, typer.Option(help="Which images: `train`, `validation` or `test`.", metavar="SPLIT")
]
DataDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder that holds the original data files. Default: `GNCN_DATA`, the cache, "
        "the mirrors.",
        show_default=False,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]

console = Console(stderr=True)
"""Messages for people; standard output is for results."""


def print_json(value: Any) -> None:
    """Print a result as JSON on standard output."""
    typer.echo(json.dumps(_plain(value), indent=2, allow_nan=False))


def _plain(value: Any) -> Any:
    """The same in JSON's types; numbers that are not finite, which JSON doesn't know, are null."""
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
