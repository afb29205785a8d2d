"""Measure this library against what a user would otherwise pick; `make bench-peers`.

All train the same network, 784-360-360-360, on the same binary MNIST images, in the same order and
from the same first weights.  (This library draws its own first weights, and shuffles each chunk of
mini-batches again.)  All take T = 50 settling steps from states at zero, with mini-batches of 200
and Adam, in single precision on the CPU.  Each runs in a process of its own, from a Python
environment of its own if it needs other packages.  Only one computes at a time.

Plain JAX: one jitted program a mini-batch, the T steps in a scan.  Plain PyTorch: an
eager loop without autograd.  Both have φ = ReLU, and W^T without φ' for feedback.  pcx:
one jitted program, T steps unrolled, energies differentiated.  ngc-learn: its compiled
processes in one jitted program, the T steps in a scan, error synapses tied to W.  Both
have leaky ReLU and φ' in their feedback (with ReLU's, which is 0 at 0 in JAX, states
would stay at zero for ever).  Of what each library offers, the fastest way was taken.

Off in all four: lateral competition, precision, norm bounds, biases and weight decay.
What this library's variants do otherwise is in `OURS`.  jpc isn't on PyPI and is left out.

Seconds a batch: settling and learning, compilation excluded, all in turn, round by round.  They are
timed in a few sets of processes, since a process's times differ by some per cent with where its
arrays lie in memory.

Time to equal BCE: all learn in turn, chunk by chunk.  Each has the best of a few learning rates and
β, chosen by validation BCE after a short run (an epoch by default).  Only seconds of settling and
learning count.  Targets are the lowest BCE that a peer has after some epochs.  (Peers with the same
φ and φ' compute the same up to rounding, as their BCE after the timed batches shows.  So the plain
JAX loop tries settings for all.)  Without norm bounds a network's BCE has no floor but a copy of
the image.  Equal BCE says how fast it is fitted, not how good a generative model it is.
"""

import math
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.console import Console
from rich.table import Table

import gncn
from benchmarks.contest import (
    FIXED,
    OURS,
    OWN,
    PEERS,
    SETTINGS,
    TASK,
    Contestants,
    Setting,
    Worker,
    learning_rule,
    settings_for,
)
from benchmarks.document import around, put
from benchmarks.machine import command, keep, processor

PLACE = "peers"
"""The place of the table in a document."""
Curve = list[tuple[float, float]]
"""Seconds of learning, and validation BCE then."""


def time_in_turn(workers: Mapping[str, Worker], rounds: int, chunk: int) -> dict[str, list[float]]:
    """Seconds a batch of each worker in each round, all in turn."""
    times: dict[str, list[float]] = {name: [] for name in workers}
    for _ in range(rounds):
        for name, worker in workers.items():
            times[name].append(worker.learn() / chunk)
    return times


class Timed(NamedTuple):
    """What timing found of each contestant.

    Attributes:
        seconds: a batch, in each round of each set of processes.
        bce: after the timed batches.
        about: versions of what it uses.
    """

    seconds: dict[str, list[float]]
    bce: dict[str, float]
    about: dict[str, dict[str, str]]


def time_processes(contestants: Contestants, starts: int, rounds: int, chunk: int) -> Timed:
    """Time all in turn, in several sets of processes, one after the other.

    Where a process's arrays come to lie makes it faster or slower for as long as it lives,
    by more than rounds differ.
    """
    settings = {
        name: FIXED if settings_for(name) is SETTINGS else OWN for name in contestants.names
    }
    timed = Timed({name: [] for name in settings}, {}, {})
    for _ in range(starts):
        with contestants.start(settings, chunk, rounds) as workers:
            for name, seconds in time_in_turn(workers, rounds, chunk).items():
                timed.seconds[name].extend(seconds)
            if not timed.bce:  # the same in every set
                timed.bce.update({name: worker.bce() for name, worker in workers.items()})
                timed.about.update({name: worker.about for name, worker in workers.items()})
    return timed


def learn_in_turn(workers: Mapping[str, Worker], n_chunks: int) -> dict[str, Curve]:
    """BCE against seconds of learning, all in turn; a network that diverged stops."""
    curves: dict[str, Curve] = {name: [(0.0, w.first_bce)] for name, w in workers.items()}
    for _ in range(n_chunks):
        for name, worker in workers.items():
            seconds, before = curves[name][-1]
            # A network that diverged would only cost time.
            if math.isfinite(before):
                seconds += worker.learn()
                curves[name].append((seconds, worker.bce()))
    return curves


def ratios(times: Sequence[float], base: Sequence[float]) -> list[float]:
    """Each time divided by the time of `base` in the same round."""
    return [a / b for a, b in zip(times, base, strict=True)]


def fastest(times: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """Whose median is least, among `names`."""
    return min(names, key=lambda name: statistics.median(times[name]))


def seconds_to(curve: Curve, target: float) -> float | None:
    """When BCE first comes down to `target`, on a straight line between two measurements.

    Returns:
        Seconds of learning, or None if it never does.
    """
    before, high = curve[0]
    if high <= target:
        return before
    for after, low in curve[1:]:
        if low <= target:
            # On a straight line, since BCE is known at the ends of chunks only.
            return before + (after - before) * (high - target) / (high - low)
        before, high = after, low
    return None


def lowest(curves: Mapping[str, Curve], names: Sequence[str], point: int) -> float:
    """The lowest BCE at a point of the curves; infinite if all have diverged before."""
    bces = [curves[name][point][1] for name in names if point < len(curves[name])]
    return min(bces, default=math.inf)


def compare_curves(
    curves: Mapping[str, Curve], peers: Sequence[str], chunks_an_epoch: int, epochs: Sequence[int]
) -> list[dict[str, Any]]:
    """Seconds of everyone to the lowest BCE that a peer has after some epochs.

    Args:
        curves: of everyone, one point a chunk.
        peers: whose BCEs are targets.
        chunks_an_epoch: points of an epoch.
        epochs: after how many; left out where all peers have diverged by then.

    Returns:
        For each target: ``epochs``, ``bce``, ``seconds`` of everyone (None: not
        reached), ``fastest`` peer and ``ratio`` of everyone's seconds to its.
    """
    found = []
    for n in epochs:
        target = lowest(curves, peers, n * chunks_an_epoch)
        if math.isinf(target):
            # All peers have diverged by then, so there is no target.
            continue
        seconds = {name: seconds_to(curve, target) for name, curve in curves.items()}
        there = {k: s for k, s in seconds.items() if k in peers and s is not None}
        best = min(there, key=lambda name: there[name])
        ratio = {k: None if s is None else s / there[best] for k, s in seconds.items()}
        found.append(
            {"epochs": n, "bce": target, "seconds": seconds, "fastest": best, "ratio": ratio}
        )
    return found


def try_settings(
    console: Console,
    contestants: Contestants,
    chunk: int,
    n_chunks: int,
) -> dict[str, list[dict[str, Any]]]:
    """BCE after a short run with each setting, of each learning rule.

    Peers that learn by the same rule compute the same, so the plain JAX loop stands in.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for name in contestants.names:
        rule = learning_rule(name)
        if rule in found:
            continue
        found[rule] = []
        for setting in settings_for(name):
            with contestants.start({name: setting}, chunk, n_chunks, stand_in=True) as workers:
                bce = learn_in_turn(workers, n_chunks)[name][-1][1]
            found[rule].append({**setting, "bce": bce})
        tried = ", ".join(
            f"{one['rate']:g}, {one['step_size'] or 'own'}: {one['bce']:.1f}" for one in found[rule]
        )
        console.print(f"{rule}: BCE by rate and β after {chunk * n_chunks} mini-batches: {tried}")
    return found


def choose(tried: Mapping[str, Sequence[Mapping[str, Any]]], name: str) -> Setting:
    """The setting with the lowest BCE."""
    best = min(tried[learning_rule(name)], key=lambda one: one["bce"])
    return {"rate": best["rate"], "step_size": best["step_size"]}


def show_speed(
    console: Console,
    times: Mapping[str, list[float]],
    bces: Mapping[str, float],
    peers: Sequence[str],
) -> None:
    """Print seconds a batch, and BCE after these batches: peers of one rule must agree."""
    ours, best = next(iter(OURS)), fastest(times, peers)
    table = Table("", "s a batch", "spread", "÷ gncn, exact", f"÷ {best}", "BCE then")
    for name, own in times.items():
        cells = [f"{statistics.median(own):.4f}", f"{min(own):.4f}-{max(own):.4f}"]
        for base in (ours, best):
            cells.append(f"{statistics.median(ratios(own, times[base])):.2f}")
        table.add_row(name, *cells, f"{bces[name]:.2f}")
    console.print(table)


def show_curves(
    console: Console,
    curves: Mapping[str, Curve],
    found: Sequence[Mapping[str, Any]],
    settings: Mapping[str, Setting],
) -> None:
    """Print seconds to equal BCE."""
    heads = [f"s to {one['bce']:.1f} (÷ {one['fastest']})" for one in found]
    table = Table("", "rate, β", "last BCE", "s", *heads)
    for name, curve in curves.items():
        chosen = [str(value or "own") for value in settings[name].values()]
        seconds, bce = curve[-1]
        last = f"{bce:.1f}" if math.isfinite(bce) else "diverged"
        cells = [", ".join(chosen), last, f"{seconds:.0f}"]
        for one in found:
            seconds, ratio = one["seconds"][name], one["ratio"][name]
            cells.append("not reached" if seconds is None else f"{seconds:.1f} ({ratio:.3f})")
        table.add_row(name, *cells)
    console.print(table)


def markdown(record: Mapping[str, Any]) -> str:
    """The figures of a record as a table: seconds a batch, and to equal BCE."""
    times, best = record["seconds_a_batch"], record["fastest_peer"]
    found = record.get("to_equal_bce", [])
    heads = ["", f"seconds a batch of {TASK['batch']}", f"÷ {best}"]
    for one in found:
        heads += [f"seconds to BCE {one['bce']:.1f}", f"÷ {one['fastest']}"]
    if found:
        heads.append("last BCE (seconds)")
    rows = [heads, ["---"] + ["---:"] * (len(heads) - 1)]
    for name, own in times.items():
        ratio = statistics.median(ratios(own, times[best]))
        row = [name, f"{statistics.median(own):.4f}", f"{ratio:.2f}"]
        for one in found:
            seconds, ratio = one["seconds"][name], one["ratio"][name]
            reached = seconds is not None
            row += [f"{seconds:.1f}", f"{ratio:.3f}"] if reached else ["not reached", "–"]
        if found:
            seconds, bce = record["curves"][name][-1]
            row.append(f"{'diverged' if bce is None else f'{bce:.1f}'} ({seconds:.0f})")
        rows.append(row)
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def jsonable(value: Any) -> Any:
    """A value as JSON allows it: numbers that are not finite become null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def save(record: Mapping[str, Any], out: Path | None) -> None:
    """Write what is known so far, if it is to be written."""
    if out is not None:
        keep(out, "peers", jsonable(record))


def main(
    pcx: Annotated[Path | None, typer.Option(help="A Python that has pcx.")] = None,
    ngclearn: Annotated[Path | None, typer.Option(help="A Python that has ngc-learn 3.")] = None,
    torch: Annotated[Path | None, typer.Option(help="A Python that has PyTorch.")] = None,
    rounds: Annotated[int, typer.Option(help="Rounds of timing, each time.", min=1)] = 5,
    starts: Annotated[int, typer.Option(help="Sets of processes that are timed.", min=1)] = 3,
    batches: Annotated[int, typer.Option(help="Mini-batches of a round.", min=1)] = 10,
    epochs: Annotated[int, typer.Option(help="Epochs of learning; 0: only time.", min=0)] = 5,
    every: Annotated[int, typer.Option(help="Mini-batches between two measured BCEs.")] = 58,
    search: Annotated[int, typer.Option(help="Chunks of `every` to try settings for.")] = 5,
    out: Annotated[
        Path | None, typer.Option(help="JSON file, or folder of records by machine and date.")
    ] = None,
    document: Annotated[
        Path | None, typer.Option(help="Put the table into its place in this Markdown file.")
    ] = None,
) -> None:
    """Measure, print tables and write the record."""
    if document is not None:
        around(document, PLACE)  # or refuse before half an hour of measuring
    console, data = Console(), gncn.load_dataset("mnist")
    an_epoch = len(data.train.images) // TASK["batch"]
    if an_epoch % every:
        raise typer.BadParameter(
            f"must divide the {an_epoch} batches of an epoch", param_hint="every"
        )
    pythons = {"pcx": pcx, "ngclearn": ngclearn, "torch": torch}
    pythons |= {"jax": Path(sys.executable), "gncn": Path(sys.executable)}
    n_chunks = epochs * an_epoch // every
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mnist.npz"
        np.savez(path, train=data.train.images, validation=data.validation.images)
        contestants = Contestants(pythons, path)
        left_out = [name for name in PEERS if name not in contestants.peers]
        if left_out:
            console.print(f"without an interpreter, and left out: {', '.join(left_out)}")
        times, bces, about = time_processes(contestants, starts, rounds, batches)
        show_speed(console, times, bces, contestants.peers)
        record: dict[str, Any] = {
            "command": command(),
            "versions": {"gncn": gncn.__version__, **about},
            "device": processor(),
            "task": TASK,
            "peers": PEERS,
            "ours": OURS,
            "seconds_a_batch": times,
            "bce_after_timing": bces,
            "fastest_peer": fastest(times, contestants.peers),
        }
        save(record, out)
        if epochs:
            tried = try_settings(console, contestants, every, search)
            settings = {name: choose(tried, name) for name in contestants.names}
            record |= {"tried": tried, "settings": settings}
            # Kept after each stage, since the next takes long and may fail.
            save(record, out)
            with contestants.start(settings, every, n_chunks) as all_:
                curves = learn_in_turn(all_, n_chunks)
            record |= {"curves": curves}
            save(record, out)
            targets = sorted({n for n in (1, 3, 5) if n <= epochs})
            found = compare_curves(curves, contestants.peers, an_epoch // every, targets)
            show_curves(console, curves, found, settings)
            record |= {"to_equal_bce": found}
            save(record, out)
    if document is not None:
        put(document, PLACE, markdown(jsonable(record)))


if __name__ == "__main__":
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(help=__doc__)(main)
    app()
