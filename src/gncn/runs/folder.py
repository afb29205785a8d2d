"""The run folder: everything about a run in one folder.

==================  ========================================================
file                content
==================  ========================================================
``config.toml``     the resolved configuration: every option with an effect
``run.json``        status, versions, seeds, data, hardware and times
``history.jsonl``   one line for each trial and epoch (`gncn.training.history`)
``trials/K/``       the model of trial K (`gncn.runs.model_files`)
``checkpoints/``    from which a killed training goes on (`gncn.training.checkpoints`), or an
                    evaluation (`gncn.runs.parts`)
``figures/``        PNGs
==================  ========================================================

Files are written atomically after every epoch, so later commands can work with the folder of a
run that was killed.  `gncn.runs.replacing` says how a run replaces another.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from contextlib import nullcontext, suppress
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from gncn.base.errors import ConfigError, GncnError, RunError
from gncn.base.files import (
    explained,
    make_folder,
    place,
    read_bytes,
    read_json,
    sha256,
    sweep,
    write_atomic,
)
from gncn.base.interrupts import interrupts_held
from gncn.base.locks import holder, in_use, is_empty
from gncn.base.notices import unsaid
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.runs.config import Config, load_config
from gncn.runs.model_files import DESCRIPTION, MAX_DESCRIPTION_BYTES, load, save
from gncn.runs.replacing import (
    ASIDE,
    CHECKPOINTS,
    RUN,
    has_checkpoint,
    holds_run,
    put_back,
    recover,
    set_aside,
    taken,
)
from gncn.training.callbacks import Callback
from gncn.training.checkpoints import MAY_CHANGE, PACKAGES, Checkpoints
from gncn.training.history import HISTORY, EpochRecord, read_history, write_history
from gncn.training.progress import Fit, Status

CONFIG = "config.toml"
_KEPT = "name", "source", "licence", "fingerprint", "white"
"""What a run keeps of its data set."""
SPLITS = ("train", "validation", "test")


class RunFolder(Callback):
    """The folder of a run, kept up to date by what it hears of training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._history: list[EpochRecord] = []

    @classmethod
    def create(
        cls,
        path: str | Path,
        config: Config,
        data: Dataset,
        *,
        overwrite: bool,
        log: Sequence[str] = (),
    ) -> "RunFolder":
        """Begin a run in a new or empty folder, or replace the run that it holds.

        `log` names its loggers, with which it goes on: see `gncn.runs.train.loggers`.

        Raises:
            RunError: the folder holds a run or other files, or can't be written.
        """
        path = place(path)
        # Whole paths, since the run may be resumed from another folder.
        folder, settings = cls(path), config.with_whole_paths().to_toml()
        train_on = config.training.train_on
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; choose a folder for the run.")
        with explained(f"Can't make the folder {path}"):
            if holds_run(path):
                if not overwrite:
                    # A kill may have left an old run half replaced: that is mended whatever the
                    # answer.
                    recover(path)
                    raise taken(path)
                # Moved and not removed: it comes back if the new run comes to nothing.
                set_aside(path)
            elif path.exists():
                # A process that was killed before its run had begun may have left some.
                sweep(path)
                if not is_empty(path):
                    raise RunError(
                        f"{path} holds files that are no run; choose an empty or new folder."
                    )
        try:
            make_folder(path)
            # First of all: a folder with it holds a run, so a run killed now can be replaced.
            write_atomic(path / CONFIG, settings)
            make_folder(path / "figures")
            variances = config.backprop.variances
            folder._update(
                status="running",
                started=now(),
                seeds=config.seeds,
                model=config.model,
                n_synapses=config.n_synapses(data),
                **({"variances": list(variances)} if len(variances) > 1 else {}),
                **({"log": list(log)} if log else {}),
                **({"train_on": train_on} if train_on != "train" else {}),
                **_provenance(data),
            )
        # Nothing was trained yet, so the folder becomes what it was.
        except GncnError:
            folder.give_up()
            raise
        return folder

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open a folder that holds a run.

        Raises:
            RunError: it holds none.
        """
        path = place(path)
        with explained(f"Can't open the run folder {path}"):
            files = [(name, path / name) for name in (CONFIG, RUN)]
            # A loss of power may leave empty files.
            missing = [name for name, f in files if not (f.is_file() and f.stat().st_size)]
        if missing:
            raise RunError(
                f"{path} is not a run folder: {' and '.join(missing)} missing or empty. Make one "
                "with `gncn train --out FOLDER`."
            )
        return cls(path)

    @classmethod
    def resume(cls, path: str | Path, changes: Sequence[str] = ()) -> "tuple[RunFolder, Config]":
        """Open a folder to go on with the training that it holds; returns its configuration, too.

        Args:
            path: of the run.
            changes: options that are to change, such as ``"training.n_epochs=30"``; only
                `gncn.training.checkpoints.MAY_CHANGE` may.

        Raises:
            ConfigError: an option must stay as it is.
            RunError: the folder holds no run.
        """
        folder = cls.open(path)
        variances = folder.about.get("variances")  # of a run that chooses one and keeps the best
        chosen = [] if variances is None else [f"backprop.variance={variances}"]
        # Compared as configurations, not as text: the file may be written in another way.
        config = load_config(file=folder.path / CONFIG, overrides=[*chosen, *changes])
        before = load_config(file=folder.path / CONFIG, overrides=chosen).model_dump()
        fixed = config.model_dump()
        for values in (fixed, before):
            for name in MAY_CHANGE:
                values["training"].pop(name)
        if fixed != before:
            raise ConfigError(
                f"Only {' and '.join(sorted(MAY_CHANGE))} may change when a training goes on; "
                f"received {', '.join(changes)}."
            )
        whole = has_checkpoint(folder.path)  # it holds all of the history
        if folder.has_epochs:
            # A checkpoint holds the history, so a damaged file of it is no loss.
            with suppress(RunError) if whole else nullcontext():
                folder._history = folder.history
        if folder.epoch > 1 and not whole:
            raise RunError(
                f"{folder.path} holds no checkpoint to go on from, and its networks would be "
                f"replaced. Begin again in another folder: `gncn train --config "
                f"{folder.path / CONFIG} --out FOLDER`."
            )
        write_atomic(folder.path / CONFIG, config.to_toml())
        resumed = [*folder.about.get("resumed", ()), now()]
        folder._update(status="running", resumed=resumed)
        return folder, config

    def checkpoints(
        self, every_batches: int | None = None, every_seconds: float | None = None
    ) -> Checkpoints:
        """Where the checkpoints of the run are, and how often one is written."""
        return Checkpoints(self.path / CHECKPOINTS, every_batches, every_seconds)

    @property
    def has_epochs(self) -> bool:
        """Whether an epoch has ended."""
        return (self.path / HISTORY).exists()

    @property
    def waits(self) -> bool:
        """Whether an old run is still there because the new one can't go on yet."""
        return (self.path / ASIDE).is_dir()

    @property
    def config(self) -> Config:
        """The configuration of the run."""
        return load_config(file=self.path / CONFIG)

    @property
    def about(self) -> dict[str, Any]:
        """The content of ``run.json``.

        Raises:
            RunError: it can't be read, or doesn't say which data the run saw.
        """
        about = read_json(self.path / RUN)
        # Checked here once, since whoever reads `about` needs the data's name and fingerprint.
        data = about.get("data")
        named = isinstance(data, dict) and [data.get(key) for key in ("name", "fingerprint")]
        if not named or not all(isinstance(one, str) for one in named):
            raise RunError(f"{self.path / RUN} doesn't say which data the run saw: it is damaged.")
        return about

    @property
    def history(self) -> list[EpochRecord]:
        """The history of training; a `RunError` if it can't be read or has no epoch."""
        if not (found := read_history(self.path / HISTORY)):
            raise RunError(f"{self.path / HISTORY} holds no epoch: it is damaged.")
        return found

    def refuse_learned_from(self, split: str) -> None:
        """Refuse to report on validation images that the models learned from.

        Raises:
            ConfigError: they did, and `split` is ``validation``.
        """
        if split == "validation" and self.config.training.train_on == "both":
            raise ConfigError(
                f"{self.path} learned from its validation images (training.train_on='both'), so "
                "they measure nothing: report on test images, --split test."
            )

    @property
    def unfinished(self) -> str:
        """A sentence on a training that hasn't reached its end; empty if it has."""
        status, n_epochs = self.about.get("status", "finished"), self.config.training.n_epochs
        if status == "finished" or not self.has_epochs:
            return ""
        at = f"epoch {self.history[-1].epoch} of {n_epochs}"
        if status == "running" and in_use(self.path):
            return (
                f"{self.path} is in use ({holder(self.path)}), and numbers are of the model after "
                f"{at}."
            )
        words = {"running": "is not finished", "diverged": "diverged"}.get(
            str(status), f"was {status}"
        )
        return (
            f"Training {words} after {at}, and numbers are of the model at that point. `gncn train "
            f"--resume {self.path}` goes on with it."
        )

    @property
    def epoch(self) -> int:
        """The last epoch that is known to have ended; 0 if none is."""
        return self._history[-1].epoch if self._history else 0

    def trial(self, trial: int) -> Path:
        """The folder of one trial's model."""
        return self.path / "trials" / str(trial)

    def digest(self, trial: int = 0) -> str:
        """12 hexadecimal digits that identify the model of one trial."""
        # The description names the arrays by their hash, so its own hash tells all of the model.
        return sha256(read_bytes(self.trial(trial) / DESCRIPTION, MAX_DESCRIPTION_BYTES))[:12]

    def model(self, trial: int = 0) -> Any:
        """The network or baseline of one trial.

        Raises:
            RunError: the run has no such trial, or its files are damaged.
        """
        if not self.trial(trial).is_dir():
            names = (entry.name for entry in (self.path / "trials").glob("*"))
            found = sorted(int(name) for name in names if name.isdecimal())
            older = f" The run that it was to replace lies in {self.path / ASIDE}."
            raise RunError(
                f"{self.path} has no trained model of trial {trial}; it has trials {found}."
                + (older if self.waits else "")
            )
        return load(self.trial(trial))

    def network(self, trial: int = 0) -> Network:
        """The network of one trial; a `RunError` as for `model`, or if the run has baselines."""
        model = self.model(trial)
        if not isinstance(model, Network):
            raise RunError(
                f"{self.path} holds the baseline {self.config.model!r}, and this needs a network "
                "that settles (model 'gncn')."
            )
        return model

    def data(self, data_dir: str | Path | None = None) -> Dataset:
        """Load the data of the run and check that they are the same.

        Args:
            data_dir: folder of the original files, if not the configured one.

        Raises:
            RunError: the data found are not the data that the run saw.
        """
        moved = {} if data_dir is None else {"data_dir": str(data_dir)}
        with unsaid():  # training said it
            data = self.config.data.model_copy(update=moved).load()
        # Files may hold other data by now.
        seen = self.about["data"]["fingerprint"]
        if data.fingerprint != seen:
            raise RunError(
                f"The data {data.name!r} have changed since the run: fingerprint "
                f"{data.fingerprint}, and the run saw {seen}."
            )
        return data

    def figure(self, name: str) -> Path:
        """The path for a figure of this name; makes the folder of figures."""
        make_folder(self.path / "figures")
        return self.path / "figures" / f"{name}.png"

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Save the models and the history so far."""
        # A training that goes on may repeat an epoch that ended before its checkpoint was whole.
        before = [one for one in self._history if one.epoch < records[0].epoch]
        self._history = [*before, *records]
        # Models first: a history must never tell of an epoch whose models are not there.
        for index, network in enumerate(networks):
            save(network, self.trial(index))
        write_history(self.path / HISTORY, self._history)
        # Only a run that could go on may replace the old one for good.
        if has_checkpoint(self.path):
            shutil.rmtree(self.path / ASIDE, ignore_errors=True)

    @interrupts_held()
    def keep(self, config: Config, result: Fit[Any], **about: Any) -> None:
        """Replace the training that the folder holds, and add values to ``run.json``."""
        self._history = []
        write_atomic(self.path / CONFIG, config.to_toml())
        self.on_epoch(result.history, result.networks)
        self._update(epochs_kept=list(result.epochs_kept), **about)

    @interrupts_held()
    def finish(self, status: Status, epochs_kept: Sequence[int] | None = None) -> None:
        """Record how the run ended, and from which epochs the kept models are.

        If an old run still waits that this one can't replace, or there is nothing to keep, the
        folder becomes what it was before.
        """
        # An old run that waits is worth more than a new one that can't go on.
        keeps = has_checkpoint(self.path) or (self.has_epochs and not self.waits)
        if status != "finished" and not keeps and (self.waits or status == "interrupted"):
            self.give_up()
            return
        kept = {} if epochs_kept is None else {"epochs_kept": list(epochs_kept)}
        self._update(status=status, finished=now(), **kept)
        shutil.rmtree(self.path / ASIDE, ignore_errors=True)

    def interrupt(self) -> str:
        """Finish the run, if it hasn't ended, and say in a sentence what the folder holds."""
        # Of each trial the last epoch at which it improved.
        kept = {r.trial: r.epoch for r in self._history if r.kept}
        within = has_checkpoint(self.path)  # asked before an old run is put back, which has its own
        if (self.path / RUN).exists() and read_json(self.path / RUN).get("status") == "running":
            self.finish("interrupted", list(kept.values()))
        if kept:
            after = " and ".join(str(epoch) for epoch in sorted({*kept.values()}))
            return (
                f"{self.path} holds the networks as they were after epoch {after}. Go on with "
                f"`gncn train --resume {self.path}`."
            )
        if within:
            return (
                f"{self.path} holds a checkpoint within the first epoch. Go on with "
                f"`gncn train --resume {self.path}`."
            )
        back = f" The run that {self.path} held is back." if self.has_epochs else ""
        return f"the first epoch had not ended, so there is nothing to keep.{back}"

    @interrupts_held()
    def give_up(self) -> None:
        """Leave the folder as it was before `create`; an empty one is removed."""
        with explained(f"Can't restore {self.path}"):
            # New files go and old ones come back, in an order that survives a kill.
            put_back(self.path)
            if is_empty(self.path):
                shutil.rmtree(self.path)

    def _update(self, **values: Any) -> None:
        before = read_json(self.path / RUN) if (self.path / RUN).exists() else {}
        write_atomic(self.path / RUN, json.dumps(before | values, indent=2) + "\n")


def now() -> str:
    """The time in UTC, as run folders and records say it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _provenance(data: Dataset) -> dict[str, Any]:
    device, python = jax.devices()[0], platform.python_version()
    return {
        "data": {
            **{name: getattr(data, name) for name in _KEPT},
            "images": {name: len(getattr(data, name)) for name in SPLITS},
        },
        "versions": {**{name: metadata.version(name) for name in PACKAGES}, "python": python},
        "hardware": {
            "platform": platform.system(),
            "machine": platform.machine(),
            "cpus": os.cpu_count(),
            "device": f"{device.platform}: {device.device_kind}",
        },
        "command": sys.argv,
    }
