"""The run folder: one folder holds all that a run was and made.

==================  ========================================================
file                content
==================  ========================================================
``config.toml``     the resolved configuration: every option with an effect
``run.json``        status, versions, seeds, data, hardware and times
``history.jsonl``   one line for each trial and epoch (`gncn.training.history`)
``trials/K/``       the model of trial K (`gncn.runs.model_files`)
``figures/``        PNGs
==================  ========================================================

Everything is written atomically and after every epoch, so a run that is killed
leaves a folder that later commands can take.  A run that is to be replaced waits in
``.replaced/`` until the new one has an epoch to show.
"""

import json
import os
import platform
import shutil
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import jax

from gncn.base.errors import RunError
from gncn.base.files import read_json, sha256, write_atomic
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.evaluation.mixture import Mixture
from gncn.runs.config import Config, load_config
from gncn.runs.model_files import DESCRIPTION, load, save
from gncn.runs.priors import load_mixture
from gncn.training.fit import Fit, Status
from gncn.training.history import EpochRecord, read_history, write_history

CONFIG, RUN, HISTORY = "config.toml", "run.json", "history.jsonl"
REPLACED, MOVING = ".replaced", ".replaced.moving"
"""Where a run waits that is to be replaced, and where it is gathered before."""
PACKAGES = ("gncn", "jax", "jaxlib", "equinox", "optax", "numpy")


class RunFolder:
    """A folder that holds a run; also a `gncn.training.fit.Listener` that keeps it up to date.

    Attributes:
        path: the folder.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._history: list[EpochRecord] = []

    @classmethod
    def create(
        cls, path: str | Path, config: Config, data: Dataset, *, overwrite: bool
    ) -> "RunFolder":
        """Begin a run in a new or empty folder.

        Args:
            path: the folder; made if need be.
            config: written to the folder.
            data: described in ``run.json``.
            overwrite: replace the run that the folder may hold.

        Raises:
            RunError: the folder holds a run or other files, or can't be written.
        """
        path = Path(path)
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file; choose a folder for the run.")
        try:
            if any((path / name).exists() for name in (CONFIG, REPLACED, MOVING)):
                if not overwrite:
                    raise RunError(
                        f"{path} already holds a run. Choose another folder with --out, or replace "
                        "the run with --overwrite."
                    )
                _set_aside(path)
            elif path.exists() and any(path.iterdir()):
                raise RunError(
                    f"{path} holds files that are no run; choose an empty or new folder."
                )
            (path / "figures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"Can't make the folder {path}: {error.strerror or error}.") from error
        folder = cls(path)
        write_atomic(path / CONFIG, config.with_whole_paths().to_toml())
        folder._update(
            status="running",
            started=_now(),
            seeds=config.seeds,
            model=config.model,
            n_synapses=config.n_synapses(data),
            data=_describe_data(data),
            versions={name: metadata.version(name) for name in PACKAGES}
            | {"python": platform.python_version()},
            hardware=_hardware(),
            command=sys.argv,
        )
        return folder

    @property
    def has_epochs(self) -> bool:
        """Whether an epoch has come to its end."""
        return (self.path / HISTORY).exists()

    @property
    def waits(self) -> bool:
        """Whether a run waits to be replaced: this one has no epoch yet."""
        return (self.path / REPLACED).is_dir()

    def give_up(self) -> None:
        """Leave the folder as it was found, as no epoch came to its end.

        Raises:
            RunError: it can't be written.
        """
        aside = self.path / REPLACED
        try:
            _remove(_entries(self.path))
            if aside.is_dir():
                for entry in aside.iterdir():
                    entry.rename(self.path / entry.name)
                aside.rmdir()
            if not any(self.path.iterdir()):
                self.path.rmdir()
        except OSError as error:
            raise RunError(f"Can't restore {self.path}: {error.strerror or error}.") from error

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open a folder that holds a run.

        Raises:
            RunError: it doesn't.
        """
        path = Path(path)
        missing = [name for name in (CONFIG, RUN) if not (path / name).is_file()]
        if missing:
            raise RunError(
                f"{path} is not a run folder: {' and '.join(missing)} not found. Make one with "
                "`gncn train --out FOLDER`."
            )
        return cls(path)

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
        data = about.get("data")
        if not isinstance(data, dict) or not {"name", "fingerprint"} <= data.keys():
            raise RunError(f"{self.path / RUN} doesn't say which data the run saw: it is damaged.")
        return about

    @property
    def history(self) -> list[EpochRecord]:
        """The history of training."""
        return read_history(self.path / HISTORY)

    def network(self, trial: int = 0) -> Network:
        """The network of one trial.

        Raises:
            RunError: the run has no such trial, its files are damaged, or it trained a
                baseline.
        """
        model = self.model(trial)
        if not isinstance(model, Network):
            raise RunError(
                f"{self.path} holds the baseline {self.config.model!r}, and this needs a network "
                "that settles (model 'gncn')."
            )
        return model

    def model(self, trial: int = 0) -> Any:
        """The network or baseline of one trial.

        Raises:
            RunError: the run has no such trial, or its files are damaged.
        """
        folder = self.path / "trials" / str(trial)
        if not folder.is_dir():
            names = (entry.name for entry in (self.path / "trials").glob("*"))
            found = sorted(int(name) for name in names if name.isdecimal())
            older = f" The run that it was to replace lies in {self.path / REPLACED}."
            raise RunError(
                f"{self.path} has no trained model of trial {trial}; it has trials {found}."
                + (older if self.waits else "")
            )
        return load(folder)

    def model_digest(self, trial: int = 0) -> str:
        """First 12 hexadecimal digits of a hash of one trial's model."""
        return sha256((self.path / "trials" / str(trial) / DESCRIPTION).read_bytes())[:12]

    def prior_path(self, trial: int = 0) -> Path:
        """Where the mixture prior of one trial goes."""
        return self.path / "trials" / str(trial) / "prior.safetensors"

    def prior(self, trial: int = 0) -> Mixture:
        """The mixture prior that ``gncn evaluate`` fitted for one trial.

        Raises:
            RunError: it wasn't yet, or the file is damaged.
        """
        path = self.prior_path(trial)
        if not path.is_file():
            raise RunError(
                f"{self.path} has no prior of trial {trial} yet; `gncn evaluate {self.path}` "
                "fits one."
            )
        return load_mixture(path)

    def data(self, data_dir: str | Path | None = None) -> Dataset:
        """The data of the run, checked to be the same.

        Args:
            data_dir: folder of the original files, if not the configured one.

        Raises:
            RunError: what was found isn't what the run saw.
        """
        config = self.config.data
        if data_dir is not None:
            config = config.model_copy(update={"data_dir": str(data_dir)})
        data = config.load()
        seen = self.about["data"]["fingerprint"]
        if data.fingerprint != seen:
            raise RunError(
                f"The data {data.name!r} have changed since the run: fingerprint "
                f"{data.fingerprint}, and the run saw {seen}."
            )
        return data

    def figure(self, name: str) -> Path:
        """Where the figure of this name goes; its folder exists.

        Raises:
            RunError: its folder can't be made.
        """
        folder = self.path / "figures"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
        return folder / f"{name}.png"

    def finish(self, status: Status, epochs_kept: Sequence[int] | None = None) -> None:
        """Record how the run ended, and the epochs that the models kept are from."""
        kept = {} if epochs_kept is None else {"epochs_kept": list(epochs_kept)}
        self._update(status=status, finished=_now(), **kept)

    def keep(self, config: Config, result: Fit[Any], **about: Any) -> None:
        """Hold this training and no earlier one.

        Args:
            config: what it was trained with, to replace ``config.toml``.
            result: its models and history.
            about: what else to record in ``run.json``.
        """
        self._history = []
        write_atomic(self.path / CONFIG, config.to_toml())
        self.on_epoch(result.history, result.networks)
        self._update(epochs_kept=list(result.epochs_kept), **about)

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Nothing to record."""

    def on_batch(self, number: int) -> None:
        """Nothing to record."""

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Save the models and the history so far."""
        self._history.extend(records)
        for index, network in enumerate(networks):
            save(network, self.path / "trials" / str(index))
        write_history(self.path / HISTORY, self._history)
        shutil.rmtree(self.path / REPLACED, ignore_errors=True)

    def _update(self, **values: Any) -> None:
        before = read_json(self.path / RUN) if (self.path / RUN).exists() else {}
        write_atomic(self.path / RUN, json.dumps(before | values, indent=2) + "\n")


def _entries(path: Path) -> list[Path]:
    """What a run folder holds of its run; the configuration, which tells a run folder, last."""
    names = [RUN, HISTORY, "trials", "figures", CONFIG]
    kinds = ("metrics-*.json", "per-image-*.safetensors", "pictures-*.safetensors")
    measured = [found for kind in kinds for found in path.glob(kind)]
    return [*measured, *(path / name for name in names if (path / name).exists())]


def _remove(entries: Sequence[Path]) -> None:
    for entry in entries:
        if entry.is_dir():
            shutil.rmtree(entry)
        else:
            entry.unlink()


def _set_aside(path: Path) -> None:
    """Move the run that a folder holds aside; killed midway, it goes on the next time."""
    aside, moving = path / REPLACED, path / MOVING
    if aside.is_dir():  # the run that was to replace it was killed in its first epoch
        _remove(_entries(path))
        return
    moving.mkdir(exist_ok=True)
    for entry in _entries(path):
        entry.rename(moving / entry.name)
    moving.rename(aside)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _describe_data(data: Dataset) -> dict[str, Any]:
    return {
        "name": data.name,
        "source": data.source,
        "licence": data.licence,
        "fingerprint": data.fingerprint,
        "images": {
            "train": len(data.train),
            "validation": len(data.validation),
            "test": len(data.test),
        },
    }


def _hardware() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "platform": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "device": f"{device.platform}: {device.device_kind}",
    }
