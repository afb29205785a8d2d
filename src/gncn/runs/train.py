"""`train`: from a configuration and its data to trained models, whatever their kind.

`train_run` does so and keeps a run folder up to date.
"""

from collections.abc import Sequence
from typing import Any

from gncn.base.errors import GncnError, RunError, unknown_choice
from gncn.base.extras import needs
from gncn.baselines.kinds import VarianceChoice, choose_variance
from gncn.data import Dataset
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.training.callbacks import Callback, Callbacks
from gncn.training.checkpoints import Checkpoints
from gncn.training.fit import FitDivergenceError
from gncn.training.loggers import TRACKERS, FileLogger, TensorBoardLogger, TrackerLogger
from gncn.training.progress import Fit, Interrupted


def train(
    config: Config,
    data: Dataset,
    *,
    callbacks: Any = (),
    checkpoints: Checkpoints | None = None,
) -> Fit[Any]:
    """Make the models of a configuration and train them; see `gncn.training.kinds.ModelKind`."""
    return config.kind.train(config, data, callbacks, checkpoints)


LOGGERS = ("csv", "jsonl", "tensorboard", *TRACKERS)
"""Names that ``--log`` takes: files in the run's folder, and trackers."""


def check_loggers(names: Sequence[str]) -> None:
    """Refuse loggers that are unknown or lack their package, by a `ConfigError`."""
    for name in names:
        if name not in LOGGERS:
            raise unknown_choice("log", name, LOGGERS)
        if name not in ("csv", "jsonl"):
            needs("tensorboardX" if name == "tensorboard" else name, name)


def loggers(folder: RunFolder) -> list[Callback]:
    """The loggers that a run was begun with; a `ConfigError` if one lacks its package."""
    found: list[Callback] = []
    names = folder.about.get("log", [])
    if not isinstance(names, list):
        raise RunError(f"{folder.path} doesn't say how it is logged: run.json is damaged.")
    check_loggers(names)
    # Each logger once, however often it was named.
    for name in dict.fromkeys(names):
        if name in TRACKERS:
            found.append(TrackerLogger(name))
        elif name == "tensorboard":
            # The folder is the run's own, so what lies there is this run's.
            found.append(TensorBoardLogger(folder.path / name, overwrite=True))
        else:
            found.append(FileLogger(folder.path / f"log.{name}", overwrite=True))
    return found


def train_run(
    folder: RunFolder,
    config: Config,
    data: Dataset,
    *,
    callbacks: Any = (),
    every_batches: int | None = None,
    every_seconds: float | None = None,
) -> Fit[Any]:
    """Train the models of a run as `train` does, and keep its folder up to date.

    The folder was just created, or opened to go on (`RunFolder.resume`).  A checkpoint is written
    after every epoch, and within it as `gncn.training.checkpoints.Checkpoints` says.

    A GVAE-CV may have several variances to choose from.  The folder then holds the best so far,
    with its own configuration.  ``run.json`` holds the ψ that each reached.

    If no epoch ends, the run that was to be replaced is put back.  If an option or the data are
    refused, a new folder is removed.  If training diverges, the folder holds the last good state,
    or the best of the variances whose training ended.

    Returns:
        The models that the folder holds in the end, and their history.

    Raises:
        Interrupted: Ctrl-C; holds what the folder holds.
        GncnError: see `gncn.fit`.
    """
    several = config.model == "gvae-cv" and len(config.backprop.variances) > 1

    def train_one(config: Config) -> Fit[Any]:
        # One folder of checkpoints for each variance, as each is a training of its own.
        own = where.of(f"variance-{config.backprop.variance}")
        return train(config, data, callbacks=callbacks, checkpoints=own)

    def keep(choice: VarianceChoice) -> None:
        tried = {str(variance): psi for variance, psi in choice.validation.items()}
        folder.keep(choice.config, choice.fit, validation_psi_of_variances=tried)

    try:
        where = folder.checkpoints(every_batches, every_seconds)
        if several:
            result = choose_variance(config, train_one, keep).fit
        else:
            try:
                # The folder hears last, when loggers have written the epoch.
                told = Callbacks(callbacks, folder)
                result = train(config, data, callbacks=told, checkpoints=where)
            except Interrupted as stop:
                _write_again(folder, stop.fit)
                raise
            _write_again(folder, result)
    except FitDivergenceError as error:
        folder.finish("diverged", None if several else error.last_good.epochs_kept)
        raise
    except Interrupted as stop:
        folder.finish("interrupted", stop.fit.epochs_kept)
        raise
    except GncnError:
        # With nothing trained, the folder becomes what it was; a run that went on keeps what it
        # has.
        if folder.has_epochs or "resumed" in folder.about:
            folder.finish("interrupted")
        else:
            folder.give_up()
        raise
    folder.finish("finished", result.epochs_kept)
    return result


def _write_again(folder: RunFolder, result: Fit[Any]) -> None:
    """Write what training ends with, if it has gone on in a folder whose files may be damaged."""
    if "resumed" in folder.about and result.history:
        folder.on_epoch(result.history, result.networks)
