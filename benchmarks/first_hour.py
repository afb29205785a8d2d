"""How soon the first commands answer: ``python -m benchmarks.first_hour``.

Each command is timed next to Python itself, in turns.  The aim for ``gncn --help`` is under a
second on two idle cores.  The ratio to Python's own start holds on busy ones, too.

Then ``gncn reproduce tiny`` runs whole, in a folder that is thrown away.  The aim is under two
minutes on two idle cores.  Programs that JAX compiled before are not used, as nobody has them in
the first hour.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmarks.machine import command, keep, machine

GNCN = ["-c", "from _gncn import main; main()"]
COMMANDS = {
    "python": ["-c", ""],
    "gncn --help": [*GNCN, "--help"],
    "gncn train --help": [*GNCN, "train", "--help"],
    "import gncn": ["-c", "import gncn"],
}


def seconds(arguments: list[str], **environment: str) -> float:
    """How long a process of Python takes."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        check=True,
        env=os.environ | environment,
    )
    return time.perf_counter() - began


def reproduce_tiny() -> float:
    """How long ``gncn reproduce tiny`` takes, with nothing compiled before."""
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "tiny")
        return seconds([*GNCN, "reproduce", "tiny", "--out", out], GNCN_CACHE=f"{folder}/cache")


def main(
    rounds: Annotated[int, typer.Option(help="Turns of each command.", min=1)] = 7,
    only_start: Annotated[
        bool, typer.Option("--only-start", help="Leave out `gncn reproduce tiny`.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
) -> None:
    """Measure how soon commands answer."""
    turns = [{name: seconds(one) for name, one in COMMANDS.items()} for _ in range(rounds)]
    found: dict[str, Any] = {name: [turn[name] for turn in turns] for name in COMMANDS}
    for name, times in found.items():
        ratio = statistics.median(turn[name] / turn["python"] for turn in turns)
        typer.echo(f"{name}: {statistics.median(times):.2f} s, {ratio:.1f} times Python's start")
    if not only_start:
        found["gncn reproduce tiny"] = [reproduce_tiny()]
        typer.echo(f"gncn reproduce tiny: {found['gncn reproduce tiny'][0]:.0f} s")
    if out is not None:
        record = {"command": command(), **machine(), "seconds": found}
        typer.echo(f"record: {keep(out, 'first_hour', record)}")


if __name__ == "__main__":
    typer.run(main)
