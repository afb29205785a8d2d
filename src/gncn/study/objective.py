"""How far a model falls short of what it should reach, on validation images."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError
from gncn.data import Dataset
from gncn.evaluation.sheets import image_shape
from gncn.measures import Measure, Subject, as_measurable, make_measures
from gncn.measures import measure_columns as columns_of_measures
from gncn.measures.completion import MissingMeasure
from gncn.runs.config import Config
from gncn.study.columns import all_columns, from_training, published_number
from gncn.study.paper import published
from gncn.study.search import Search
from gncn.study.spec import Measuring
from gncn.training.fit import Fit

Remember = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Receives the name of a measure that depends on the data alone, and a function that measures.

Returns the numbers, which it keeps, so that they are measured once for all models.
"""


def development_data(config: Config, train_images: int | None = None) -> Dataset:
    """Data to choose settings by: without test images.

    The first validation image takes the place of the test split, because a `Dataset` needs
    one.  No other function of tuning loads data.

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
    """What shortfalls of a model on a data set are from, by column.

    The paper knows the data set as `data_name` and the model as `kind` (``config.model``).

    Raises:
        ConfigError: a column has no reference.
    """
    counted, reference = search.models[model].columns, search.reference(model, data)
    known: Mapping[str, float | None] = search.data[data].targets
    if reference == "paper":
        paper = published(data_name, kind)
        known = {key: published_number(column, paper) for key, column in all_columns().items()}
    found = {column: value for column in counted if (value := known.get(column))}
    if missing := [column for column in counted if column not in found]:
        raise ConfigError(
            f"models.{model} counts {', '.join(missing)}, for which there is no number with "
            f"reference={reference!r} on {data!r}. Set data.{data}.targets, or take it out "
            "of columns."
        )
    return found


def shortfall(column: str, value: float, reference: float) -> float:
    """How much worse than the reference, in tenths of its size; negative if better."""
    sign = 1 if all_columns()[column].low_is_good else -1
    return sign * (value - reference) / (0.1 * abs(reference))


def objective(
    values: Mapping[str, float], wanted: Mapping[str, float], combine: str
) -> tuple[float, dict[str, float]]:
    """What the search minimises, and the shortfalls it is made of.

    Args:
        values: by column, on validation images.
        wanted: the references, by column.
        combine: see `gncn.study.search.SearchModel`.
    """
    short = {column: shortfall(column, values[column], wanted[column]) for column in wanted}
    mean = sum(short.values()) / len(short)
    return (mean if combine == "mean" else max(short.values()) + 0.1 * mean), short


def measure_columns(
    fit: Fit[Any],
    data: Dataset,
    columns: tuple[str, ...],
    measuring: Measuring,
    remember: Remember,
    report: Callable[[str], None] = lambda _: None,
) -> dict[str, float]:
    """The columns' values of a trained model on validation images.

    What training recorded isn't measured again, and what depends on the data alone, which is what
    `development_data` returns, is left to `remember`.

    Raises:
        ConfigError: a column means nothing for the model.
    """
    known = all_columns()
    recorded = {key: from_training(known[key], fit.kept[0], "validation") for key in columns}
    needed = _needed(tuple(key for key, number in recorded.items() if number is None))
    for key, names in needed.items():
        _need(bool(names), key)
    every = tuple(dict.fromkeys(name for names in needed.values() for name in names))
    measures = make_measures(every, measuring.settings)
    numbers: dict[str, Any] = {}
    if needed:
        subject = Subject(as_measurable(fit.network), data, "validation", measuring.seed, report)
        for key, names in needed.items():
            codeless = all(not measures[name].needs_codes for name in names)
            _need(subject.model.has_codes or codeless, key)
        for name, measure in measures.items():
            measured = partial(_numbers, measure, subject)
            numbers |= remember(name, measured) if measure.of_data_alone else measured()
    found = {}
    for key in columns:
        number = recorded[key]
        found[key] = known[key].find(numbers) if number is None else number
        _need(found[key] is not None, key)
    return found


def _numbers(measure: Measure, subject: Subject) -> dict[str, Any]:
    return measure.measure(subject).numbers


def check_measurable(columns: tuple[str, ...], measuring: Measuring, data: Dataset) -> None:
    """Refuse what can't be measured of these data before anything is trained.

    Raises:
        ConfigError: they have no labels, or pixels can't be missing as the search says.
    """
    for key, names in _needed(columns).items():
        for measure in make_measures(names, measuring.settings).values():
            if measure.needs_labels and data.n_classes is None:
                raise ConfigError(
                    f"The column {key!r} needs labels, and the data {data.name!r} have none."
                )
            if isinstance(measure, MissingMeasure):
                measure.mask(image_shape(data.n_pixels, data.image_shape), measuring.seed)


def _needed(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """The measures that each column is read from; none for one that only training records."""
    by_key = {column.key: column.needs or (name,) for name, column in columns_of_measures()}
    return {key: by_key.get(key, ()) for key in columns}


def _need(there: bool, column: str) -> None:
    if not there:
        raise ConfigError(f"The column {column!r} means nothing for this model; take it out.")
