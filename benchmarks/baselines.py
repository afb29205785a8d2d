"""An MNIST epoch of each baseline trained by backprop, and of the same in PyTorch.

The two take turns, epoch by epoch, in one process each, so that a change in the machine's
speed hits both; neither's first epochs count, in which programs are compiled and caches
filled.  PyTorch is no dependency of this library: name an interpreter that has it.
"""

import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gncn
from benchmarks.machine import command
from gncn.baselines.blueprint import KINDS, Kind
from gncn.baselines.descent import descend_epoch, start_descent
from gncn.training.examples import examples_of

WORKER = Path(__file__).with_name("torch_baselines.py")


def configure(kind: Kind) -> gncn.Config:
    """The sizes of the paper's budget, with the worker's batches, rate and penalty."""
    penalty = 0.0 if kind == "dsrn" else 1e-5
    return gncn.Config(model=kind, backprop={"penalty": penalty}, training={"n_epochs": 1000})


class Ours:
    """A baseline that trains for an epoch when called; gives the seconds it took."""

    def __init__(self, kind: Kind, data: gncn.Dataset, n_images: int) -> None:
        config = configure(kind)
        models = config.models(data)
        self.plan, self.rates = config.training.plan(), jnp.full(1, 1e-3)
        train = data.train.subset(np.arange(n_images))
        labelled = bool(models[0].blueprint.n_classes)
        self.examples = jax.device_put(examples_of(train, labelled=labelled))
        self.state = start_descent(models, self.plan.rule, [0])

    def __call__(self) -> float:
        """Train."""
        began = time.perf_counter()
        self.state, report = descend_epoch(self.state, self.examples, self.rates, self.plan)
        jax.block_until_ready((self.state.network, report))
        return time.perf_counter() - began


class Theirs:
    """The worker in PyTorch."""

    def __init__(self, python: Path, data: gncn.Dataset, n_images: int, folder: Path) -> None:
        path = folder / "mnist.npz"
        train = data.train.subset(np.arange(n_images))
        np.savez(path, images=train.images, labels=np.asarray(train.labels))
        self.process = subprocess.Popen(
            [str(python), str(WORKER), str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.about = self._answer()

    def __call__(self, kind: Kind, data: gncn.Dataset) -> float:
        """Train for an epoch; gives the seconds it took."""
        asked = {
            "kind": kind,
            "parts": configure(kind).blueprint(data).parts,
        }
        stdin = self._pipe(self.process.stdin)
        stdin.write(json.dumps(asked) + "\n")
        stdin.flush()
        return self._answer()["seconds"]

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
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Measure an MNIST epoch of each baseline against PyTorch."""
    console, data = Console(), gncn.load_dataset("mnist")
    n_images = images or len(data.train)
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        theirs = Theirs(torch, data, n_images, Path(folder))
        for kind in KINDS:
            ours = Ours(kind, data, n_images)
            pairs = [(ours(), theirs(kind, data)) for _ in range(rounds + 1)][1:]
            mine, other = ([pair[k] for pair in pairs] for k in (0, 1))
            ratios = [a / b for a, b in pairs]
            found[kind] = {
                "parts": configure(kind).blueprint(data).parts,
                "seconds_jax": mine,
                "seconds_torch": other,
                "ratios": ratios,
                "ratio": statistics.median(ratios),
            }
            console.print(f"{kind}: {found[kind]['ratio']:.2f}")
        theirs._pipe(theirs.process.stdin).close()
        theirs.process.wait()
    table = Table("", "JAX, s", "PyTorch, s", "ratio", "spread")
    for kind, one in found.items():
        table.add_row(
            kind,
            f"{statistics.median(one['seconds_jax']):.2f}",
            f"{statistics.median(one['seconds_torch']):.2f}",
            f"{one['ratio']:.2f}",
            f"{min(one['ratios']):.2f}-{max(one['ratios']):.2f}",
        )
    console.print(table)
    if out is not None:
        record = {
            "command": command(),
            "versions": {"jax": jax.__version__, "gncn": gncn.__version__, **theirs.about},
            "images": n_images,
            "batch": 200,
            "models": found,
        }
        out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
