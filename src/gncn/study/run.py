"""`run_one`: from the description of a run to its record.

It depends on its argument alone, and on where the data files lie.  It leaves nothing behind.
"""

import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from safetensors.numpy import load as load_tensors

from gncn.base.files import sha256
from gncn.runs.assess import assess
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run
from gncn.study.pictures import pack_pictures
from gncn.study.record import History, Record, without_confusion
from gncn.study.spec import RunSpec
from gncn.training.history import EpochRecord

Report = Callable[[str], None]
THREADS = "NPROC"
"""The environment variable that sets XLA's number of threads."""


def run_one(
    spec: RunSpec, *, report: Report = lambda _: None, scratch: Path | None = None
) -> Record:
    """Train and measure one model.

    `report` receives what is being done, in a few words.  Temporary files go to the folder
    `scratch`, or to the system's.

    Raises:
        GncnError: what `gncn.runs.train.train_run` and `gncn.runs.assess.assess` raise.
        KeyboardInterrupt: Ctrl-C.
    """
    started, began = _now(), time.perf_counter()
    report("loading data")
    config = spec.config
    data = config.data.load()
    with tempfile.TemporaryDirectory(prefix="gncn-", dir=scratch) as temporary:
        folder = RunFolder.create(Path(temporary) / "run", config, data, overwrite=False)
        result = train_run(folder, config, data, listeners=[Watch(report)])
        if result.status == "interrupted":
            raise KeyboardInterrupt
        trained = time.perf_counter()
        metrics: dict[str, Any] = {}
        shown: dict[str, Any] = {}
        if (wanted := spec.evaluation).measures:
            metrics, _ = assess(
                folder,
                data,
                split=spec.split,
                only=wanted.measures,
                settings=wanted.settings,
                seed=wanted.seed,
                report=report,
            )
            pictures = folder.path / f"pictures-{spec.split}.safetensors"
            shown = load_tensors(pictures.read_bytes())
        about = folder.about
    ended = time.perf_counter()
    best_way = metrics.get("completion", {}).get("best_way")
    return _record(
        spec,
        started,
        status="finished",
        seconds={
            "training": trained - began,
            "evaluation": ended - trained,
            "total": ended - began,
        },
        threads=int(os.environ[THREADS]) if THREADS in os.environ else None,
        versions=about["versions"],
        hardware=about["hardware"],
        dataset=about["data"],
        n_synapses=about["n_synapses"],
        validation_psi_of_variances=about.get("validation_psi_of_variances", {}),
        kept=next((one for one in result.history if one.epoch == result.epochs_kept[0]), None),
        history=History.of(result.history),
        metrics=without_confusion(metrics),
        pictures=pack_pictures(shown, data, spec.split, best_way) if spec.trial == 0 else {},
    )


def attempt(
    spec: RunSpec, *, report: Report = lambda _: None, scratch: Path | None = None
) -> Record:
    """As `run_one`, but an error becomes the record of a failed run."""
    started = _now()
    try:
        return run_one(spec, report=report, scratch=scratch)
    except Exception as error:
        kind = type(error).__name__
        return failed(spec, kind, str(error), traceback.format_exc(), started=started)


def failed(
    spec: RunSpec, kind: str, message: str, details: str, *, started: str | None = None
) -> Record:
    """The record of a run that failed."""
    error = {"type": kind, "message": message, "details": _without_places(details)[-4000:]}
    return _record(spec, started or _now(), status="failed", error=error)


def _record(spec: RunSpec, started: str, **fields: Any) -> Record:
    return Record(
        model=spec.model,
        data=spec.data,
        trial=spec.trial,
        spec=spec.for_record(),
        started=started,
        finished=_now(),
        source=source_digest(),
        **fields,
    )


class Watch:
    """A `gncn.training.fit.Listener` that tells of every epoch.

    Args:
        report: receives the news.
        name: stands before each of them.
    """

    def __init__(self, report: Report, name: str = "") -> None:
        self._report, self._name, self.n_epochs = report, name, 0

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        self.n_epochs = n_epochs
        self._report(f"{self._name}epoch 1 of {n_epochs}")

    def on_batch(self, number: int) -> None:
        """Nothing to tell."""

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        last = records[-1]
        self._report(
            f"{self._name}epoch {last.epoch} of {self.n_epochs} done: validation "
            f"{last.error_name} {last.validation.error:.2f}"
        )


@cache
def source_digest() -> str:
    """First 12 hexadecimal digits of a hash of the library's code."""
    with resources.as_file(resources.files("gncn")) as root:
        files = sorted(root.rglob("*.py"))
        named = ((str(path.relative_to(root)), sha256(path.read_bytes())) for path in files)
        return sha256(repr(list(named)).encode())[:12]


def _without_places(text: str) -> str:
    """Tracebacks without the folders that packages happen to be installed in."""
    for folder in (Path(__file__).parents[2], *map(Path, sys.path), Path(sys.prefix)):
        if folder.is_absolute() and folder != Path(folder.anchor):
            text = text.replace(f"{folder}{os.sep}", "")
    return text


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
