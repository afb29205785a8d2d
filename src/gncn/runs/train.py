"""`train`: from a configuration and its data to trained models, whatever their kind.

`train_run` does so and keeps a run folder up to date.
"""

from collections.abc import Sequence
from typing import Any

from gncn.base.errors import GncnError
from gncn.baselines.kinds import VarianceChoice, choose_variance
from gncn.data import Dataset
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.training.fit import Fit, FitDivergenceError, Listener


def train(config: Config, data: Dataset, *, listeners: Sequence[Listener] = ()) -> Fit[Any]:
    """Make the models of a configuration and train them; see `gncn.training.kinds.ModelKind`."""
    return config.kind.train(config, data, listeners)


def train_run(
    folder: RunFolder, config: Config, data: Dataset, *, listeners: Sequence[Listener] = ()
) -> Fit[Any]:
    """Train the models of a run as `train` does, and keep its folder, just created, up to date.

    If a GVAE-CV has several variances to choose from, the folder holds the best so far with its
    own configuration, and ``run.json`` the ψ that each reached.

    If no epoch ends, the run that was to be replaced is put back.  If an option or the data are
    refused, a new folder is removed.  If training diverges, the folder holds the last good state,
    or the best of the variances whose training ended.

    Returns:
        The models that the folder holds in the end, and their history.
    """
    several = config.model == "gvae-cv" and len(config.backprop.variances) > 1

    def train_one(config: Config) -> Fit[Any]:
        return train(config, data, listeners=listeners)

    def keep(choice: VarianceChoice) -> None:
        tried = {str(variance): psi for variance, psi in choice.validation.items()}
        folder.keep(choice.config, choice.fit, validation_psi_of_variances=tried)

    try:
        if several:
            result = choose_variance(config, train_one, keep).fit
        else:
            result = train(config, data, listeners=[*listeners, folder])
    except FitDivergenceError as error:
        folder.finish("diverged", None if several else error.last_good.epochs_kept)
        raise
    except GncnError:
        if not folder.has_epochs:
            folder.give_up()
        raise
    folder.finish(result.status, result.epochs_kept)
    return result
