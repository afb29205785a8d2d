"""The run folder: one folder holds all that a run was and made.

==================  ========================================================
file                content
==================  ========================================================
``config.toml``     the resolved configuration: every option with an effect
``run.json``        status, versions, seeds, data, hardware and times
``history.jsonl``   one line for each trial and epoch (`gncn.history`)
``trials/K/``       the model of trial K (`gncn.serialise`)
``figures/``        PNGs
==================  ========================================================

Everything is written atomically and after every epoch, so a run that is killed
leaves a folder that later commands can take.
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

from gncn.config import Config, load_config
from gncn.data import Dataset
from gncn.errors import RunError
from gncn.evaluation.mixture import Mixture
from gncn.files import write_atomic
from gncn.fit import Fit, Status
from gncn.history import EpochRecord, read_history, write_history
from gncn.models import Model
from gncn.network import Network
from gncn.serialise import load, load_mixture, save

CONFIG, RUN, HISTORY = "config.toml", "run.json", "history.jsonl"
PACKAGES = ("gncn", "jax", "jaxlib", "equinox", "optax", "numpy")


class RunFolder:
    """A folder that holds a run; also a `gncn.fit.Listener` that keeps it up to date.

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
        if (path / CONFIG).exists():
            if not overwrite:
                raise RunError(
                    f"{path} already holds a run. Choose another folder with --out, or replace "
                    "the run with --overwrite."
                )
            kinds = ("metrics-*.json", "per-image-*.safetensors", "pictures-*.safetensors")
            measured = (found for kind in kinds for found in path.glob(kind))
            for old in (*(path / name for name in (CONFIG, RUN, HISTORY)), *measured):
                old.unlink(missing_ok=True)
            for old in ("trials", "figures"):
                shutil.rmtree(path / old, ignore_errors=True)
        elif path.exists() and any(path.iterdir()):
            raise RunError(f"{path} holds files that are no run; choose an empty or new folder.")
        try:
            (path / "figures").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RunError(f"Can't make the folder {path}: {error.strerror or error}.") from error
        folder = cls(path)
        write_atomic(path / CONFIG, config.to_toml())
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
        """The content of ``run.json``."""
        path = self.path / RUN
        try:
            return json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise RunError(f"{path} can't be read: {error}") from error

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

    def model(self, trial: int = 0) -> Model:
        """The network or baseline of one trial.

        Raises:
            RunError: the run has no such trial, or its files are damaged.
        """
        folder = self.path / "trials" / str(trial)
        if not folder.is_dir():
            found = sorted(int(f.name) for f in (self.path / "trials").glob("[0-9]*"))
            raise RunError(
                f"{self.path} has no trained model of trial {trial}; it has trials {found}."
            )
        return load(folder)

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
        """Where the figure of this name goes; its folder exists."""
        folder = self.path / "figures"
        folder.mkdir(exist_ok=True)
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

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Model]) -> None:
        """Save the models and the history so far."""
        self._history.extend(records)
        for index, network in enumerate(networks):
            save(network, self.path / "trials" / str(index))
        write_history(self.path / HISTORY, self._history)

    def _update(self, **values: Any) -> None:
        before = self.about if (self.path / RUN).exists() else {}
        write_atomic(self.path / RUN, json.dumps(before | values, indent=2) + "\n")


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
