"""`python -m benchmarks.versus OLD NEW`: two versions of this library timed against each other.

OLD and NEW are two checkouts, each with a folder ``src``.  For each preset a process of each
version learns epoch by epoch.  The two take turns, so that a change in the machine's speed hits
both.  The result is the median of the rounds' ratios, new over old, with its spread.

The first epoch of each process, in which programs are compiled, does not count.  A process is
faster or slower for as long as it lives, by where its arrays lie in memory.  So several processes
of each version are timed, one pair after the other.

The processes use `gncn.load_config`, `gncn.load_dataset` and `gncn.fit` alone, and run with this
Python: its packages serve both versions.
"""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from benchmarks.machine import command, keep, machine

SIDES = ("old", "new")
BAR = 1.03
"""The ratio up to which the new version counts as no slower."""

WORKER = """
import dataclasses, json, sys
import numpy as np
import gncn

asked = json.loads(sys.argv[1])
assert gncn.__file__.startswith(asked["src"]), f"{gncn.__file__} is not in {asked['src']}"
config = gncn.load_config(preset=asked["preset"], overrides=asked["overrides"])
data = gncn.load_dataset("mnist")
held_out = data.test.subset(np.arange(100))
train = data.train.subset(np.arange(asked["images"]))
data = dataclasses.replace(data, train=train, validation=held_out, test=held_out)

class Turns:
    # Tells of every epoch, and waits to be asked for the next one.
    def on_start(self, start):
        sys.stdin.readline()
    def on_batch(self, number):
        pass
    def on_epoch(self, records, networks):
        error = records[0].train.error
        print(json.dumps({"seconds": records[0].seconds, "error": error}), flush=True)
        if not sys.stdin.readline():
            sys.exit()

gncn.fit(config.models(data), data, config.training, seeds=config.seeds, callbacks=[Turns()])
"""


class Version:
    """A process that trains with one version of the library."""

    def __init__(self, folder: Path, preset: str, images: int, overrides: list[str]) -> None:
        src = (folder / "src").resolve()
        if not (src / "gncn").is_dir():
            raise typer.BadParameter(f"{folder} has no src/gncn; give a checkout of gncn.")
        asked = {"src": str(src), "preset": preset, "images": images}
        # More epochs than are ever asked for: the parent ends the process.
        asked["overrides"] = ["training.n_epochs=1000", *overrides]
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER, json.dumps(asked)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": str(src)},
        )

    def epoch(self) -> dict[str, float]:
        """Learn for an epoch; returns its ``seconds`` and its training ``error``."""
        # One line each way is one epoch, so only one of the two computes at a time.
        stdin, stdout = self.process.stdin, self.process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write("go\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit(f"A process ended with status {self.process.wait()}; see above.")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()


def compare(
    folders: dict[str, Path],
    preset: str,
    images: int,
    *,
    starts: int,
    rounds: int,
    overrides: list[str],
) -> dict[str, Any]:
    """Time both versions in turn.

    Args:
        folders: of the versions, by the names in `SIDES`.
        preset: name of the preset.
        images: of MNIST that an epoch learns from.
        starts: pairs of processes, one after the other.
        rounds: epochs of each process that count.
        overrides: settings laid over the preset.

    Returns:
        ``seconds`` of each version, the ``ratios`` of the rounds, and the ``error`` of each
        version's last epoch, which shows whether both learned the same.
    """
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    error: dict[str, float] = {}
    for start in range(starts):
        # The order alternates, so that neither side always comes first.
        order = SIDES if start % 2 == 0 else SIDES[::-1]
        versions = {}
        try:
            for side in order:
                versions[side] = Version(folders[side], preset, images, overrides)
                versions[side].epoch()  # compiles
            for _ in range(rounds):
                for side in order:
                    found = versions[side].epoch()
                    seconds[side].append(found["seconds"])
                    error[side] = found["error"]
        finally:
            for version in versions.values():
                version.close()
    # Within a round, so that slow rounds of the machine cancel.
    ratios = [new / old for old, new in zip(seconds["old"], seconds["new"], strict=True)]
    return {"preset": preset, "images": images, "seconds": seconds, "ratios": ratios} | {
        "error": error
    }


def main(
    old: Annotated[Path, typer.Argument(help="A checkout of the old version.")],
    new: Annotated[Path, typer.Argument(help="A checkout of the new version.")],
    preset: Annotated[
        list[str] | None, typer.Option(help="May be repeated. Default: mnist and paper.")
    ] = None,
    images: Annotated[int, typer.Option(help="Images of an epoch.", min=1)] = 2000,
    starts: Annotated[int, typer.Option(help="Pairs of processes.", min=1)] = 3,
    rounds: Annotated[int, typer.Option(help="Epochs of each process that count.", min=1)] = 5,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.OPTION=VALUE, for both versions.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
) -> None:
    """Time an epoch of two versions of this library in turn."""
    console, record = Console(width=120), {"command": command(), **machine(), "presets": []}
    heads = ("old, s", "new, s", "new ÷ old", "middle half", "spread", "best ÷ best", "errors")
    table = Table("preset", *heads)
    for name in preset or ["mnist", "paper"]:
        found = compare(
            dict(zip(SIDES, (old, new), strict=True)),
            name,
            images,
            starts=starts,
            rounds=rounds,
            overrides=settings or [],
        )
        record["presets"].append(found)
        ratios = sorted(found["ratios"])
        quarter = len(ratios) // 4
        middle = statistics.median(ratios)
        table.add_row(
            name,
            *(f"{statistics.median(found['seconds'][side]):.2f}" for side in SIDES),
            f"{middle:.3f}" + (" (slower)" if middle > BAR else ""),
            f"{ratios[quarter]:.3f}-{ratios[-1 - quarter]:.3f}",
            f"{ratios[0]:.3f}-{ratios[-1]:.3f}",
            f"{min(found['seconds']['new']) / min(found['seconds']['old']):.3f}",
            ", ".join(f"{found['error'][side]:.4f}" for side in SIDES),
        )
    console.print(table)
    if out is not None:
        console.print(f"record: {keep(out, 'versus', record)}")


if __name__ == "__main__":
    typer.run(main)
