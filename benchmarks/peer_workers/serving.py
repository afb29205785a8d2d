"""What every worker of `benchmarks.peers` does, whatever library it trains with.

A worker is a process of its own, in a Python of its own.  It is started with the path of a NumPy
file that holds the binary images ``train`` and ``validation``.  It reads one JSON object a line on
standard input and answers each with one line on standard output:

| asked | answered |
|---|---|
| the `Task` | ``{"about": versions and threads, "bce": before learning}``, once compiled |
| ``{"do": "learn"}`` | ``{"seconds": ...}`` of settling and learning `Task.chunk` mini-batches |
| ``{"do": "evaluate"}`` | ``{"bce": ...}`` of the validation images |

It ends when standard input does.  Needs NumPy alone.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Task:
    """What is to be trained, the same for all workers.

    Attributes:
        sizes: units of layers 0 to L.
        n_steps: T.
        batch: images in a mini-batch.
        chunk: mini-batches learned from when asked to learn.
        n_chunks: chunks of the whole run.
        rate: Adam's learning rate; None leaves it to the worker, and so below.
        step_size: β.
        activation: φ.
        weight_scale: standard deviation of the first weights.
        seed: of the first weights and the order of images.
        options: a worker's own.
    """

    sizes: list[int]
    n_steps: int
    batch: int
    chunk: int
    n_chunks: int
    rate: float | None
    step_size: float | None
    activation: str
    weight_scale: float
    seed: int
    options: dict[str, Any] = field(default_factory=dict)

    def first_weights(self) -> list[np.ndarray]:
        """Weights of layer l + 1 (rows) upon layer l (columns), the lowest first."""
        rng = np.random.default_rng(self.seed)
        pairs = zip(self.sizes[1:], self.sizes, strict=False)
        return [rng.normal(0, self.weight_scale, pair).astype(np.float32) for pair in pairs]


class Peer(Protocol):
    """A network and how its library trains it."""

    about: dict[str, Any]

    def learn(self, images: np.ndarray) -> None:
        """Settle and learn from mini-batches, shape (chunk, batch, pixels), until done."""
        ...

    def bce(self, images: np.ndarray) -> np.ndarray:
        """Each image's BCE after settling, for images of shape (batch, pixels)."""
        ...

    def restart(self) -> None:
        """Forget all that was learned, but not what was compiled."""
        ...


def chunks(images: np.ndarray, task: Task) -> Iterator[np.ndarray]:
    """Whole mini-batches without replacement, `Task.chunk` at a time, for ever."""
    rng = np.random.default_rng(task.seed)
    pending = np.empty(0, int)
    n_images = task.chunk * task.batch
    whole = len(images) // task.batch * task.batch
    while True:
        while len(pending) < n_images:
            # Mini-batches may run over the end of an epoch.
            pending = np.concatenate([pending, rng.permutation(len(images))[:whole]])
        chosen, pending = pending[:n_images], pending[n_images:]
        yield images[chosen].reshape(task.chunk, task.batch, -1)


def evaluate(peer: Peer, images: np.ndarray, batch: int) -> float:
    """Mean BCE over images, in nats."""
    blocks = images.reshape(-1, batch, images.shape[-1])
    return float(np.mean([np.mean(peer.bce(block)) for block in blocks]))


def serve(start: Callable[[Task], Peer]) -> None:
    """Answer until standard input ends.

    Args:
        start: makes the peer that a task describes.
    """
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what libraries print is no answer

    def answer(content: dict[str, Any]) -> None:
        print(json.dumps(content), file=answers, flush=True)

    with np.load(sys.argv[1]) as arrays:
        train, validation = arrays["train"], arrays["validation"]
    task = Task(**json.loads(sys.stdin.readline()))
    peer = start(task)
    # A chunk that compiles, and is forgotten before anything is timed.
    peer.learn(next(chunks(train, task)))
    evaluate(peer, validation, task.batch)
    peer.restart()
    answer({"about": peer.about, "bce": evaluate(peer, validation, task.batch)})
    source = chunks(train, task)
    for line in sys.stdin:
        if json.loads(line)["do"] == "learn":
            images = next(source)
            began = time.perf_counter()
            peer.learn(images)
            answer({"seconds": time.perf_counter() - began})
        else:
            answer({"bce": evaluate(peer, validation, task.batch)})
