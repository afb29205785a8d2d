"""`make study-fast`: what each way of saving settling steps does to what is learned.

For each data set, way and seed a 360-360-360 network is trained for the same time (a whole
number of epochs, as near to it as they go), then measured on validation images: BCE, error
of the linear probe on the top layer, log p(x) at S = 5000 with a mixture prior.  Prior and
probe are fitted to the codes of the first 20,000 training images.  And ψ is followed
step by step while a network, trained exactly, settles in each way.

Ways are compared core by core where a process is bound to one (``taskset``): the record
says how many cores it could use.

With ``--epochs 50 --out results/fifty`` networks are trained for equal epochs instead, and
``--way`` chooses among the ways.

Every finished run is a record of its own under ``results/fast/``; started again, the study
goes on with what is missing, draws the figures and writes the tables of
``docs/performance.md``, each between two lines that name it, from the records.
"""

import dataclasses
import json
import re
import statistics
import time
from collections.abc import Callable
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
from benchmarks.machine import machine
from gncn.base.files import write_atomic
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.evaluation.measure import fit_prior, measure_likelihood, measure_probe
from gncn.evaluation.subject import Subject, as_measurable
from gncn.runs.config import Config, NetworkConfig, SettlingConfig, TrainingConfig
from gncn.training.epochs import trial
from gncn.training.examples import examples_of
from gncn.training.hebbian import start_training, train_epoch

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
SWEPT = {"n_settle_steps": 10, "step_size": (0.4, 0.3, 0.3), "order": "sequential"}
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
    "heavy ball (T = 12)": {
        "settling": {
            "n_settle_steps": 12,
            "step_size": 0.2,
            "acceleration": "heavy-ball",
            "momentum": 0.4,
        }
    },
    "Nesterov (T = 12)": {
        "settling": {
            "n_settle_steps": 12,
            "step_size": 0.2,
            "acceleration": "nesterov",
            "momentum": 0.4,
        }
    },
    "Anderson (T = 12)": {
        "settling": {
            "n_settle_steps": 12,
            "step_size": 0.2,
            "acceleration": "anderson",
            "memory": 2,
        }
    },
    "curvature bound (T = 20)": {
        "settling": {"n_settle_steps": 20, "step_size": 1.5, "step_rule": "curvature"}
    },
    "Newton, bfloat16 (T = 5)": {
        "settling": {
            **LOW,
            "n_settle_steps": 5,
            "step_size": 0.5,
            "order": "sequential",
            "step_rule": "newton",
            "damping": 0.3,
            "pixel_variance": 0.05,
        }
    },
    "sequential (T = 10)": {"settling": SWEPT},
    "sequential, bfloat16 (T = 10)": {"settling": {**SWEPT, **LOW}},
    "amortised start (T = 5)": {
        "network": {"start": "amortised"},
        "settling": {**SWEPT, **LOW, "n_settle_steps": 5},
    },
    "kept states (T = 5)": {
        "settling": {**SWEPT, **LOW, "n_settle_steps": 5},
        "training": {"keep_states": True},
    },
    "learning while settling (T = 20, 4 updates)": {
        "settling": {**SHORT, **LOW},
        "training": {"updates_per_batch": 4},
    },
    "sequential heavy ball, 3 updates (T = 12)": {
        "settling": {
            **SWEPT,
            **LOW,
            "n_settle_steps": 12,
            "acceleration": "heavy-ball",
            "momentum": 0.2,
        },
        "training": {"updates_per_batch": 3},
    },
}
"""What each way changes."""
ONLY_EPOCHS = ("exact, mini-batches of 500 (T = 50)", "bfloat16, mini-batches of 500 (T = 20)")
"""Ways that need many epochs: without `--epochs` or their name they are left out."""
N_CODES = 20_000
"""Training images whose codes prior and probe are fitted to."""


def configure(way: str, seed: int = 0, n_epochs: int = 1) -> Config:
    """The configuration of one way."""
    changes = WAYS[way]
    return Config(
        seed=seed,
        network=NetworkConfig(**{**NETWORK, **changes.get("network", {})}),
        settling=SettlingConfig(**{**SETTLING, **changes.get("settling", {})}),
        training=TrainingConfig(
            **{**TRAINING, "n_epochs": n_epochs, **changes.get("training", {})}
        ),
    )


def trainer(config: Config, data: Dataset, n_images: int) -> Callable[[Any], tuple[Any, float]]:
    """A function that trains for one epoch of `n_images`, from a state or the start."""
    plan = config.training.plan()
    few = dataclasses.replace(data.train, images=data.train.array[:n_images], labels=None)
    examples = jax.device_put(examples_of(few))
    rates = jax.tree.map(lambda rate: rate[None], config.training.rates())

    def epoch(state: Any) -> tuple[Any, float]:
        if state is None:
            n_kept = n_images if plan.keep_states else None
            networks = config.networks(data.n_pixels)
            state = start_training(networks, plan.rule, config.seeds, n_kept)
        began = time.perf_counter()
        state, _ = train_epoch(state, examples, rates, plan)
        jax.block_until_ready(state.network)
        return state, time.perf_counter() - began

    return epoch


def epochs_within(way: str, data: Dataset, seed: int, budget: float) -> int:
    """Whole epochs that take about `budget` seconds, compilation not counted."""
    n_images = len(data.train)
    sample = min(4000, n_images)
    pilot = trainer(configure(way, seed), data, sample)
    pilot(None)
    seconds = min(pilot(None)[1] for _ in range(2)) * n_images / sample
    return max(1, round(budget / seconds))


def train_for(way: str, data: Dataset, seed: int, n_epochs: int) -> tuple[Network, float]:
    """Train a network.

    Returns:
        The network, and the seconds that its epochs took, the compilation of the first included.
    """
    epoch = trainer(configure(way, seed, n_epochs), data, len(data.train))
    state: Any = None
    spent: list[float] = []
    for _ in range(n_epochs):
        state, seconds = epoch(state)
        spent.append(seconds)
    return trial(state, 0), float(sum(spent))


def measure(network: Network, data: Dataset, seed: int) -> dict[str, float]:
    """BCE, probe error and log p(x) of validation images."""
    train = data.train
    labels = None if train.labels is None else train.labels[:N_CODES]
    few = dataclasses.replace(train, images=train.images[:N_CODES], labels=labels)
    subject = Subject(
        as_measurable(network), dataclasses.replace(data, train=few), "validation", seed
    )
    reconstruction = gncn.reconstruct(network, data.validation.images)
    x, p = data.validation.array, np.clip(reconstruction, 1e-7, 1 - 1e-7)
    bce = -np.sum(np.where(x == 1, np.log(p), np.log1p(-p)), axis=1)
    fit, _ = fit_prior(subject)
    likelihood = measure_likelihood(subject, fit.mixture, n_repeats=1, curve=(100,))
    probe, _ = measure_probe(subject)
    states = subject.codes("validation")
    return {
        "bce": float(bce.mean()),
        "probe_error_percent": min(probe[kind]["error_percent"] for kind in ("z", "phi")),
        "log_likelihood": likelihood["mean"],
        "top_sparsity": float(np.mean(states > 1e-6)),
    }


def follow(network: Network, way: str, images: np.ndarray, n_steps: int) -> dict[str, Any]:
    """ψ of images after each step of settling in one way, and the seconds of a step."""
    config = configure(way)
    manner = {
        name: getattr(config.settling, name)
        for name in gncn.Settling.model_fields
        if name not in ("n_settle_steps", "tolerance")
    }
    steps = config.settling.step_size
    steps = steps if isinstance(steps, tuple) else (steps,) * network.circuit.n_latent
    network = eqx.tree_at(lambda n: n.dynamics.step_size, network, jnp.asarray(steps))
    network = dataclasses.replace(network, settling=gncn.Settling(**manner, n_settle_steps=n_steps))
    recorded = gncn.settle(network, images, keep_discrepancy=True)
    assert recorded.trajectory is not None
    settle = eqx.filter_jit(lambda net, x: gncn.settle(net, x).latents)
    x = jnp.asarray(images[:200], jnp.float32)
    jax.block_until_ready(settle(network, x))
    times = []
    for _ in range(5):
        began = time.perf_counter()
        jax.block_until_ready(settle(network, x))
        times.append(time.perf_counter() - began)
    return {
        "psi": np.asarray(recorded.trajectory.discrepancy.total).mean(axis=1).tolist(),
        "change": np.asarray(recorded.trajectory.change).mean(axis=(1, 2)).tolist(),
        "seconds_a_step": statistics.median(times) / n_steps,
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
    figure.savefig(path, dpi=150)


def refuse_other_lengths(path: Path, budget: float | None, n_epochs: int | None) -> None:
    """Refuse to go on with a study whose runs were longer or shorter.

    Raises:
        BadParameter: the record's length is another.
    """
    record = json.loads(path.read_text())
    if record["budget"] != budget or n_epochs not in (None, record["n_epochs"]):
        was = (
            f"{record['budget']:g} seconds" if record["budget"] else f"{record['n_epochs']} epochs"
        )
        raise typer.BadParameter(
            f"{path} is of {was}; ask for as many, or write to another folder with --out."
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
    out: Annotated[Path, typer.Option(help="Folder of the records.")] = Path("results/fast"),
    document: Annotated[Path, typer.Option(help="Markdown with a place for each table.")] = Path(
        "docs/performance.md"
    ),
    figures: Annotated[Path, typer.Option(help="Folder of the figures.")] = Path("docs/figures"),
) -> None:
    """Train networks in each way of saving time, for the same time, and compare them."""
    console = Console()
    out.mkdir(parents=True, exist_ok=True)
    names = data or ["mnist", "fashion-mnist"]
    ways = way or [one for one in WAYS if epochs or one not in ONLY_EPOCHS]
    if unknown := [one for one in ways if one not in WAYS]:
        raise typer.BadParameter(f"no way is called {unknown[0]!r}; there are {', '.join(WAYS)}.")
    for name in names:
        around(document, f"{out.name}-{name}")  # or refuse before hours of training
    seeds = [0, 1, 2] if seed is None else seed
    todo = [(name, number, one) for name in names for number in seeds for one in ways]
    with Progress(console=console) as progress:
        task = progress.add_task("runs", total=len(todo))
        for name, number, one in todo:
            slug = "".join(c if c.isalnum() else "-" for c in one).strip("-")
            path = out / f"{name}-{slug}-{number}.json"
            if path.exists():
                refuse_other_lengths(path, None if epochs else seconds, epochs)
            else:
                progress.update(task, description=f"{name}, {one}, seed {number}")
                loaded = gncn.load_dataset(name)
                n_epochs = epochs or epochs_within(one, loaded, number, seconds)
                network, spent = train_for(one, loaded, number, n_epochs)
                record = {
                    "data": name,
                    "way": one,
                    "seed": number,
                    "budget": None if epochs else seconds,
                    "n_epochs": n_epochs,
                    "seconds": spent,
                    **measure(network, loaded, number),
                    **machine(),
                }
                write_atomic(path, json.dumps(record, indent=2) + "\n")
                if one == next(iter(WAYS)) and number == 0 and not epochs:
                    gncn.save(network, Path("runs") / f"fast-{name}")
            progress.advance(task)
    for name in names:
        folder = Path("runs") / f"fast-{name}"
        target = out / f"{name}-psi.json"
        if folder.exists() and not target.exists() and not epochs:
            exact = gncn.load(folder)
            images = gncn.load_dataset(name).validation.images[:1000]
            followed = {
                one: follow(exact, one, images, 50)
                for one in WAYS
                if not {"network", "training"} & WAYS[one].keys()
                and "tolerance" not in str(WAYS[one])
            }
            write_atomic(target, json.dumps(followed) + "\n")
        if target.exists():
            draw(json.loads(target.read_text()), figures / f"settling-{name}.png")
        paths = sorted(out.glob(f"{name}-*-[0-9]*.json"))
        text = table([json.loads(path.read_text()) for path in paths])
        console.print(text)
        put(document, f"{out.name}-{name}", text)


if __name__ == "__main__":
    typer.run(main)
