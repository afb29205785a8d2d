"""An MNIST epoch of each baseline trained by backprop, and of the same in PyTorch.

The two take turns, epoch by epoch, in one process each, so that a change in the machine's speed
hits both.  The first epochs of both, in which programs are compiled and caches filled, do not
count.  PyTorch is no dependency of this library: name an interpreter that has it.
"""

import json
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import IO, Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gncn
from benchmarks.epochs import epoch_timer, few, in_turn
from benchmarks.machine import command, keep, machine

WORKER = Path(__file__).with_name("torch_baselines.py")
KINDS = ("rae", "gvae", "gvae-cv", "gan-ae", "dsrn")


def configure(kind: str) -> gncn.Config:
    """The sizes of the paper's budget, with the worker's batches, rate and penalty."""
    penalty = 0.0 if kind == "dsrn" else 1e-5
    return gncn.Config(
        model=kind, backprop={"penalty": penalty}, training={"n_epochs": 1, "learning_rate": 1e-3}
    )


class Torch:
    """The worker in PyTorch."""

    def __init__(self, python: Path, data: gncn.Dataset, folder: Path) -> None:
        path = folder / "mnist.npz"
        np.savez(path, images=data.train.images, labels=np.asarray(data.train.labels))
        self.process = subprocess.Popen(
            [str(python), str(WORKER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        self.about = self._answer()

    def epoch(self, kind: str, parts: dict[str, Any]) -> float:
        """Train for an epoch.

        Args:
            kind: of baseline.
            parts: units of the layers of each part of the model.

        Returns:
            Seconds.
        """
        stdin = self._pipe(self.process.stdin)
        stdin.write(json.dumps({"kind": kind, "parts": parts}) + "\n")
        stdin.flush()
        return self._answer()["seconds"]

    def close(self) -> None:
        """Let the process end."""
        self._pipe(self.process.stdin).close()
        self.process.wait()

    def _answer(self) -> dict[str, Any]:
        line = self._pipe(self.process.stdout).readline()
        if not line:
            raise typer.BadParameter("the interpreter given with --torch has no PyTorch")
        return json.loads(line)

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


def main(
    torch: Annotated[Path, typer.Option(help="A Python interpreter that has PyTorch.")],
    rounds: Annotated[int, typer.Option(help="Turns after the first, which doesn't count.")] = 5,
    images: Annotated[int | None, typer.Option(help="Images of an epoch. Default: all.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
) -> None:
    """Measure an MNIST epoch of each baseline against PyTorch."""
    console, data = Console(), few(gncn.load_dataset("mnist"), images)
    found: dict[str, Any] = {}
    table = Table("", "JAX, s", "PyTorch, s", "ratio", "spread")
    with tempfile.TemporaryDirectory() as folder:
        worker = Torch(torch, data, Path(folder))
        for kind in KINDS:
            config = configure(kind)
            parts = config.models(data)[0].blueprint.parts
            ours = epoch_timer(config, data)
            sides = {"jax": [ours], "torch": [lambda k=kind, p=parts: worker.epoch(k, p)]}
            times = in_turn(sides, rounds)
            ratios = [a / b for a, b in zip(times["jax"], times["torch"], strict=True)]
            found[kind] = {"parts": parts, "seconds": times, "ratio": statistics.median(ratios)}
            table.add_row(
                kind,
                *(f"{statistics.median(times[side]):.2f}" for side in ("jax", "torch")),
                f"{found[kind]['ratio']:.2f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
            )
        worker.close()
    console.print(table)
    if out is not None:
        record = {"command": command(), **machine(), "torch": worker.about}
        record |= {"images": len(data.train), "models": found}
        console.print(f"record: {keep(out, 'baselines', record)}")


if __name__ == "__main__":
    typer.run(main)
