"""Streaming from a file against memory, and trials at once against trials one by one.

Both sides of each comparison do the same work with the same numbers and take turns, epoch
by epoch, so that a change in the machine's speed hits both; the first round, in which
programs are compiled, doesn't count.
"""

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import jax
import numpy as np
import typer
from rich.console import Console

import gncn
from benchmarks.machine import command, machine
from benchmarks.speed import configure
from gncn.runs.config import Config
from gncn.training.epochs import TrainingState
from gncn.training.examples import Source, examples_of, on_device
from gncn.training.hebbian import start_training, train_epoch

CHUNK = 15
"""Mini-batches between which trials take turns, as in an epoch of all of MNIST."""
Epoch = Callable[[], None]
"""Trains for an epoch and waits until it is done."""


def epoch_of(config: Config, source: Source, n_trials: int, together: bool | None = None) -> Epoch:
    """Epochs of a few trials, whose learning rates differ."""
    plan = config.training.plan()
    networks = config.model_copy(update={"n_trials": n_trials}).networks(784)
    scale = 1 + np.arange(n_trials, dtype=np.float32) / 10
    rates = jax.tree.map(lambda rate: rate * scale, config.training.rates())
    states: list[TrainingState] = [start_training(networks, plan.rule, list(range(n_trials)))]

    def epoch() -> None:
        after, _ = train_epoch(states.pop(), source, rates, plan, together=together, chunk=CHUNK)
        states.append(jax.block_until_ready(after))

    return epoch


def compare(rounds: int, sides: dict[str, list[Epoch]]) -> dict[str, list[float]]:
    """Seconds of each side in each round; a side is epochs that are done one after another."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(rounds + 1):
        for name, epochs in sides.items():
            began = time.perf_counter()
            for epoch in epochs:
                epoch()
            if number > 0:
                found[name].append(time.perf_counter() - began)
    return found


def ratio(found: dict[str, list[float]], above: str, below: str) -> dict[str, float]:
    """Median, least and greatest ratio over rounds."""
    ratios = [a / b for a, b in zip(found[above], found[below], strict=True)]
    return {"median": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}


def measure_streaming(config: Config, rounds: int, n_images: int) -> dict[str, Any]:
    """Epochs over grey bytes in a file, streamed and in memory."""
    images = gncn.load_dataset("mnist").train.array[:n_images] * np.uint8(255)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npy"
        np.save(path, images)
        sides = {}
        for name, stream in (("memory", False), ("streamed", True)):
            data = gncn.load_file(path, stream=stream, max_value=255, n_validation=1, n_test=1)
            sides[name] = [epoch_of(config, on_device(examples_of(data.train)), 1)]
        found = compare(rounds, sides)
    return {"seconds": found, "speed_streamed_over_memory": ratio(found, "memory", "streamed")}


def measure_trials(config: Config, rounds: int, n_images: int, n_trials: int) -> dict[str, Any]:
    """Epochs of several trials in one program, and of as many trials alone."""
    images = gncn.load_dataset("mnist").train.subset(np.arange(n_images))
    source = on_device(examples_of(images))
    found = compare(
        rounds,
        {
            "alone": [epoch_of(config, source, 1)] * n_trials,
            "one after the other": [epoch_of(config, source, n_trials, together=False)],
            "at once": [epoch_of(config, source, n_trials, together=True)],
        },
    )
    return {
        "trials": n_trials,
        "seconds": found,
        "one_after_the_other_over_alone": ratio(found, "one after the other", "alone"),
        "at_once_over_alone": ratio(found, "at once", "alone"),
    }


def main(
    rounds: Annotated[int, typer.Option(help="Turns after the first, which doesn't count.")] = 4,
    images: Annotated[
        int, typer.Option(help="Images of a streamed epoch; half of them for trials.")
    ] = 6000,
    trials: Annotated[int, typer.Option(help="Trials in one program.")] = 10,
    steps: Annotated[list[int] | None, typer.Option(help="T; may be repeated.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the figures to this JSON file.")] = None,
) -> None:
    """Measure streaming, and several trials in one program."""
    console, found = Console(), {}
    for n_steps in steps or (5, 50):
        config = configure(n_settle_steps=n_steps)
        streaming = measure_streaming(config, rounds, images)
        together = measure_trials(config, rounds, images // 2, trials)
        found[f"T={n_steps}"] = {"streaming": streaming, "trials": together}
        for what, figures in {
            "speed, streamed ÷ in memory": streaming["speed_streamed_over_memory"],
            f"time, {trials} trials one after the other ÷ alone": together[
                "one_after_the_other_over_alone"
            ],
            f"time, {trials} trials at once ÷ alone": together["at_once_over_alone"],
        }.items():
            spread = f"{figures['least']:.3f}-{figures['greatest']:.3f}"
            console.print(f"T = {n_steps}: {what}: {figures['median']:.3f} ({spread})")
    if out is not None:
        record = {
            "command": command(),
            **machine(),
            "images": images,
            **found,
        }
        out.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
