"""A search: which settings may vary within which bounds, from one TOML file; its objective.

The budget is the search's, not the model's: every model on every data set has the same.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.runs.config import Config
from gncn.study.grid import placed, read_plan
from gncn.study.paper import ColumnKey, all_columns, published
from gncn.study.plan import Basis, Key, Measuring

Reference = Literal["targets", "paper"]
Scalar = bool | int | float | str


class Budget(Description):
    """The budget of every model on every data set.

    Attributes:
        trials: settings tried, including pruned and diverged trials.
        random_trials: of them, drawn at random before the search learns from them; none
            is pruned before as many have ended.
        train_images: learn from the first so many training images only; None: from all.
        finalists: of the best trials, if there are more images than that.  In the end they learn
            from all images, as does the recipe that the search began with.  The best of these wins.
        max_synapses: settings with more are refused, at the cost of a trial.
    """

    trials: int = Field(default=40, ge=1)
    random_trials: int = Field(default=8, ge=1)
    train_images: int | None = Field(default=None, ge=1)
    finalists: int = Field(default=1, ge=1)
    max_synapses: int = Field(default=1_400_000, ge=1)


class TrialMeasuring(Measuring):
    """How trials are measured: cheaply, since a search looks at one number of each measure."""

    @model_validator(mode="before")
    @classmethod
    def _cheaply(cls, options: Any) -> Any:
        if not isinstance(options, dict):
            return options
        # Laid under, so that a search may ask for more.
        return {"n_repeats": 1, "curve": (), "other_priors": False} | options


class Range(Description):
    """Values that a setting may have: from `low` to `high`, whole if they are; or `choices`.

    With `log` numbers are spread evenly over the logarithm.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Scalar | tuple[Scalar, ...], ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if self.choices is not None:
            if not self.choices or {self.low, self.high} != {None} or self.log:
                raise ConfigError("give choices, at least one, or low and high, not both.")
        elif self.low is None or self.high is None or self.low > self.high:
            received = f"low={self.low}, high={self.high}"
            raise ConfigError(f"needs low ≤ high, or choices; received {received}.")
        elif self.log and self.low <= 0:
            raise ConfigError(f"log=True needs low above 0; received low={self.low}.")
        return self

    @property
    def _ends(self) -> tuple[Any, Any, bool]:
        """Low and high, which are numbers if there are no choices, and whether they are whole."""
        return self.low, self.high, isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def distribution(self) -> BaseDistribution:
        """The range as Optuna takes it."""
        if self.choices is not None:
            # Optuna's choices are plain values.
            return CategoricalDistribution([self.key(choice) for choice in self.choices])
        low, high, whole = self._ends
        return (IntDistribution if whole else FloatDistribution)(low, high, log=self.log)

    @staticmethod
    def key(value: Any) -> Any:
        """A value as Optuna takes it: lists as JSON."""
        return json.dumps(value) if isinstance(value, list | tuple) else value

    def value(self, drawn: Any) -> Any:
        """The setting's value for a value that Optuna drew."""
        # A choice may itself be text; what is no choice as it stands is a list in JSON.
        is_list = isinstance(drawn, str) and self.choices is not None and drawn not in self.choices
        return json.loads(drawn) if is_list else drawn

    def allows(self, value: Any) -> bool:
        """Whether a value is in the range, or one of the choices."""
        if self.choices is not None:
            # TOML and JSON have lists where choices are tuples.
            return (tuple(value) if isinstance(value, list) else value) in self.choices
        low, high, whole = self._ends
        return isinstance(value, int if whole else int | float) and low <= value <= high

    @property
    def first(self) -> Any:
        """Some allowed value."""
        return self.value(self.key(self.choices[0])) if self.choices else self.low


class SearchVariant(Basis):
    """The differences on one data set; without a reference, the model's counts."""

    reference: Reference | None = None


class SearchModel(Basis):
    """A model to choose settings of.

    Attributes:
        on: what differs on single data sets.
        space: what may vary, by name, such as ``settling.step_size``; ``name.2`` is the
            third value of a list.
        space_on: what may vary otherwise on single data sets, laid over that.
        columns: what counts.
        combine: ``worst``: the greatest shortfall (and a tenth of the mean one, so that
            the others count, too); ``mean``: the mean shortfall.
        reference: what shortfalls are from: the data's ``targets``, or the ``paper``.
    """

    on: dict[str, SearchVariant] = Field(default_factory=dict)
    space: dict[str, Range]
    space_on: dict[str, dict[str, Range]] = Field(default_factory=dict)
    columns: tuple[ColumnKey, ...] = Field(min_length=1)
    combine: Literal["worst", "mean"] = "worst"
    reference: Reference = "targets"


class SearchData(Description):
    """A data set to choose settings on: its section ``[data]``, and targets by column.

    `train_images` goes before the budget's.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    targets: dict[ColumnKey, float] = Field(default_factory=dict)
    train_images: int | None = Field(default=None, ge=1)


class Search(Description):
    """A search; `seed` is for training and for the search."""

    name: Key
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    budget: Budget = Budget()
    measuring: TrialMeasuring = TrialMeasuring()
    data: dict[Key, SearchData]
    models: dict[Key, SearchModel]

    @model_validator(mode="after")
    def _known_data(self) -> "Search":
        """Refuse what is said of data that the search doesn't have."""
        for model, entry in self.models.items():
            for unknown in {*entry.on, *entry.space_on} - {*self.data}:
                choices = ", ".join(self.data)
                raise ConfigError(
                    f"models.{model} speaks of {unknown!r}, and the search has the data {choices}."
                )
        return self

    def budget_on(self, data: str) -> Budget:
        """The budget of every model on a data set."""
        few = self.data[data].train_images
        # The data's number of training images goes before the budget's.
        return self.budget if few is None else self.budget.model_copy(update={"train_images": few})

    def space(self, model: str, data: str) -> dict[str, Range]:
        """The settings of a model that may vary on a data set, by name."""
        entry = self.models[model]
        return entry.space | entry.space_on.get(data, {})

    def recipe(self, model: str, data: str) -> SearchVariant:
        """How a model is made on a data set, and what its shortfalls are from."""
        entry = self.models[model]
        return entry.varied(entry.on.get(data, SearchVariant()))

    def config(
        self, model: str, data: str, values: dict[str, Any], *, data_dir: str | Path | None = None
    ) -> Config:
        """The configuration of a trial, from the values of the settings that vary, by name.

        Raises:
            ConfigError: an option or value is wrong.
        """
        section = {"name": data, **self.data[data].settings}
        settings = self.recipe(model, data).on_data(section, data_dir, self.seed)
        for name, value in values.items():
            settings = placed(settings, name, value)
        return Config(**settings)


def value_at(settings: Any, name: str) -> Any:
    """The value of a setting, named as in a space, in a configuration as plain values.

    One number for all layers is the value of each.  None if there is no such setting.
    """
    for part in name.split("."):
        # One number for all layers: the index of a list leads nowhere, and the number stays.
        if isinstance(settings, dict):
            settings = settings.get(part)
        elif isinstance(settings, list | tuple):
            settings = settings[int(part)] if part.isdigit() and int(part) < len(settings) else None
    return settings


def references(
    search: Search, model: str, data: str, data_name: str, kind: str
) -> dict[str, float]:
    """The references of a model's shortfalls on a data set, by column.

    The paper knows the data set as `data_name` and the model as `kind` (``config.model``).

    Raises:
        ConfigError: a column has no reference.
    """
    counted, reference = search.models[model].columns, search.recipe(model, data).reference
    known: Mapping[str, float | None] = search.data[data].targets
    if reference == "paper":
        paper = published(data_name, kind)
        known = {key: paper.of(column) for key, column in all_columns().items()}
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
    # In tenths of the reference, so that columns of different units add up.
    return sign * (value - reference) / (0.1 * abs(reference))


def objective(
    values: Mapping[str, float], wanted: Mapping[str, float], combine: str
) -> tuple[float, dict[str, float]]:
    """The number that the search minimises, and the shortfalls that `combine` joins in it.

    `values` are of validation images and `wanted` the references, both by column.
    """
    short = {column: shortfall(column, values[column], wanted[column]) for column in wanted}
    mean = sum(short.values()) / len(short)
    # The worst column, and a little of all: otherwise a trial that improves the others would be no
    # better.
    return (mean if combine == "mean" else max(short.values()) + 0.1 * mean), short


def load_search(search: str | Path) -> Search:
    """Read a search from a TOML file, or one that comes with the library by its name.

    Raises:
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
    """
    return Search(**read_plan("study/searches", "search", search))
