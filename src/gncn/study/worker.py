"""`Worker`: a process that does a part of a study or search, and ends when this one ends."""

import os
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

THREADS = "NPROC"
"""The environment variable that sets XLA's number of threads."""
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS)
_PATIENCE = 5.0


class Worker:
    """A process; what it says goes to files in a folder, which is kept as long as it runs."""

    def __init__(self, command: Sequence[str], folder: Path, threads: int) -> None:
        self._folder = folder
        with (folder / "said").open("wb") as said, (folder / "errors").open("wb") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # never written to; see `end_with_parent`
                stdout=said,
                stderr=errors,
                env=os.environ | dict.fromkeys(_POOLS, str(threads)) | {"PYTHONUTF8": "1"},
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )
        self._said = (folder / "said").open("rb")
        self._begun = b""
        """A line that has not ended."""

    def news(self) -> list[str]:
        """Lines that it has said since it was last asked."""
        *lines, self._begun = (self._begun + self._said.read()).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return (self._folder / "errors").read_text(encoding="utf-8", errors="replace")

    @property
    def how_it_ended(self) -> str:
        """By which signal or with which status."""
        code = self.process.returncode
        advice = "; the system may have run out of memory" if code == -9 else ""
        return f"was ended by signal {-code}{advice}" if code < 0 else f"ended with status {code}"

    def stop(self) -> None:
        """End it, politely at first."""
        self.process.terminate()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._said.close()


def end_with_parent() -> None:
    """End this process, a worker's, when its standard input ends: its parent is gone then."""

    def wait() -> None:
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
