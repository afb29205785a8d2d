"""The run folder: everything about a run in one folder.

==================  ========================================================
file                content
==================  ========================================================
``config.toml``     the resolved configuration: every option with an effect
``run.json``        status, versions, seeds, data, hardware and times
``history.jsonl``   one line for each trial and epoch (`gncn.training.history`)
``trials/K/``       the model of trial K (`gncn.runs.model_files`)
``figures/``        PNGs
==================  ========================================================

Files are written atomically after every epoch, so later commands can work with the folder of a
run that was killed.  How a run replaces another is in `gncn.runs.replacing`.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gncn.base.errors import RunError
from gncn.base.files import read_json, sha256, write_atomic
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.evaluation.mixture import Mixture
from gncn.runs.config import Config, load_config
from gncn.runs.model_files import DESCRIPTION, load, save
from gncn.runs.priors import load_mixture
from gncn.runs.provenance import now, provenance
from gncn.runs.replacing import CONFIG, HISTORY, MOVING, REPLACED, RUN, put_back, set_aside
from gncn.training.fit import Fit, Status
from gncn.training.history import EpochRecord, read_history, write_history


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
            config: the configuration, written to ``config.toml``.
            data: the data of the run, described in ``run.json``.
            overwrite: whether to replace a run that the folder holds.

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
                set_aside(path)
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
            started=now(),
            seeds=config.seeds,
            model=config.model,
            n_synapses=config.n_synapses(data),
            **provenance(data),
        )
        return folder

    @property
    def has_epochs(self) -> bool:
        """Whether an epoch has ended."""
        return (self.path / HISTORY).exists()

    @property
    def waits(self) -> bool:
        """Whether an old run is still there because no epoch of the new one has ended."""
        return (self.path / REPLACED).is_dir()

    def give_up(self) -> None:
        """Leave the folder as it was before `create`.

        Raises:
            RunError: it can't be written.
        """
        try:
            put_back(self.path)
        except OSError as error:
            raise RunError(f"Can't restore {self.path}: {error.strerror or error}.") from error

    @classmethod
    def open(cls, path: str | Path) -> "RunFolder":
        """Open a folder that holds a run.

        Raises:
            RunError: it holds none.
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
        """The path for the mixture prior of one trial."""
        return self.path / "trials" / str(trial) / "prior.safetensors"

    def prior(self, trial: int = 0) -> Mixture:
        """The mixture prior that ``gncn evaluate`` fitted for one trial.

        Raises:
            RunError: it hasn't been fitted, or the file is damaged.
        """
        path = self.prior_path(trial)
        if not path.is_file():
            raise RunError(
                f"{self.path} has no prior of trial {trial} yet; `gncn evaluate {self.path}` "
                "fits one."
            )
        return load_mixture(path)

    def data(self, data_dir: str | Path | None = None) -> Dataset:
        """Load the data of the run and check that they are the same.

        Args:
            data_dir: folder of the original files, if not the configured one.

        Raises:
            RunError: the data found are not the data that the run saw.
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
        """The path for a figure of this name; makes the folder of figures.

        Raises:
            RunError: the folder can't be made.
        """
        folder = self.path / "figures"
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise RunError(f"Can't make the folder {folder}: {error.strerror or error}.") from error
        return folder / f"{name}.png"

    def finish(self, status: Status, epochs_kept: Sequence[int] | None = None) -> None:
        """Record how the run ended, and from which epochs the kept models are."""
        kept = {} if epochs_kept is None else {"epochs_kept": list(epochs_kept)}
        self._update(status=status, finished=now(), **kept)

    def keep(self, config: Config, result: Fit[Any], **about: Any) -> None:
        """Replace the training that the folder holds by this one.

        Args:
            config: the configuration of this training; replaces ``config.toml``.
            result: the models and the history.
            about: further values for ``run.json``.
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
