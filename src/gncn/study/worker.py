"""`Worker`: a process that does a part of a study or search, and ends when this one ends.

It imports the modules that registered parts here, as far as its task names them.
"""

import importlib.util
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError
from gncn.base.files import explained
from gncn.base.registry import options_of, origins, registered, registry

THREADS = "NPROC"
"""The environment variable that sets XLA's number of threads."""
_PARTS = "GNCN_PARTS"
"""The environment variable that tells a worker what to import, in JSON."""
_MAIN, _SCRIPT = "__main__", "__gncn_main__"
"""What Python calls a script, and what workers call their parent's, so that it begins none."""
_POOLS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", THREADS)
_PATIENCE = 5.0


class Worker:
    """A process; what it says goes to files in a folder, which is kept as long as it runs.

    Its `parts` are from `parts_for_worker`.
    """

    def __init__(self, command: Sequence[str], folder: Path, threads: int, parts: str) -> None:
        self._folder = folder
        # Every library that computes in threads has a variable of its own.
        pools = dict.fromkeys(_POOLS, str(threads))
        with (
            explained(f"Can't write to {folder}"),
            (folder / "said").open("wb") as said,
            (folder / "errors").open("wb") as errors,
        ):
            # Before the process begins: whatever fails after that would leave it running.
            self._said = (folder / "said").open("rb")
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,  # never written to; see `begin`
                stdout=said,
                stderr=errors,
                env=os.environ | pools | {"PYTHONUTF8": "1", _PARTS: parts},
                start_new_session=True,  # Ctrl-C is for the parent, which ends its children
            )
        self._begun = b""
        """A line that has not ended."""

    def news(self) -> list[str]:
        """Lines that it has said since it was last asked."""
        # What follows the last line break waits for its end.
        *lines, self._begun = (self._begun + self._said.read()).split(b"\n")
        return [line.decode(errors="replace") for line in lines]

    @property
    def errors(self) -> str:
        """Its standard error so far."""
        return (self._folder / "errors").read_text(encoding="utf-8", errors="replace")

    @property
    def how_it_ended(self) -> str:
        """By which signal or with which status."""
        code = self.process.returncode
        advice = "; the system may have run out of memory" if code == -9 else ""
        return f"was ended by signal {-code}{advice}" if code < 0 else f"ended with status {code}"

    def stop(self) -> None:
        """End it, politely at first."""
        # Terminated first, so that it can finish a file that it is replacing.
        self.process.terminate()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._said.close()


def parts_for_worker(task: Any) -> str:
    """The imports of a worker for the registered parts that a task, as plain values, names.

    Raises:
        ConfigError: a part was registered where no other process finds it, in an interactive
            session; or this process is a worker that imports a script which begins workers.
    """
    if _SCRIPT in sys.modules:
        raise ConfigError(
            "A script that registers parts is imported by processes that need them: begin them "
            "only under `if __name__ == '__main__':`."
        )
    # A module that is run by `python -m` has a name, by which others can import it.
    words, main = _words(task), getattr(sys.modules[_MAIN].__spec__, "name", _MAIN)
    parts = [
        (kind, name, [main if module == _MAIN else module for module in modules])
        for (kind, name), modules in origins().items()
        # Only parts that the task mentions, by name or by an option.
        if words & {name, *options_of(registry(kind).get(name))}
    ]
    script = _script()
    for kind, name, modules in parts:
        if _MAIN in modules and not script:
            raise ConfigError(
                f"The {kind} {name!r} was registered in an interactive session, which other "
                "processes can't import. Register it in a module of your own, and import that."
            )
    return json.dumps([sys.path, script, parts]) if parts else ""


def _words(task: Any) -> set[str]:
    """All text in plain values, names included."""
    if isinstance(task, dict):
        task = [*task, *task.values()]
    if isinstance(task, list | tuple):
        return set().union(*map(_words, task))
    return {task} if isinstance(task, str) else set()


def _script() -> str:
    """The file of the program that runs here; empty in an interactive session."""
    file = getattr(sys.modules[_MAIN], "__file__", None)
    return str(Path(file).absolute()) if file and Path(file).is_file() else ""


def begin() -> None:
    """Begin as a worker: end when the parent does, and import what registers the task's parts."""
    _end_with_parent()
    # Taken out of the environment, so that processes of this one don't inherit it.
    if not (told := os.environ.pop(_PARTS, "")):
        return
    # The same paths, so that the parent's modules are found.
    sys.path[:], script, parts = json.loads(told)
    for kind, name, modules in parts:
        for module in modules:
            try:
                _import(module, script)
            except Exception as error:  # whatever a user's module raises
                sys.exit(f"{module} can't be imported for the {kind} {name!r}: {error!r}")
        if name not in registered(kind):
            sys.exit(
                f"The {kind} {name!r} isn't registered when {' and '.join(modules)} are imported. "
                "Register it where its module begins, not in a function."
            )


def _import(module: str, script: str) -> None:
    """Import a module, the parent's script by its file; both once."""
    if module != _MAIN:
        importlib.import_module(module)
    elif _SCRIPT not in sys.modules:
        # Under another name than `__main__`, so that a script doesn't begin anything.
        spec = importlib.util.spec_from_file_location(_SCRIPT, script)
        assert spec is not None
        assert spec.loader is not None
        sys.modules[_SCRIPT] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[_SCRIPT])


def _end_with_parent() -> None:
    """End this process when its standard input ends: its parent is gone then."""

    def wait() -> None:
        # Nothing is ever written: reading ends when the parent does.
        while os.read(0, 1):
            pass
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
