"""`make bench`: how near training comes to the arithmetic that it can't avoid.

A settling step has six dense products: three predictions W φ and three messages E e.  The floor of
an epoch is their arithmetic, T times for each mini-batch, divided by a rate.  The rate is the best
at which JAX multiplies matrices of those shapes in the same run.  (Training leaves out nine of
these 6 T products, which are the same for every image.  It does six more to learn: 297 for 300 with
T = 50.)
The floor is measured again just before each second of training.  So a change in the machine's speed
hits both.  The result is the median of such turns' ratios, for several sizes of mini-batches and
for wider layers.

Three more numbers show where the time above the floor goes: a loop of those six products and
nothing else shows what JAX makes of them; settling alone adds the functions φ and g; settling with
columns adds competition.

Also measured: how time grows with images, layers, synapses, steps and trials (slopes of log time
against log size; 1 is linear); peak memory of whole training processes; training from a file
against training from memory; several trials in one program against the same trials alone.
"""

import functools
import itertools
import json
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import equinox as eqx
import jax
import numpy as np
import typer
from jax import lax
from rich.console import Console
from rich.progress import track
from rich.table import Table

import gncn
from benchmarks.epochs import epoch_timer, few, in_turn
from benchmarks.machine import command, keep, machine

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
SHAPES = (*(((360,) * 3, batch) for batch in (200, 512, 2000)), ((1000,) * 3, 200))
"""Latent sizes and images of a mini-batch for which training is set against its floor."""
VARIANTS: dict[str, dict[str, Any]] = {
    "learned E, columns": {},
    "learned E, columns, diagonal precision": {"precision": "diagonal"},
    "learned E, columns, full precision": {"precision": "full"},
    "tied E, columns, diagonal precision": {"feedback": "tied", "precision": "diagonal"},
}
CHAIN_FLOP = 1e10
"""Arithmetic of one measurement of one product's rate: about 50 ms of two cores."""
PRODUCTS = "the six products alone, in a loop"
SETTLING: dict[str, dict[str, Any]] = {
    "settling alone, without columns": {"competition": "none", "group_size": None},
    "settling alone, columns": {},
}


def configure(
    network: dict[str, Any] | None = None, *, batch: int = 200, n_trials: int = 1, **settling: Any
) -> gncn.Config:
    """The paper's sizes and steps, with some options changed."""
    return gncn.Config(
        network={**PAPER["network"], **(network or {})},
        settling={**PAPER["settling"], **settling},
        training={"batch_size": batch, "n_epochs": 1},
        n_trials=n_trials,
    )


def wide(width: int, n_layers: int = 3) -> dict[str, Any]:
    """Options of a network of equally wide layers, in columns of ten neurons."""
    return {"sizes": (width,) * n_layers, "group_size": 10}


def timed(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of `repeats` calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        jax.block_until_ready(function())
        times.append(time.perf_counter() - began)
    return times


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Times of `repeats` calls after one that compiles."""
    jax.block_until_ready(function())
    return timed(function, repeats)


def product_chain(rows: int, inner: int, columns: int, n: int) -> Callable[[], Any]:
    """A call that does ``(rows, inner) @ (inner, columns)`` n times, in the better layout."""
    key = jax.random.key(0)
    left = jax.random.normal(key, (rows, inner))
    chains: dict[float, Callable[[], Any]] = {}
    for transposed in (False, True):
        # The better of both layouts counts, since a floor is the best rate that there is.
        right = jax.random.normal(key, (columns, inner) if transposed else (inner, columns))

        @jax.jit
        def chain(left: jax.Array, right: jax.Array, transposed: bool = transposed) -> jax.Array:
            def step(left: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
                product = left @ (right.T if transposed else right)
                # Each product depends a little on the one before, so none can be left out.
                return left.at[0, 0].set(product[0, 0] * 1e-9), product[0, 0]

            return lax.scan(step, left, None, length=n)[1]

        call = functools.partial(chain, left, right)
        chains[min(seconds(call, 5))] = call
    return chains[min(chains)]


def floor_timer(sizes: tuple[int, ...], batch: int, n_steps: int) -> Callable[[], float]:
    """A call that measures how long the dense products of one mini-batch's settling take."""
    chains = []
    for below, above in itertools.pairwise(sizes):
        # More repeats of small products, so that each measurement takes about as long.
        n = max(5, round(CHAIN_FLOP / (2 * batch * above * below)))
        for shape in ((batch, above, below), (batch, below, above)):
            chains.append((product_chain(*shape, n), n_steps / n))
    # The best of two, since anything else on the machine only makes them slower.
    return lambda: sum(share * min(timed(chain, 2)) for chain, share in chains)


def products_timer(sizes: tuple[int, ...], batch: int, n_batches: int) -> Callable[[], float]:
    """A call that times the six products of a step, and what chains them, for `n_batches`."""
    shapes = list(itertools.pairwise(sizes))
    key = jax.random.key(0)
    forward = [jax.random.normal(key, shape) / shape[1] for shape in shapes]
    feedback = [jax.random.normal(key, shape[::-1]) / shape[0] for shape in shapes]
    start = [jax.random.normal(key, (batch, size)) for size in sizes[1:]]

    def step(states: list[jax.Array], _: None) -> tuple[list[jax.Array], None]:
        errors = [z @ w.T for z, w in zip(states, forward, strict=True)]
        messages = [e @ w.T for e, w in zip(errors, feedback, strict=True)]
        return [z + 0.1 * m for z, m in zip(states, messages, strict=True)], None

    # Unrolled as `gncn.core.fast` unrolls settling.
    loop = jax.jit(lambda states: lax.scan(step, states, length=50 * n_batches, unroll=10)[0])
    return lambda: timed(lambda: loop(start), 1)[0]


def settle_timer(config: gncn.Config, data: gncn.Dataset, n_batches: int) -> Callable[[], float]:
    """A call that times settling a mini-batch `n_batches` times, as training does."""
    x = jax.device_put(data.train.images[: config.training.batch_size].astype(np.float32))
    network = config.models(data)[0]
    states = eqx.filter_jit(lambda network, x: gncn.settle(network, x).latents)
    return lambda: timed(lambda: [states(network, x) for _ in range(n_batches)], 1)[0]


def slope(sizes: Sequence[float], times: Sequence[float]) -> float:
    """Exponent p of time ∝ size^p, by least squares on logarithms."""
    return float(np.polyfit(np.log(sizes), np.log(times), 1)[0])


def measure_ratio(rounds: int, sizes: tuple[int, ...], batch: int) -> dict[str, Any]:
    """Time of each variant of training and of its parts, each time just after the floor's."""
    n_synapses = 784 * sizes[0] + sum(a * b for a, b in itertools.pairwise(sizes))
    n_batches = max(1, round(1.2e9 / (batch * n_synapses)))  # about a second of training
    data = few(gncn.load_dataset("mnist"), n_batches * batch)
    shape = {} if sizes == PAPER["network"]["sizes"] else wide(sizes[0], len(sizes))

    def shaped(network: dict[str, Any]) -> gncn.Config:
        return configure({**shape, **network}, batch=batch)

    timers: dict[str, Callable[[], float]] = {}
    for name, network in VARIANTS.items():
        timers[name] = epoch_timer(shaped(network), data)
    for name, network in SETTLING.items():
        timers[name] = settle_timer(shaped(network), data, n_batches)
    timers[PRODUCTS] = products_timer((784, *sizes), batch, n_batches)
    floor = floor_timer((784, *sizes), batch, 50)
    # Compiles, before turns begin.
    for timer in timers.values():
        timer()
    found: dict[str, Any] = {name: {"floor": [], "seconds": []} for name in timers}
    what = f"mini-batches of {batch}, {sizes[0]} wide"
    for _ in track(range(rounds), what, console=Console(stderr=True), transient=True):
        for name, timer in timers.items():
            # The floor just before each measurement: both see the machine at the same speed.
            found[name]["floor"].append(floor())
            found[name]["seconds"].append(min(timer(), timer()) / n_batches)
    return found


def measure_scaling() -> dict[str, Any]:
    """Time against images, layers, synapses, steps and trials."""
    mnist = gncn.load_dataset("mnist")
    configs = {
        "images": {n: (configure(), n) for n in (400, 800, 1600, 3200)},
        "layers": {n: (configure(wide(360, n)), 800) for n in (2, 4, 8)},
        "synapses": {
            784 * width + 2 * width**2: (configure(wide(width)), 800) for width in (180, 360, 720)
        },
        "steps": {n: (configure(n_settle_steps=n), 800) for n in (10, 20, 40, 80)},
        "trials": {n: (configure(n_trials=n), 800) for n in (1, 2, 4, 8)},
    }
    found = {}
    for what, sizes in configs.items():
        times = []
        for config, n_images in sizes.values():
            timer = epoch_timer(config, few(mnist, n_images))
            times.append(min([timer() for _ in range(4)][1:]))  # the first compiles
        found[what] = {"sizes": list(sizes), "seconds": times, "slope": slope([*sizes], times)}
    return found


def measure_streaming(rounds: int, n_images: int) -> dict[str, Any]:
    """Epochs over grey bytes in a file, streamed and in memory, with few and many steps."""
    # Grey bytes: binarising them is a part of what streaming costs.
    images = gncn.load_dataset("mnist").train.array[:n_images] * np.uint8(255)
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        sides = {
            side: gncn.load_file(path, stream=stream, max_value=255, n_validation=1, n_test=1)
            for side, stream in (("memory", False), ("streamed", True))
        }
        for n_steps in (5, 50):
            config = configure(n_settle_steps=n_steps)
            timers = {side: [epoch_timer(config, data)] for side, data in sides.items()}
            found[f"T={n_steps}"] = in_turn(timers, rounds)
    return found


def measure_trials(rounds: int, n_images: int, n_trials: int) -> dict[str, Any]:
    """Epochs of several trials in one program, and of as many trials alone."""
    data = few(gncn.load_dataset("mnist"), n_images)
    found = {}
    for n_steps in (5, 50):
        alone = epoch_timer(configure(n_settle_steps=n_steps), data)
        together = epoch_timer(configure(n_settle_steps=n_steps, n_trials=n_trials), data)
        # As many runs of one trial as the other side has in its program.
        sides = {"alone": [alone] * n_trials, "in one program": [together]}
        found[f"T={n_steps}"] = {"trials": n_trials, **in_turn(sides, rounds)}
    return found


def measure_memory() -> dict[str, Any]:
    """Peak memory of training processes against mini-batch and width, and fitted lines."""
    found = {}
    for what, option, sizes in (
        ("images of a mini-batch", "batch", (200, 1000, 5000)),
        ("width of layers", "width", (180, 360, 720, 1440)),
    ):
        shapes = [{"width": 360, "batch": 200} | {option: size} for size in sizes]
        peaks = [measure_epoch(**shape)["peak_mib"] for shape in shapes]
        growth, least = np.polyfit(sizes, peaks, 1)
        found[what] = {
            "sizes": list(sizes),
            "peak_mib": peaks,
            "mib_for_each": float(growth),
            "mib_without": float(least),
        }
    return found


def measure_epoch(**options: int) -> dict[str, float]:
    """An epoch and peak memory, in a process of its own: see `one_epoch`."""
    asked = [f"--{name}={value}" for name, value in options.items()]
    done = subprocess.run(
        # Peak memory is a process's own, so each measurement needs a new one.
        [sys.executable, "-m", "benchmarks.speed", "--only-epoch", *asked],
        capture_output=True,
        encoding="utf-8",
        check=True,
    )
    return json.loads(done.stdout)


def one_epoch(batch: int, width: int | None) -> dict[str, float]:
    """Train for one MNIST epoch; return its time and this process's peak memory.

    Without a width the network is the paper's, and learns from all images.  With one it has three
    layers as wide, and learns from 10,000 images with T = 5, to be done sooner.
    """
    data, config = gncn.load_dataset("mnist"), configure(batch=batch)
    if width is not None:
        data = few(data, 10_000)
        config = configure(wide(width), batch=batch, n_settle_steps=5)
    result = gncn.fit(config.models(data), data, config.training, seeds=config.seeds)
    return {"seconds": result.history[0].seconds, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """This process's peak memory.

    On Linux from /proc, since `getrusage` includes the peak of the process that started this one.
    """
    try:
        status = Path("/proc/self/status").read_text(encoding="utf-8")
    except OSError:
        # macOS counts bytes, Linux kilobytes.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) / 2**10


def show_ratio(console: Console, found: dict[str, Any], sizes: tuple[int, ...], batch: int) -> None:
    """Print each variant's time over the floor."""
    network = "-".join(map(str, (784, *sizes)))
    console.print(f"[bold]{network}, T = 50[/], mini-batches of {batch}")
    floors = [floor for turns in found.values() for floor in turns["floor"]]
    table = Table("", "s a batch", "× floor", "middle half of the turns", "best × best floor")
    for name, turns in found.items():
        relative = np.divide(turns["seconds"], turns["floor"])
        low, middle, high = np.quantile(relative, (0.25, 0.5, 0.75))
        table.add_row(
            name,
            f"{statistics.median(turns['seconds']):.4f}",
            f"{middle:.3f}",
            f"{low:.3f}-{high:.3f}",
            f"{min(turns['seconds']) / min(floors):.3f}",
        )
    console.print(table)
    floor = statistics.median(floors)
    products = 4 * 50 * batch * sum(a * b for a, b in itertools.pairwise((784, *sizes)))
    console.print(
        f"floor: {floor:.4f} s a batch, matrix products at {products / floor / 1e9:.0f} GFLOP/s"
    )


def measure_rest(console: Console, record: dict[str, Any]) -> None:
    """Measure, print and record an epoch, scaling, memory, streaming and trials."""
    record["epoch"] = measure_epoch()
    console.print(
        f"one MNIST epoch (58,000 images, compilation included): {record['epoch']['seconds']:.1f} "
        f"s; peak memory of the process {record['epoch']['peak_mib']:.0f} MiB"
    )
    record["scaling"] = measure_scaling()
    for what, found in record["scaling"].items():
        console.print(f"time against {what}: slope {found['slope']:.2f} over {found['sizes']}")
    record["memory"] = measure_memory()
    for what, found in record["memory"].items():
        console.print(
            f"peak memory against {what}: {found['mib_without']:.0f} MiB and "
            f"{found['mib_for_each']:.3f} MiB for each, over {found['sizes']}"
        )
    record["streaming"] = measure_streaming(4, 6000)
    record["trials"] = measure_trials(4, 3000, 10)
    for what, above, below in (
        ("streaming", "memory", "streamed"),
        ("trials", "in one program", "alone"),
    ):
        for steps, found in record[what].items():
            ratios = [a / b for a, b in zip(found[above], found[below], strict=True)]
            console.print(
                f"{what}, {steps}: seconds {above} ÷ {below}: {statistics.median(ratios):.3f} "
                f"({min(ratios):.3f}-{max(ratios):.3f})"
            )


def main(
    rounds: Annotated[int, typer.Option(help="Turns of each, the floor before it.", min=1)] = 11,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
    only_ratios: Annotated[
        bool, typer.Option("--only-ratios", help="Measure only time over the floor.")
    ] = False,
    only_epoch: Annotated[bool, typer.Option("--only-epoch", hidden=True)] = False,
    batch: Annotated[int, typer.Option(hidden=True)] = 200,
    width: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure training against its arithmetic floor, its memory and its scaling."""
    if only_epoch:
        typer.echo(json.dumps(one_epoch(batch, width)))
        return
    console = Console()
    record: dict[str, Any] = {"command": command(), **machine(), "shapes": []}
    for sizes, images in SHAPES:
        found = measure_ratio(rounds, sizes, images)
        show_ratio(console, found, sizes, images)
        record["shapes"].append({"sizes": sizes, "batch": images, "seconds_a_batch": found})
    if not only_ratios:
        measure_rest(console, record)
    if out is not None:
        console.print(f"record: {keep(out, 'speed', record)}")


if __name__ == "__main__":
    typer.run(main)
