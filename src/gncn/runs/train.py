"""`train`: from a configuration and its data to trained models, whatever their kind.

`choose_variance` trains several GVAE-CVs and chooses among them by validation images;
`train_run` does either and keeps a run folder up to date.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from gncn.base.errors import ConfigError, GncnError
from gncn.baselines.mixture_training import fit_pixel_mixture
from gncn.data import Dataset
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.training.fit import Fit, FitDivergenceError, Listener, fit


def train(config: Config, data: Dataset, *, listeners: Sequence[Listener] = ()) -> Fit[Any]:
    """Make the models that a configuration names and train them.

    Of several variances of a GVAE-CV the best is returned (`choose_variance`).

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
    if len(config.variances) > 1:
        return choose_variance(config, data, listeners=listeners).fit
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
    *,
    listeners: Sequence[Listener] = (),
    on_choice: Callable[[VarianceChoice], None] = lambda _: None,
) -> VarianceChoice:
    """Train a GVAE-CV with each of several variances and choose by validation images.

    ψ (Eq 21) is a bound on log p(x) whatever the variance, so the highest is the best.
    Ctrl-C ends it with the best of those that were trained to their end, or else with
    what there is of the first.

    Args:
        config: of model ``gvae-cv``; tried are its `variances`.
        data: as `config.data.load()` returns them.
        listeners: told of the progress of each training in turn.
        on_choice: told of the best so far after each training.

    Returns:
        The choice.

    Raises:
        ConfigError: the model is another, or an option is out of range for these data.
        FitDivergenceError: a training diverged; holds its last good state.
    """
    if config.model != "gvae-cv":
        raise ConfigError(f"Only 'gvae-cv' has a constant variance; received {config.model!r}.")
    validation: dict[float, float] = {}
    best: VarianceChoice | None = None
    for variance in config.variances:
        result = train(config.with_variance(variance), data, listeners=listeners)
        if result.status == "interrupted" and best is not None:
            return best._replace(fit=replace(best.fit, status="interrupted"))
        if not result.history:
            return VarianceChoice(variance, result, validation)
        validation[variance] = _kept_discrepancy(result)
        if best is None or validation[variance] > validation[best.variance]:
            best = VarianceChoice(variance, result, validation)
        on_choice(best)
        if result.status == "interrupted":
            break
    assert best is not None
    return best


def train_run(
    folder: RunFolder, config: Config, data: Dataset, *, listeners: Sequence[Listener] = ()
) -> Fit[Any]:
    """Train what a run is to hold, and keep its folder up to date.

    Of several variances of a GVAE-CV the folder holds the best so far, with its own
    configuration, and ``run.json`` what each reached.

    Args:
        folder: the run, just created.
        config: what it was created with.
        data: as `config.data.load()` returns them.
        listeners: told of the progress.

    Returns:
        The models that the folder holds in the end, and their history.

    Raises:
        ConfigError: an option is out of range for these data.
        DataError: the data don't fit the model.
        FitDivergenceError: training diverged; the folder holds the last good state, or of
            several variances the best that was trained to its end.

    Where no epoch comes to its end, a run that was to be replaced is put back; and if an
    option or the data are refused, a new folder is taken away.
    """
    several = len(config.variances) > 1

    def keep(choice: VarianceChoice) -> None:
        tried = {str(variance): psi for variance, psi in choice.validation.items()}
        chosen = config.with_variance(choice.variance)
        folder.keep(chosen, choice.fit, validation_psi_of_variances=tried)

    try:
        if several:
            result = choose_variance(config, data, listeners=listeners, on_choice=keep).fit
        else:
            result = train(config, data, listeners=[*listeners, folder])
    except FitDivergenceError as error:
        if folder.waits:
            folder.give_up()
        else:
            folder.finish("diverged", None if several else error.last_good.epochs_kept)
        raise
    except GncnError:
        if not folder.has_epochs:
            folder.give_up()
        raise
    if folder.waits:
        folder.give_up()
    else:
        folder.finish(result.status, result.epochs_kept)
    return result


def _kept_discrepancy(result: Fit[Any]) -> float:
    """ψ of the validation images at the epochs kept, averaged over trials."""
    kept = [record.validation.discrepancy for record in result.kept]
    return sum(kept) / len(kept)
