"""How soon ``gncn --help`` answers, next to Python itself: ``python -m benchmarks.startup``.

The aim is under a second on two idle cores.  The ratio to Python's own start holds on busy ones,
too, because both are measured in turn.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.machine import command, keep, machine

COMMANDS = {
    "python": ["-c", ""],
    "gncn --help": ["-c", "from _gncn import main; main()", "--help"],
    "gncn train --help": ["-c", "from _gncn import main; main()", "train", "--help"],
    "import gncn": ["-c", "import gncn"],
}


def seconds(arguments: list[str]) -> float:
    """How long a process of Python takes."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
    return time.perf_counter() - began


def main(
    rounds: Annotated[int, typer.Option(help="Turns of each command.", min=1)] = 7,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
) -> None:
    """Measure how soon commands answer."""
    turns = [{name: seconds(one) for name, one in COMMANDS.items()} for _ in range(rounds)]
    found = {name: [turn[name] for turn in turns] for name in COMMANDS}
    for name, times in found.items():
        ratio = statistics.median(turn[name] / turn["python"] for turn in turns)
        typer.echo(f"{name}: {statistics.median(times):.2f} s, {ratio:.1f} times Python's start")
    if out is not None:
        record = {"command": command(), **machine(), "seconds": found}
        typer.echo(f"record: {keep(out, 'startup', record)}")


if __name__ == "__main__":
    typer.run(main)
