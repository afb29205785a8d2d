"""`make study-fast`: what each way of saving settling steps does to what is learned.

For each data set, way and seed a 360-360-360 network is trained for the same time (the whole number
of epochs nearest to it), then measured on validation images: BCE, error of the linear probe on the
top layer, log p(x) at S = 5000 with a mixture prior.  Prior and probe are fitted to the codes of
the first 20,000 training images.  ψ is also followed step by step while a network, trained exactly,
settles in each way.

To compare ways core by core, bind the process to one core (``taskset -c 0``); the record says how
many cores it could use.  With ``--epochs 50 --out results/fifty.json`` networks are trained for
equal epochs instead, and ``--way`` chooses among the ways.

One JSON file holds all finished runs.  Started again, the study goes on with what is missing, draws
the figures and writes the tables of ``docs/performance.md`` from the records.  The lines around a
table name it.
"""

import dataclasses
import json
import re
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import typer
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress

import gncn
from benchmarks.document import around, put
from benchmarks.epochs import epoch_timer, few
from benchmarks.machine import machine, write
from gncn.measures import Likelihood, LinearProbe, Subject, as_measurable

NETWORK: dict[str, Any] = {
    "sizes": (360, 360, 360),
    "competition": "columns",
    "group_size": (12, 12, 18),
    "precision": "diagonal",
    "compared": "activity",
    "competing": "activity",
    "norm": "clipped",
    "max_norm": (1.5, 1.0, 1.0),
    "norm_axis": "receiving",
}
SETTLING: dict[str, Any] = {
    "self_excitation": 0.15,
    "lateral_inhibition": (0.1, 0.1, 0.17),
    "initial_precision": 0.5,
}
TRAINING: dict[str, Any] = {"learning_rate": 2e-3, "schedule": "cosine", "precision_rate": 0.0}

EXACT = {"n_settle_steps": 50, "step_size": 0.1}
SHORT = {"n_settle_steps": 20, "step_size": 0.2}
SWEPT = {"settler": "sequential", "n_settle_steps": 10, "step_size": (0.4, 0.3, 0.3)}
LOW = {"products": "bfloat16"}
LARGE = {"batch_size": 500, "learning_rate": 1e-3}
WAYS: dict[str, dict[str, dict[str, Any]]] = {
    "exact (T = 50)": {"settling": EXACT},
    "exact, mini-batches of 500 (T = 50)": {"settling": EXACT, "training": LARGE},
    "longer steps (T = 20)": {"settling": SHORT},
    "bfloat16 (T = 20)": {"settling": {**SHORT, **LOW}},
    "bfloat16, mini-batches of 500 (T = 16)": {
        "settling": {"n_settle_steps": 16, "step_size": 0.25, **LOW},
        "training": LARGE,
    },
    "bfloat16, mini-batches of 500 (T = 20)": {
        "settling": {"n_settle_steps": 20, "step_size": 0.25, **LOW},
        "training": LARGE,
    },
    "to rest (T ≤ 50)": {"settling": {"n_settle_steps": 50, "step_size": 0.2, "tolerance": 0.05}},
    "momentum (T = 12)": {
        "settling": {"settler": "momentum", "momentum": 0.4, "n_settle_steps": 12, "step_size": 0.2}
    },
    "Newton, bfloat16 (T = 5)": {
        "settling": {
            **LOW,
            "settler": "newton",
            "sequential": True,
            "damping": 0.3,
            "pixel_variance": 0.05,
            "n_settle_steps": 5,
            "step_size": 0.5,
        }
    },
    "sequential (T = 10)": {"settling": SWEPT},
    "sequential, bfloat16 (T = 10)": {"settling": {**SWEPT, **LOW}},
    "iPC (T = 20, 4 updates)": {
        "settling": {**SHORT, **LOW},
        "training": {"ipc_updates": 4},
    },
}
"""What each way changes."""
ONLY_EPOCHS = ("exact, mini-batches of 500 (T = 50)", "bfloat16, mini-batches of 500 (T = 20)")
"""Ways that need many epochs: without `--epochs` or their name they are left out."""
N_CODES = 20_000
"""Training images whose codes prior and probe are fitted to."""


N_FOLLOWED, FOLLOWED_STEPS = 1000, 50
"""Validation images whose ψ is followed, and for how many steps."""


def configure(way: str, seed: int = 0, n_epochs: int = 1) -> gncn.Config:
    """The configuration of one way."""
    changes = WAYS[way]
    return gncn.Config(
        seed=seed,
        network=NETWORK,
        settling={**SETTLING, **changes.get("settling", {})},
        training={**TRAINING, "n_epochs": n_epochs, **changes.get("training", {})},
    )


def epochs_within(way: str, data: gncn.Dataset, seed: int, budget: float) -> int:
    """Whole epochs that take about `budget` seconds, compilation not counted."""
    n_images = min(4000, len(data.train))
    pilot = epoch_timer(configure(way, seed), few(data, n_images))
    pilot()
    seconds = min(pilot(), pilot()) * len(data.train) / n_images
    return max(1, round(budget / seconds))


def train_for(way: str, data: gncn.Dataset, seed: int, n_epochs: int) -> tuple[gncn.Network, float]:
    """Train a network.

    Returns:
        The network, and the seconds of its epochs, including compilation in the first.
    """
    config = configure(way, seed, n_epochs)
    trained = gncn.fit(config.models(data), few(data), config.training, seeds=config.seeds)
    return trained.network, sum(record.seconds for record in trained.history)


def measure(network: gncn.Network, data: gncn.Dataset, seed: int) -> dict[str, float]:
    """BCE, probe error and log p(x) of validation images."""
    # The same number for all ways, so that fitting costs each the same.
    train = dataclasses.replace(data, train=data.train.subset(np.arange(N_CODES)))
    subject = Subject(as_measurable(network), train, "validation", seed)
    x = data.validation.array
    # Clipped, so that a sure pixel can't make the sum infinite.
    p = np.clip(gncn.reconstruct(network, data.validation.images), 1e-7, 1 - 1e-7)
    bce = -np.sum(np.where(x == 1, np.log(p), np.log1p(-p)), axis=1)
    estimate = Likelihood(n_repeats=1, curve=(100,), other_priors=False).measure(subject).numbers
    probe = LinearProbe().measure(subject).numbers["probe"][0]
    return {
        "bce": float(bce.mean()),
        "probe_error_percent": min(probe[kind]["error_percent"] for kind in ("z", "phi")),
        "log_likelihood": estimate["likelihood"]["mean"],
        "top_sparsity": float(np.mean(subject.codes("validation") > 1e-6)),
    }


def follow(network: gncn.Network, way: str, data: gncn.Dataset) -> dict[str, Any]:
    """Let a network settle in one way.

    Args:
        network: trained in whatever way.
        way: how it settles.
        data: whose validation images it settles on.

    Returns:
        ``psi``, the mean discrepancy after each step, and ``seconds_a_step`` of 200 images.
    """
    like = configure(way).models(data)[0]
    # The network keeps what it learned, and takes over how and how far each step goes.
    network = dataclasses.replace(network, settler=like.settler)
    network = eqx.tree_at(
        lambda n: [layer.step_size for layer in n.layers],
        network,
        [layer.step_size for layer in like.layers],
    )
    images = data.validation.images[:N_FOLLOWED]
    _, trajectory = gncn.watch(network, images, n_settle_steps=FOLLOWED_STEPS)
    settle = eqx.filter_jit(
        lambda network, x: gncn.settle(network, x, n_settle_steps=FOLLOWED_STEPS).latents
    )
    x = jnp.asarray(images[:200], jnp.float32)
    # Compiles.
    jax.block_until_ready(settle(network, x))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(settle(network, x))
        times.append(time.perf_counter() - began)
    return {
        "psi": np.asarray(trajectory.discrepancy.total).mean(axis=1).tolist(),
        "seconds_a_step": statistics.median(times) / FOLLOWED_STEPS,
    }


def table(records: list[dict[str, Any]]) -> str:
    """Mean ± standard deviation over seeds, one row for each way, of one data set's records."""
    lines = [
        "| way | runs | epochs | seconds | BCE | probe error % | log p(x) | top sparsity |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for way in WAYS:
        runs = [r for r in records if r["way"] == way]
        if not runs:
            continue

        def spread(name: str, digits: int, runs: list[dict[str, Any]] = runs) -> str:
            values = [run[name] for run in runs]
            sd = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.{digits}f}{sd}"

        epochs = sorted({run["n_epochs"] for run in runs})
        shown = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]}–{epochs[-1]}"
        lines.append(
            f"| {way} | {len(runs)} | {shown} | {spread('seconds', 0)} | "
            f"{spread('bce', 2)} | {spread('probe_error_percent', 2)} | "
            f"{spread('log_likelihood', 2)} | {spread('top_sparsity', 3)} |"
        )
    return "\n".join(lines) + "\n"


def draw(followed: dict[str, dict[str, Any]], path: Path) -> None:
    """ψ against steps and against time, one line for each way of settling."""
    figure = Figure(figsize=(10.5, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for way, found in followed.items():
        psi = np.asarray(found["psi"])
        dashes = "--" if "bfloat16" in way else "-"  # steps as in single precision lie below
        label = re.sub(r" \(T = \d+\)", "", way)  # all are followed for as many steps
        left.plot(psi, dashes, label=label)
        right.plot(np.arange(len(psi)) * found["seconds_a_step"] * 1e3, psi, dashes, label=label)
    left.set(xlabel="steps", ylabel="ψ of validation images (nats)")
    right.set(xlabel="milliseconds for 200 images")
    best = max(max(found["psi"]) for found in followed.values())
    left.set_ylim(best - 150, best + 10)
    figure.legend(*right.get_legend_handles_labels(), loc="outside right center", fontsize=7)
    figure.savefig(path, dpi=100)


def refuse_other_lengths(
    record: Mapping[str, Any], out: Path, budget: float | None, n_epochs: int | None
) -> None:
    """Refuse to go on with a study whose runs were longer or shorter.

    Raises:
        BadParameter: the record's length is another.
    """
    if record["budget"] != budget or n_epochs not in (None, record["n_epochs"]):
        was = (
            f"{record['budget']:g} seconds" if record["budget"] else f"{record['n_epochs']} epochs"
        )
        raise typer.BadParameter(
            f"{out} has runs of {was}; ask for as many, or write to another file with --out."
        )


def main(
    seconds: Annotated[float, typer.Option(help="Training time of each run.", min=1)] = 45.0,
    epochs: Annotated[
        int | None, typer.Option(help="Train for so many epochs, not for a time.", min=1)
    ] = None,
    way: Annotated[
        list[str] | None,
        typer.Option(
            help="Ways; repeat for several. Default: all that suit --seconds or --epochs."
        ),
    ] = None,
    seed: Annotated[
        list[int] | None,
        typer.Option(help="Seeds; repeat for several. Default: 0, 1 and 2.", min=0),
    ] = None,
    data: Annotated[list[str] | None, typer.Option(help="Data sets; repeat for several.")] = None,
    out: Annotated[Path, typer.Option(help="File of the records.")] = Path("results/fast.json"),
    document: Annotated[Path, typer.Option(help="Markdown with a place for each table.")] = Path(
        "docs/performance.md"
    ),
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("docs/figures"),
) -> None:
    """Train networks for the same time in each way of saving time, and compare them."""
    console = Console()
    names = data or ["mnist", "fashion-mnist"]
    ways = way or [one for one in WAYS if epochs or one not in ONLY_EPOCHS]
    if unknown := [one for one in ways if one not in WAYS]:
        raise typer.BadParameter(f"no way is called {unknown[0]!r}; there are {', '.join(WAYS)}.")
    for name in names:
        around(document, f"{out.stem}-{name}")  # or refuse before hours of training
    kept = (
        json.loads(out.read_text(encoding="utf-8"))
        if out.exists()
        else {"runs": [], "followed": {}}
    )
    for record in kept["runs"]:
        refuse_other_lengths(record, out, None if epochs else seconds, epochs)
    done = {(record["data"], record["seed"], record["way"]) for record in kept["runs"]}
    seeds = [0, 1, 2] if seed is None else seed
    todo = [(name, number, one) for name in names for number in seeds for one in ways]
    todo = [run for run in todo if run not in done]
    with Progress(console=console) as progress:
        task = progress.add_task("runs", total=len(todo))
        for name, number, one in todo:
            progress.update(task, description=f"{name}, {one}, seed {number}")
            loaded = gncn.load_dataset(name)
            n_epochs = epochs or epochs_within(one, loaded, number, seconds)
            network, spent = train_for(one, loaded, number, n_epochs)
            kept["runs"].append(
                {
                    "data": name,
                    "way": one,
                    "seed": number,
                    "budget": None if epochs else seconds,
                    "n_epochs": n_epochs,
                    "seconds": spent,
                    **measure(network, loaded, number),
                    **machine(),
                }
            )
            # Once, by the network of the first way, which is exact.
            if one == next(iter(WAYS)) and number == 0 and not epochs:
                kept["followed"][name] = {
                    each: follow(network, each, loaded)
                    for each in WAYS
                    if "training" not in WAYS[each] and "tolerance" not in str(WAYS[each])
                }
            # After each run, so that a study that is stopped goes on from here.
            write(out, as_text(kept))
            progress.advance(task)
    for name in names:
        if name in kept["followed"] and name == names[0]:  # one figure is enough
            draw(kept["followed"][name], figures / f"settling-{name}.png")
        text = table([record for record in kept["runs"] if record["data"] == name])
        console.print(text)
        put(document, f"{out.stem}-{name}", text)


def as_text(kept: Mapping[str, Any]) -> str:
    """The records as JSON, a line for each run and for each way that ψ was followed in."""
    runs = ",\n".join(json.dumps(record) for record in kept["runs"])
    followed = ",\n".join(
        f"{json.dumps(name)}: {{\n"
        + ",\n".join(f"{json.dumps(way)}: {json.dumps(found)}" for way, found in ways.items())
        + "\n}"
        for name, ways in kept["followed"].items()
    )
    return f'{{"runs": [\n{runs}\n],\n"followed": {{{followed}}}}}\n'


if __name__ == "__main__":
    typer.run(main)
