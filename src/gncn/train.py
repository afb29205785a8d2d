"""`train`: from a configuration and its data to trained models, whatever their kind.

`choose_variance` trains several GVAE-CVs and chooses among them by validation images.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from gncn.baselines.mixture_training import fit_pixel_mixture
from gncn.config import Config
from gncn.data import Dataset
from gncn.errors import ConfigError
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


class VarianceChoice(NamedTuple):
    """GVAE-CVs of several variances, compared on validation images.

    Attributes:
        variance: σ² of the best one.
        fit: its training.
        validation: ψ of the validation images at the epochs kept, averaged over trials,
            for each variance tried.
    """

    variance: float
    fit: Fit[Any]
    validation: dict[float, float]


def choose_variance(
    config: Config,
    data: Dataset,
    variances: Sequence[float] = (0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    *,
    listeners: Sequence[Listener] = (),
) -> VarianceChoice:
    """Train a GVAE-CV with each of several variances and choose by validation images.

    ψ (Eq 21) is a bound on log p(x) whatever the variance, so the highest is the best.

    Args:
        config: of model ``gvae-cv``; its own variance is not looked at.
        data: as `config.data.load()` returns them.
        variances: those to try, within [0.025, 1].
        listeners: told of the progress of each training in turn.

    Returns:
        The choice.

    Raises:
        ConfigError: no variance is given, one is out of range, or the model is another.
    """
    if config.model != "gvae-cv":
        raise ConfigError(f"Only 'gvae-cv' has a constant variance; received {config.model!r}.")
    if not variances:
        raise ConfigError("Give at least one variance to try; received none.")
    validation: dict[float, float] = {}
    best = None
    for variance in variances:
        options = config.model_dump()
        options["backprop"]["variance"] = variance
        result = train(Config(**options), data, listeners=listeners)
        kept = [
            record.validation.discrepancy
            for record in result.history
            if record.epoch == result.epochs_kept[record.trial]
        ]
        validation[variance] = sum(kept) / len(kept)
        if best is None or validation[variance] > validation[best.variance]:
            best = VarianceChoice(variance, result, validation)
    assert best is not None
    return best
