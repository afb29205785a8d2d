"""`train`: from a configuration and its data to trained models, whatever their kind."""

from collections.abc import Sequence
from typing import Any

from gncn.baselines.mixture_training import fit_pixel_mixture
from gncn.config import Config
from gncn.data import Dataset
from gncn.fit import Fit, Listener, fit


def train(config: Config, data: Dataset, *, listeners: Sequence[Listener] = ()) -> Fit[Any]:
    """Make the models that a configuration names and train them.

    Args:
        config: decides all.
        data: as `config.data.load()` returns them.
        listeners: told of the progress.

    Returns:
        The trained models and the history of training.

    Raises:
        ConfigError: an option is out of range for these data.
        DataError: the data don't fit the model.
        FitDivergenceError: training diverged; holds the last good state.
    """
    if config.model == "gmm":
        return fit_pixel_mixture(data, config.mixture, seeds=config.seeds, listeners=listeners)
    models: Sequence[Any] = config.models(data)
    return fit(models, data, config.training, seeds=config.seeds, listeners=listeners)
