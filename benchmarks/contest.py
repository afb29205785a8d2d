"""Who is measured by `benchmarks.peers`, with what settings, and the process of each."""

import contextlib
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

WORKERS = Path(__file__).parent / "peer_workers"
TASK: dict[str, Any] = {
    "sizes": [784, 360, 360, 360],
    "n_steps": 50,
    "batch": 200,
    "weight_scale": 0.05,
    "seed": 0,
}
PEERS: dict[str, dict[str, Any]] = {
    "plain JAX": {"worker": "jax", "activation": "relu", "derivative": False},
    "plain PyTorch": {"worker": "torch", "activation": "relu", "derivative": False},
    "pcx": {"worker": "pcx", "activation": "leaky_relu", "derivative": True},
    "ngc-learn": {"worker": "ngclearn", "activation": "leaky_relu", "derivative": True},
}
"""Each peer's worker, its φ, and whether φ' is in its feedback."""

OURS: dict[str, dict[str, Any]] = {
    "gncn, exact, columns and precision": {
        "preset": None,
        "overrides": [
            "network.competition='columns'",
            "network.group_size=[12, 12, 18]",
            "network.precision='diagonal'",
            "network.compared='activity'",
            "network.competing='activity'",
            "network.norm='clipped'",
            "network.norm_axis='receiving'",
        ],
    },
    "gncn, exact, neither": {
        "preset": None,
        "overrides": ["network.prediction_activation='identity'", "network.feedback='tied'"],
    },
    "gncn, fast": {
        "preset": None,
        "rates": (6e-3, 1.2e-2, 2.4e-2),
        "overrides": [
            "network.prediction_activation='identity'",
            "network.feedback='tied'",
            "settling.settler='newton'",
            "settling.sequential=true",
            "settling.damping=0.3",
            "settling.pixel_variance=0.05",
            "settling.step_size=1.0",
            "settling.n_settle_steps=2",
            "settling.leak=0.0",
            "settling.products='bfloat16'",
            "training.batch_size=100",
        ],
    },
}
"""Variants of this library: a preset, or None for the defaults, and what overrides it.

Between the two come `TASK`'s sizes, batch and seed, and a learning rate and β chosen as the
peers' are; of a variant with a β of its own, only one of its ``rates``.  BCE is measured
after T = 50 steps of its own settling.
"""

SETTINGS = tuple(
    {"rate": rate, "step_size": beta} for beta in (0.05, 0.1) for rate in (4e-3, 8e-3, 1.6e-2)
)
"""What the peers, and variants without rates of their own, may choose from."""

Setting = Mapping[str, float | None]
"""A learning rate and β; None leaves a variant of this library its own."""

OWN: Setting = {"rate": None, "step_size": None}
FIXED: Setting = {"rate": 1e-3, "step_size": 0.1}
"""Of all that choose from `SETTINGS`, while seconds a batch are measured."""


class WorkerError(Exception):
    """A worker's process ended."""


class Worker:
    """A worker process; see `benchmarks/peer_workers/serving.py` for what it understands."""

    def __init__(self, name: str, command: Sequence[str | Path], task: Mapping[str, Any]) -> None:
        self.name = name
        self.errors = tempfile.TemporaryFile("w+", encoding="utf-8")  # noqa: SIM115 (closed with the worker)
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            encoding="utf-8",
            # Only the CPU is measured.
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
        )
        ready = self._ask(task)
        self.about: dict[str, Any] = ready["about"]
        self.first_bce: float = ready["bce"]

    def learn(self) -> float:
        """Settle and learn from a chunk; gives the seconds it took."""
        return self._ask({"do": "learn"})["seconds"]

    def bce(self) -> float:
        """BCE of the validation images; infinite if the network diverged."""
        found = self._ask({"do": "evaluate"})["bce"]
        return found if math.isfinite(found) else math.inf

    def close(self) -> None:
        """Let the process end; closing twice is closing once."""
        with contextlib.suppress(BrokenPipeError):
            self._pipe(self.process.stdin).close()
        self.process.wait()
        self._pipe(self.process.stdout).close()
        self.errors.close()

    def _ask(self, question: Mapping[str, Any]) -> dict[str, Any]:
        stdin = self._pipe(self.process.stdin)
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(question) + "\n")
            stdin.flush()
        # An empty answer is the end of the pipe.
        line = self._pipe(self.process.stdout).readline()
        if not line:
            status = self.process.wait()
            self.errors.seek(0)
            words = self.errors.read()[-2000:]
            self.close()
            raise WorkerError(
                f"The worker of {self.name!r} ended with status {status}; give an interpreter that "
                f"has its packages (benchmarks/constraints-*.txt). Its last words:\n{words}"
            )
        return json.loads(line)

    @staticmethod
    def _pipe(pipe: IO[str] | None) -> IO[str]:
        assert pipe is not None
        return pipe


class Contestants:
    """Everyone who is measured: how to start the worker of each."""

    def __init__(self, pythons: Mapping[str, Path | None], data: Path) -> None:
        self.pythons, self.data = pythons, data
        self.peers = [name for name, peer in PEERS.items() if pythons[peer["worker"]] is not None]
        self.names = [*self.peers, *OURS]

    @contextlib.contextmanager
    def start(
        self, settings: Mapping[str, Setting], chunk: int, n_chunks: int, *, stand_in: bool = False
    ) -> Iterator[dict[str, Worker]]:
        """Start a worker for everyone with a setting; all live until the context ends.

        Args:
            settings: of each.
            chunk: mini-batches learned from at once.
            n_chunks: how often they will learn.
            stand_in: let the plain JAX loop learn as each peer does.
        """
        with contextlib.ExitStack() as stack:
            workers = {}
            for name, setting in settings.items():
                task = {**TASK, **setting, "chunk": chunk, "n_chunks": n_chunks}
                workers[name] = self._start(name, task, stand_in)
                stack.callback(workers[name].close)
            yield workers

    def _start(self, name: str, task: dict[str, Any], stand_in: bool) -> Worker:
        if name in OURS:
            kind, task = "gncn", {**task, "activation": "relu", "options": OURS[name]}
        else:
            peer = PEERS[name]
            # Peers with one learning rule compute the same, so the plain loop can stand for them.
            kind = "jax" if stand_in else peer["worker"]
            options = {"derivative": peer["derivative"]}
            task = {**task, "activation": peer["activation"], "options": options}
        script = WORKERS / f"with_{kind}.py"
        return Worker(name, [self.pythons[kind] or sys.executable, script, self.data], task)


def settings_for(name: str) -> Sequence[Setting]:
    """What a contestant may choose from."""
    if name in OURS and "rates" in OURS[name]:
        return [{**OWN, "rate": rate} for rate in OURS[name]["rates"]]
    return SETTINGS


def learning_rule(name: str) -> str:
    """What decides how a contestant learns; peers that share it learn the same."""
    if name in OURS:
        return name
    return f"{PEERS[name]['activation']}, {'with' if PEERS[name]['derivative'] else 'without'} φ'"
