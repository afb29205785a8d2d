"""`make bench`: how near training comes to the arithmetic that it can't avoid.

The floor of an epoch is the arithmetic of the six dense products of a settling step
(three predictions W φ, three messages E e), T times for each mini-batch, divided by the
best rate at which JAX multiplies matrices of those shapes in the same run.  Floor and
training are measured in turn, so that a change in the machine's speed hits both.

Also measured: peak memory of a whole training process, and how time grows with images,
steps and synapses (slopes of log time against log size; 1 is linear).
"""

import itertools
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from jax import lax
from rich.console import Console
from rich.table import Table

import gncn
from benchmarks.machine import machine
from gncn.config import Config, NetworkConfig, SettlingConfig
from gncn.examples import hold
from gncn.training import start_training, train_epoch

PAPER = {
    "network": {
        "sizes": (360, 360, 360),
        "competition": "columns",
        "group_size": (12, 12, 18),
        "norm": "clipped",
        "norm_axis": "receiving",
        "compared": "activity",
        "competing": "activity",
    },
    "settling": {"n_settle_steps": 50},
}
VARIANTS: dict[str, dict[str, Any]] = {
    "learned E, columns": {},
    "learned E, columns, diagonal precision": {"precision": "diagonal"},
    "learned E, columns, full precision": {"precision": "full"},
    "tied E, columns, diagonal precision": {"feedback": "tied", "precision": "diagonal"},
}


def configure(network: dict[str, Any] | None = None, **settling: Any) -> Config:
    """The paper's sizes and steps, with some options changed."""
    return Config(
        network=NetworkConfig(**{**PAPER["network"], **(network or {})}),
        settling=SettlingConfig(**{**PAPER["settling"], **settling}),
    )


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of `repeats` calls after one that compiles."""
    jax.block_until_ready(function())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return times


def product_rate(rows: int, inner: int, columns: int) -> float:
    """Best rate of ``(rows, inner) @ (inner, columns)`` in FLOP/s, over both layouts."""
    key = jax.random.key(0)
    left = jax.random.normal(key, (rows, inner))
    n = 60
    best = 0.0
    for transposed in (False, True):
        right = jax.random.normal(key, (columns, inner) if transposed else (inner, columns))

        @jax.jit
        def chain(left: jax.Array, right: jax.Array, transposed: bool = transposed) -> jax.Array:
            def step(left: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
                product = left @ (right.T if transposed else right)
                return left.at[0, 0].set(product[0, 0] * 1e-9), product[0, 0]

            return lax.scan(step, left, None, length=n)[1]

        fastest = min(seconds(lambda right=right, chain=chain: chain(left, right), 5))
        best = max(best, 2 * rows * inner * columns * n / fastest)
    return best


def floor_seconds(sizes: tuple[int, ...], batch: int, n_steps: int) -> tuple[float, float]:
    """Time of the dense products of one mini-batch's settling, and the rate in GFLOP/s."""
    total_flop = total_seconds = 0.0
    for below, above in itertools.pairwise(sizes):
        for shape in ((batch, above, below), (batch, below, above)):
            flop = 2 * shape[0] * shape[1] * shape[2] * n_steps
            total_flop += flop
            total_seconds += flop / product_rate(*shape)
    return total_seconds, total_flop / total_seconds / 1e9


def epoch_timer(config: Config, n_images: int) -> Callable[[], Any]:
    """A call that trains for one epoch of `n_images` MNIST images."""
    data = gncn.load_dataset("mnist")
    examples = jax.device_put(hold(data.train.images[:n_images]))
    plan = config.training.plan()
    state = start_training(config.networks(data.n_pixels), plan.rule, config.seeds)
    rates = jax.tree.map(lambda rate: rate[None], config.training.rates())
    return lambda: train_epoch(state, examples, rates, plan)[0].network


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Exponent p of time ∝ size^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def measure_ratio(rounds: int, batch: int) -> dict[str, Any]:
    """Training time over floor for each variant, floor and training in turn."""
    n_batches = 12
    timers = {}
    for name, network in VARIANTS.items():
        config = configure(network)
        config = config.model_copy(
            update={"training": config.training.model_copy(update={"batch_size": batch})}
        )
        timers[name] = epoch_timer(config, n_batches * batch)
    found: dict[str, Any] = {"floor": [], "rate": [], **{name: [] for name in timers}}
    for _ in range(rounds):
        floor, rate = floor_seconds((784, 360, 360, 360), batch, 50)
        found["floor"].append(floor)
        found["rate"].append(rate)
        for name, timer in timers.items():
            found[name].append(statistics.median(seconds(timer, 3)) / n_batches)
    return found


def measure_scaling() -> dict[str, Any]:
    """Time against images, steps and synapses."""
    images = [400, 800, 1600, 3200]
    steps = [10, 20, 40, 80]
    widths = [180, 360, 720]
    by_images = [min(seconds(epoch_timer(configure(), n), 3)) for n in images]
    by_steps = [min(seconds(epoch_timer(configure(n_settle_steps=t), 800), 3)) for t in steps]
    wide = [configure({"sizes": (w, w, w), "group_size": 12}) for w in widths]
    by_width = [min(seconds(epoch_timer(config, 800), 3)) for config in wide]
    synapses = [config.network.circuit(784).n_synapses for config in wide]
    return {
        "images": {"sizes": images, "seconds": by_images, "slope": slope(images, by_images)},
        "steps": {"sizes": steps, "seconds": by_steps, "slope": slope(steps, by_steps)},
        "synapses": {"sizes": synapses, "seconds": by_width, "slope": slope(synapses, by_width)},
    }


def measure_epoch() -> dict[str, float]:
    """One whole MNIST epoch (58,000 images) and peak memory, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.speed", "--only-epoch"],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def one_epoch() -> dict[str, float]:
    """Train for one epoch; return its time and this process's peak memory."""
    config = configure()
    data = gncn.load_dataset("mnist")
    one = config.training.model_copy(update={"n_epochs": 1})
    result = gncn.fit(config.networks(784), data, one, seeds=config.seeds)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": result.history[0].seconds, "peak_mib": peak}


def main(
    rounds: Annotated[int, typer.Option(help="Turns of floor and training.", min=1)] = 5,
    batch: Annotated[int, typer.Option(help="Images in a mini-batch.", min=1)] = 200,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
    only_epoch: Annotated[bool, typer.Option("--only-epoch", hidden=True)] = False,
) -> None:
    """Measure training against its arithmetic floor, its memory and its scaling."""
    if only_epoch:
        typer.echo(json.dumps(one_epoch()))
        return
    console = Console()
    console.print("[bold]784-360-360-360, T = 50[/], batch", batch)
    ratios = measure_ratio(rounds, batch)
    table = Table("", "s a batch", "spread", "× floor", "spread")
    for name, times in ratios.items():
        if name == "rate":
            continue
        relative = [t / f for t, f in zip(times, ratios["floor"], strict=True)]
        table.add_row(
            name,
            f"{statistics.median(times):.4f}",
            f"{min(times):.4f}-{max(times):.4f}",
            f"{statistics.median(relative):.3f}",
            f"{min(relative):.3f}-{max(relative):.3f}",
        )
    console.print(table)
    console.print(f"matrix products at {statistics.median(ratios['rate']):.0f} GFLOP/s")
    whole = measure_epoch()
    console.print(
        f"one MNIST epoch (58,000 images, compilation included): {whole['seconds']:.1f} s; peak "
        f"memory of the process {whole['peak_mib']:.0f} MiB"
    )
    scaling = measure_scaling()
    for what, found in scaling.items():
        console.print(f"time against {what}: slope {found['slope']:.2f} over {found['sizes']}")
    if out is not None:
        record = {
            "command": "make bench",
            **machine(),
            "batch": batch,
            "seconds_a_batch": ratios,
            "epoch": whole,
            "scaling": scaling,
        }
        out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
