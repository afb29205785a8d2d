"""Choosing the variance of a GVAE-CV by validation images.

ψ (Eq 21) is a bound on log p(x) whatever the variance, so the variance of the highest ψ is best.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

from gncn.base.errors import ConfigError
from gncn.baselines.config import BaselineRun
from gncn.training.fit import Fit

R = TypeVar("R", bound=BaselineRun)


class VarianceChoice(NamedTuple):
    """GVAE-CVs of several variances, compared on validation images.

    Attributes:
        variance: σ² of the best one.
        config: the configuration with this variance.
        fit: its training.
        validation: ψ of the validation images at the epochs kept, averaged over trials,
            for each variance tried.
    """

    variance: float
    config: Any
    fit: Fit[Any]
    validation: dict[float, float]


def choose_variance(
    config: R,
    train: Callable[[R], Fit[Any]],
    on_choice: Callable[[VarianceChoice], None] = lambda _: None,
) -> VarianceChoice:
    """Train a GVAE-CV with each of several variances and choose by validation images.

    Ctrl-C ends it with the best of the models that were trained to their end; before there is
    one, with what there is of the first.

    Args:
        config: of model ``gvae-cv``; all its `backprop.variances` are tried.
        train: trains the models of a configuration with one variance.
        on_choice: receives the best so far after each training.

    Raises:
        ConfigError: the model is another.
        FitDivergenceError: a training diverged; holds its last good state.
    """
    if config.model != "gvae-cv":
        raise ConfigError(f"Only 'gvae-cv' has a constant variance; received {config.model!r}.")
    validation: dict[float, float] = {}
    best: VarianceChoice | None = None
    for variance in config.backprop.variances:
        backprop = config.backprop.model_copy(update={"variance": variance})
        one = config.model_copy(update={"backprop": backprop})
        result = train(one)
        if result.status == "interrupted" and best is not None:
            return best._replace(fit=replace(best.fit, status="interrupted"))
        if not result.history:
            return VarianceChoice(variance, one, result, validation)
        kept = [record.validation.discrepancy for record in result.kept]
        validation[variance] = sum(kept) / len(kept)
        if best is None or validation[variance] > validation[best.variance]:
            best = VarianceChoice(variance, one, result, validation)
        on_choice(best)
        if result.status == "interrupted":
            break
    assert best is not None
    return best
