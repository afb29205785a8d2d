"""The measurements of a search: columns of the report, of validation images only."""

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, DataError
from gncn.base.progress import Report
from gncn.data import Dataset
from gncn.evaluation.images import image_shape
from gncn.measures import Subject, as_measurable, make_measures, measured
from gncn.measures import measure_columns as columns_of_measures
from gncn.measures.completion import MissingMeasure
from gncn.runs.config import Config
from gncn.study.paper import all_columns, from_training
from gncn.study.specs import Measuring
from gncn.training.fit import Fit


def development_data(config: Config, train_images: int | None = None) -> Dataset:
    """Data to choose settings by, with the first `train_images` training images and no test images.

    No other function of tuning loads data.
    """
    data = without_test_images(config.data.load())
    if train_images is None:
        return data
    n_train = min(train_images, len(data.train))
    return dataclasses.replace(data, train=data.train.subset(np.arange(n_train)))


def without_test_images(data: Dataset) -> Dataset:
    """The data with the first validation image as its test split, because a `Dataset` needs one."""
    return dataclasses.replace(data, test=data.validation.subset(np.arange(1)))


def measure_columns(
    fit: Fit[Any],
    data: Dataset,
    columns: Sequence[str],
    measuring: Measuring,
    of_data: dict[tuple[str, str], Mapping[str, Any]],
    report: Report,
) -> dict[str, float]:
    """The columns' values of a trained model on validation images.

    Numbers that training recorded aren't measured again.  Numbers that depend on
    `development_data` alone are kept in `of_data`.

    Raises:
        ConfigError: a column means nothing for the model.
        DataError: what was found for a column is no number.
    """
    known = all_columns()
    found: dict[str, Any]
    # What training recorded costs nothing; only the other columns need measures.
    found = {key: from_training(known[key], fit.kept[0], "validation") for key in columns}
    needed = measures_read(key for key, number in found.items() if number is None)
    for key, names in needed.items():
        _need(bool(names), key)
    if not needed:
        return found
    subject = Subject(as_measurable(fit.network), data, "validation", measuring.seed, report)
    measures = make_measures(measures_of(needed), _reduced(needed, measuring.settings))
    for key, names in needed.items():
        # A column is refused if any measure that it is read from can't be taken.
        _need(subject.model.has_codes or not any(measures[n].needs_codes for n in names), key)
    numbers: dict[str, Any] = {}
    for name, measure in measures.items():
        if not measure.of_data_alone:
            numbers |= measured(name, measure, subject).numbers
            continue
        # Measures of the data alone are taken once for all trials.
        place = data.fingerprint, name
        if place not in of_data:
            of_data[place] = measured(name, measure, subject).numbers
        numbers |= of_data[place]
    for key in needed:
        found[key] = known[key].find(numbers)
        _need(found[key] is not None, key)
        # NaN would win or lose at random in the sampler's comparisons.
        if math.isnan(found[key]):
            raise DataError(f"the column {key!r} is no number: the measure found {found[key]}.")
    return found


def _reduced(needed: Mapping[str, tuple[str, ...]], settings: dict[str, Any]) -> dict[str, Any]:
    """The settings, but that only ways of completing are tried which a column is read from."""
    ways = [key for key, names in needed.items() if "completion" in names]
    return settings | {"completion_ways": "paper"} if ways == ["m_mse_paper"] else settings


def check_measurable(columns: Iterable[str], measuring: Measuring, data: Dataset) -> None:
    """Refuse what can't be measured of these data before anything is trained.

    Raises:
        ConfigError: they have no labels, or pixels can't be missing as the search says.
    """
    for key, names in measures_read(columns).items():
        for measure in make_measures(names, measuring.settings).values():
            if measure.needs_labels and data.n_classes is None:
                raise ConfigError(
                    f"The column {key!r} needs labels, and the data {data.name!r} have none."
                )
            if isinstance(measure, MissingMeasure):
                measure.mask(image_shape(data.n_pixels, data.image_shape), measuring.seed)


def measures_read(columns: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The measures that each column is read from; none for one that only training records."""
    by_key = {column.key: column.needs or (name,) for name, column in columns_of_measures()}
    return {key: by_key.get(key, ()) for key in columns}


def measures_of(columns: Iterable[str]) -> tuple[str, ...]:
    """The measures that some of the columns are read from."""
    return tuple(chain(*measures_read(columns).values()))


def _need(there: bool, column: str) -> None:
    if not there:
        raise ConfigError(f"The column {column!r} means nothing for this model; take it out.")
