"""`run_all`: many runs, each in its own process, a few at a time.

A process that fails or crashes costs only its own run.  Each process has its share of the cores, so
that they don't compete for them, and ends if this process ends.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import NamedTuple

from gncn.base.errors import ConfigError, RunError
from gncn.study.record import Record, read_record
from gncn.study.run import THREADS, failed
from gncn.study.spec import RunSpec

WORKER = (sys.executable, "-m", "gncn.study.worker")
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS)
_PATIENCE = 5.0


class Event(NamedTuple):
    """News of a run.

    Attributes:
        spec: the run.
        text: what it is doing; empty when it has just begun or ended.
        record: record of a run that has ended.
    """

    spec: RunSpec
    text: str = ""
    record: Record | None = None


class _Child:
    """The process of one run; what it says goes to files in its folder."""

    def __init__(self, spec: RunSpec, folder: Path, worker: Sequence[str], threads: int) -> None:
        folder.mkdir(parents=True)
        self.spec, self._folder, self._read = spec, folder, 0
        description = folder / "spec.json"
        description.write_text(spec.model_dump_json())
        with (folder / "said").open("w") as said, (folder / "errors").open("w") as errors:
            self.process = subprocess.Popen(
                [*worker, str(description), str(self._result)],
                stdin=subprocess.PIPE,  # never written to; it ends when this process does
                stdout=said,
                stderr=errors,
                env=os.environ | dict.fromkeys(_POOLS, str(threads)),
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )

    @property
    def _result(self) -> Path:
        return self._folder / "result.json"

    def news(self) -> list[str]:
        """Whole lines that it has said since it was last asked."""
        with (self._folder / "said").open("rb") as said:
            said.seek(self._read)
            text = said.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()

    def record(self) -> Record:
        """What it left behind."""
        try:
            return read_record(self._result)
        except RunError:
            code = self.process.returncode
            said = (self._folder / "errors").read_text(errors="replace")
            why = f"was ended by signal {-code}" if code < 0 else f"ended with status {code}"
            advice = " The system may have run out of memory." if code == -9 else ""
            message = f"The process {why} and left no record.{advice}"
            return failed(self.spec, "Crash", message, said)

    def stop(self) -> None:
        """End it, politely at first."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_all(
    specs: Sequence[RunSpec], *, jobs: int, scratch: Path, worker: Sequence[str] = WORKER
) -> Generator[Event, None, None]:
    """Do runs, `jobs` at a time, and yield news of them.

    Closing the iterator, or an exception such as Ctrl-C while it waits, ends the processes.
    Temporary files go to the folder `scratch`; for the command of a process, `worker`, see
    `gncn.study.worker`.

    Raises:
        ConfigError: `jobs` is not positive.
    """
    if jobs < 1:
        raise ConfigError(f"jobs must be at least 1; received {jobs}.")
    waiting = deque(enumerate(specs))
    running: list[_Child] = []
    threads = max(usable_cores() // min(jobs, max(len(specs), 1)), 1)
    try:
        while waiting or running:
            while waiting and len(running) < jobs:
                number, spec = waiting.popleft()
                running.append(_Child(spec, scratch / str(number), worker, threads))
                yield Event(spec)
            for child in list(running):
                ended = child.process.poll() is not None
                for line in child.news():
                    yield Event(child.spec, line)
                if ended:
                    child.stop()
                    running.remove(child)
                    yield Event(child.spec, record=child.record())
            time.sleep(0.05)
    finally:
        for child in running:
            child.process.terminate()
        for child in running:
            child.stop()
