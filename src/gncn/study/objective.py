"""How far a model falls short of what it should reach, on validation images."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from gncn.base.errors import ConfigError
from gncn.data import Dataset
from gncn.evaluation.completion import (
    complete,
    complete_in_ways,
    missing_squared_error,
    visible_pixels,
)
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.measure import fit_prior, measure_probe
from gncn.evaluation.protocols import WithPrior
from gncn.evaluation.regressor import fit_regressor
from gncn.evaluation.subject import Subject, as_measurable
from gncn.figures.drawing import image_shape
from gncn.runs.config import Config
from gncn.study.paper import PUBLISHED, Published
from gncn.study.search import Column, Measuring, Search
from gncn.training.fit import Fit

LOW_IS_GOOD: dict[str, bool] = {
    "bce": True,
    "log_likelihood": False,
    "error_percent": True,
    "m_mse_over_supervised": True,
    "top_sparsity": True,
}
SHARE_OF_MEAN = 0.1
"""What the mean shortfall counts beside the worst."""


def development_data(config: Config, train_images: int | None = None) -> Dataset:
    """Data to choose settings by: without test images.

    What stands in the test split's place is the first validation image, because a
    `Dataset` needs some.  This is the only function of `gncn.tuning` that loads data.

    Args:
        config: says which.
        train_images: keep the first so many training images only.
    """
    data = config.data.load()
    train = data.train
    if train_images is not None:
        train = train.subset(np.arange(min(train_images, len(train))))
    return dataclasses.replace(data, train=train, test=data.validation.subset(np.arange(1)))


def references(
    search: Search, model: str, data: str, data_name: str, kind: str
) -> dict[str, float]:
    """What shortfalls are from, by column.

    Args:
        search: the search.
        model: which of its models.
        data: which of its data sets.
        data_name: the data set's own name.
        kind: ``config.model``.

    Raises:
        ConfigError: there is none for a column.
    """
    entry = search.models[model]
    reference = search.reference(model, data)
    known: Mapping[str, float | None] = {**search.data[data].targets}
    if reference == "paper":
        paper = PUBLISHED.get(data_name, {}).get(kind, Published())
        known = {
            "bce": paper.bce,
            "log_likelihood": paper.honest_log_likelihood,
            "error_percent": paper.error_percent,
        }
    found = {column: value for column in entry.columns if (value := known.get(column))}
    if missing := [column for column in entry.columns if column not in found]:
        raise ConfigError(
            f"models.{model} counts {', '.join(missing)}, for which there is no number with "
            f"reference={reference!r} on {data!r}. Set data.{data}.targets, or take it out "
            "of columns."
        )
    return found


def shortfall(column: str, value: float, reference: float) -> float:
    """How much worse than the reference, in tenths of its size; negative if better."""
    worse = value - reference if LOW_IS_GOOD[column] else reference - value
    return worse / (0.1 * abs(reference))


def objective(
    values: Mapping[str, float], wanted: Mapping[str, float], combine: str
) -> tuple[float, dict[str, float]]:
    """What the search minimises, and the shortfalls it is made of.

    Args:
        values: by column, on validation images.
        wanted: the references.
        combine: see `gncn.study.search.SearchModel`.
    """
    short = {column: shortfall(column, values[column], wanted[column]) for column in wanted}
    mean = sum(short.values()) / len(short)
    return (mean if combine == "mean" else max(short.values()) + SHARE_OF_MEAN * mean), short


def measure_columns(
    fit: Fit[Any],
    data: Dataset,
    columns: tuple[Column, ...],
    measuring: Measuring,
    supervised: Callable[[], float],
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """The columns' values of a trained model on validation images.

    Args:
        fit: its training.
        data: as `development_data` returns them.
        columns: which.
        measuring: how.
        supervised: M-MSE of the supervised yardstick; called if needed.
        report: told what is being done.

    Raises:
        ConfigError: a column means nothing for the model.
    """
    kept = fit.kept[0]
    found: dict[str, float] = {}
    if "bce" in columns:
        _need(kept.error_name == "bce", "bce")
        found["bce"] = kept.validation.error
    if "top_sparsity" in columns:
        _need(bool(kept.validation.sparsity), "top_sparsity")
        found["top_sparsity"] = kept.validation.sparsity[-1]
    if "error_percent" in columns and kept.error_name == "error_percent":
        return found | {"error_percent": kept.validation.error}
    if not {*columns} - {*found}:
        return found
    subject = Subject(as_measurable(fit.network), data, "validation", measuring.seed, report)
    if "error_percent" in columns:
        probe = measure_probe(subject)[0]
        found["error_percent"] = probe[probe["better_on_validation"]]["error_percent"]
    if "log_likelihood" in columns:
        prior = subject.model.fitted_prior
        if prior is None:
            prior = fit_prior(subject, n_components=measuring.n_components)[0].mixture
        report("log p(x)")
        both = WithPrior(subject.model.decoder, prior)
        bound = prior_log_likelihood(
            both, subject.target.array, key=subject.key(0), n_samples=measuring.n_samples
        )
        found["log_likelihood"] = float(bound.mean[0])
    if "m_mse_over_supervised" in columns:
        report("completing images")
        visible = _visible(data, measuring)
        train = data.train.array
        ways = subject.model.completers(subject.codes("train"), train, visible)
        _need(bool(ways), "m_mse_over_supervised")
        images = subject.target.array
        errors = (
            missing_squared_error(images, completed, visible).mean
            for completed in complete_in_ways(ways, images, visible).values()
        )
        found["m_mse_over_supervised"] = min(errors) / supervised()
    return found


def check_measurable(columns: tuple[Column, ...], measuring: Measuring, data: Dataset) -> None:
    """Refuse what can't be measured of these data before anything is trained.

    Raises:
        ConfigError: they have no labels, or pixels can't be missing as the search says.
    """
    if "error_percent" in columns and data.n_classes is None:
        raise ConfigError(
            f"The column 'error_percent' needs labels, and the data {data.name!r} have none."
        )
    _visible(data, measuring)


def supervised_error(data: Dataset, measuring: Measuring) -> float:
    """M-MSE of the supervised yardstick on validation images."""
    visible = _visible(data, measuring)
    validation = data.validation.array
    key = jax.random.fold_in(jax.random.key(measuring.seed), 5)
    completer = fit_regressor(data.train.array, validation, visible, key=key).completer
    return missing_squared_error(validation, complete(completer, validation, visible), visible).mean


def _visible(data: Dataset, measuring: Measuring) -> np.ndarray:
    shape = image_shape(data.n_pixels, data.image_shape)
    return visible_pixels(measuring.missing, shape, seed=measuring.seed)


def _need(there: bool, column: str) -> None:
    if not there:
        raise ConfigError(f"The column {column!r} means nothing for this model; take it out.")
