"""`run_one`: from the description of a run to its record.

``python -m gncn.study.run SPEC HOME/FOLDER/RESULT`` does so in a process of its own: it reads a
`RunSpec` and writes a `Record`, both as JSON, and says on standard output what it is doing.  It
ends when its standard input does, which is when its parent is gone.

Until the run is recorded, its run folder lies in HOME, and another process goes on from there.
"""

import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from gncn.base.errors import GncnError, RunError
from gncn.base.files import read_json, short_hash, source_digest, write_atomic
from gncn.base.hardware import keep_compiled_programs
from gncn.base.locks import alone
from gncn.base.progress import Report
from gncn.base.tensors import read_tensors
from gncn.data import Dataset, cache_dir
from gncn.runs.assess import MAX_TENSOR_BYTES, assess
from gncn.runs.folder import SPLITS, RunFolder, now
from gncn.runs.replacing import has_checkpoint
from gncn.runs.train import train_run
from gncn.study.columns import without_test_images
from gncn.study.pictures import pack_pictures
from gncn.study.record import History, Record, without_confusion
from gncn.study.specs import RunSpec
from gncn.study.worker import THREADS, begin
from gncn.training.callbacks import Callback, Start
from gncn.training.history import EpochRecord
from gncn.training.progress import Fit

RUN = "run-"
"""Begins the name of a run folder; the rest depends on the settings and the library's code."""
NOTE = "the run "
"""Begins news that is worth a line; other news tells what is being done now."""


def run_one(spec: RunSpec, *, report: Report = lambda _: None, home: Path | None = None) -> Record:
    """Train and measure one model.

    The run folder is in the folder `home` and stays there: if the process is killed, the next call
    goes on from its checkpoint.  Without `home` it is a temporary one.  A run that reports on
    validation images never sees test images.

    Raises:
        GncnError: what `gncn.runs.train.train_run` and `gncn.runs.assess.assess` raise.
        KeyboardInterrupt: Ctrl-C.
    """
    report("loading data")
    wanted, whole = spec.evaluation, spec.config.data.load()
    data = whole if spec.split == "test" else without_test_images(whole)
    metrics: dict[str, Any] = {}
    shown: dict[str, Any] = {}
    temporary = tempfile.TemporaryDirectory(prefix="gncn-") if home is None else nullcontext(home)
    # A process whose parent was killed may be alive for a moment, while the next one begins.
    # Two processes must never write one run folder.
    with temporary as place, alone(Path(place) / "process", "the run", wait=True):
        folder, result, training = _trained(spec, data, Path(place), report)
        trained = time.perf_counter()
        if wanted.measures:
            metrics, _ = assess(
                folder,
                data,
                split=spec.split,
                only=wanted.measures,
                settings=wanted.settings_of(wanted.measures),
                seed=wanted.seed,
                report=report,
            )
            pictures = folder.path / f"pictures-{spec.split}.safetensors"
            shown = read_tensors(pictures, MAX_TENSOR_BYTES)
            metrics["data"] = {"name": whole.name, "fingerprint": whole.fingerprint}
        about = folder.about
    ended = time.perf_counter()
    best_way = metrics.get("completion", {}).get("best_way")
    times = {"training": training, "evaluation": ended - trained}
    times["total"] = sum(times.values())
    images = {name: len(getattr(whole, name)) for name in SPLITS}
    return _record(
        spec,
        about["started"],
        status="finished",
        seconds=times,
        threads=int(os.environ[THREADS]) if THREADS in os.environ else None,
        versions=about["versions"],
        hardware=about["hardware"],
        dataset=about["data"] | {"fingerprint": whole.fingerprint, "images": images},
        train_on=about.get("train_on", "train"),
        n_synapses=about["n_synapses"],
        validation_psi_of_variances=about.get("validation_psi_of_variances", {}),
        kept=next(iter(_seen(result.kept, spec.split)), None),
        history=History.of(_seen(result.history, spec.split)),
        metrics=without_confusion(metrics),
        # Of the first trial only: pictures take some 20 kB.
        pictures=pack_pictures(shown, data, spec.split, best_way) if spec.trial == 0 else {},
    )


def _seen(history: Sequence[EpochRecord], split: str) -> Sequence[EpochRecord]:
    """A history without what stands in for test images, if the run doesn't report on them."""
    if split == "test":
        return history
    return [one.model_copy(update={"test": None}) for one in history]


def _trained(
    spec: RunSpec, data: Dataset, home: Path, report: Report
) -> tuple[RunFolder, Fit[Any], float]:
    """The run trained, perhaps from a checkpoint on; and the seconds that it took in all."""
    began = time.perf_counter()
    # The name says what the folder's checkpoint belongs to: other settings or code begin another.
    path = home / f"{RUN}{short_hash([spec.for_record(), source_digest()])}"
    for other in home.glob(f"{RUN}*"):
        if other != path:
            report(f"{NOTE}begins again: its settings or the library's code have changed")
            shutil.rmtree(other)
    goes_on, earlier, watch = has_checkpoint(path), [], Watch(report)
    try:
        if goes_on:
            folder, _ = RunFolder.resume(path)
            with suppress(RunError):  # it may be damaged: the checkpoint holds it, too
                earlier = folder.history if folder.has_epochs else []
            report(f"{NOTE}goes on from its last checkpoint")
        else:
            # Unfinished and without a checkpoint: nothing to go on from.
            shutil.rmtree(path, ignore_errors=True)
            folder = RunFolder.create(path, spec.config, data, overwrite=False)
        result = train_run(folder, spec.config, data, callbacks=[watch])
    except GncnError as error:
        # A checkpoint that is refused costs a run its progress, but not its record.
        if not goes_on or watch.n_epochs:  # it isn't the checkpoint that was refused
            raise
        report(f"{NOTE}begins again: {error}")
        shutil.rmtree(path)
        return _trained(spec, data, home, report)
    # What earlier processes spent on whole epochs, and this one's time.
    seconds = sum(one.seconds for one in earlier) + time.perf_counter() - began
    return folder, result, seconds


def main(spec_path: Path, result_path: Path) -> None:
    """Do a run in this process; an error becomes the record of a failed run."""
    begin()
    keep_compiled_programs(cache_dir() / "compiled")
    spec, started = RunSpec(**read_json(spec_path)), now()
    try:
        record = run_one(spec, report=_say, home=result_path.parent.parent)
    # Any error becomes a record: other runs go on.
    except Exception as error:
        record = failed(spec, type(error).__name__, str(error), traceback.format_exc(), started)
    write_atomic(result_path, record.to_json())


def _say(what: str) -> None:
    print(what.replace("\n", " "), flush=True)


def failed(
    spec: RunSpec, kind: str, message: str, details: str, started: str | None = None
) -> Record:
    """The record of a run that failed."""
    # The end of a traceback says what happened.
    error = {"type": kind, "message": message, "details": _without_places(details)[-4000:]}
    return _record(spec, started or now(), status="failed", error=error)


def _record(spec: RunSpec, started: str, **fields: Any) -> Record:
    named = {"model": spec.model, "data": spec.data, "trial": spec.trial, "spec": spec.for_record()}
    return Record(started=started, finished=now(), source=source_digest(), **named, **fields)


class Watch(Callback):
    """Tells of every epoch of a training; `name` stands before each piece of news."""

    def __init__(self, report: Report, name: str = "") -> None:
        self._report, self._name, self.n_epochs = report, name, 0

    def on_start(self, start: Start) -> None:
        self.n_epochs = start.n_epochs
        self._report(f"{self._name}training; epochs in all: {start.n_epochs}")

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        last = records[-1]
        self._report(
            f"{self._name}epoch {last.epoch} of {self.n_epochs} done: "
            f"{'validation' if last.validation else 'training'} {last.error_name} "
            f"{last.held_out.error:.2f}"
        )


def _without_places(text: str) -> str:
    """Tracebacks without the folders that packages happen to be installed in."""
    for folder in (Path(__file__).parents[2], *map(Path, sys.path), Path(sys.prefix)):
        if folder.is_absolute() and folder != Path(folder.anchor):
            text = text.replace(f"{folder}{os.sep}", "")
    return text


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
