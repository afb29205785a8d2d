"""A search: which settings may vary within which bounds, from one TOML file; its objective.

The budget is the search's, not the model's: every model on every data set has the same.
"""

import json
import math
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, check_counts, quoted
from gncn.runs.config import Config
from gncn.runs.toml import overlay
from gncn.study.columns import measures_of
from gncn.study.grid import placed, read_plan
from gncn.study.paper import ColumnKey, all_columns
from gncn.study.plan import Basis, Key
from gncn.study.specs import Measuring

_FIXED = ("data", "model", "n_trials", "seed")
"""Sections and settings that no trial may change: all see the same images."""
Scalar = bool | int | float | str
Plain = Scalar | tuple[Scalar, ...]


class Budget(Description):
    """The budget of every model on every data set.

    Attributes:
        trials: settings tried, including pruned and diverged trials.
        random_trials: of them, drawn at random before the search learns from them; none
            is pruned before as many have ended.
        train_images: learn from the first so many training images only; None: from all.
        finalists: of the best trials, if there are more images than that.  In the end they learn
            from all images, as does the recipe that the search began with.  The best of these wins.
        final_epochs: shares of their epochs for which these learn from all images, too: with more
            images an epoch has more updates.
        max_synapses: settings with more are refused, at the cost of a trial.
    """

    trials: int = Field(default=40, ge=1)
    random_trials: int = Field(default=8, ge=1)
    train_images: int | None = Field(default=None, ge=1)
    finalists: int = Field(default=1, ge=1)
    final_epochs: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = ()
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

    With `log` numbers are spread evenly over the logarithm.  A choice that is a table holds
    settings that only fit each other, such as the sizes of layers and of their columns; the range's
    name is their section's.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    choices: tuple[Plain | dict[str, Plain], ...] | None = None

    @field_validator("choices", mode="before")
    @classmethod
    def _plain_choices(cls, choices: Any) -> Any:
        """Refuse what is no list of settings, in fewer words than one for each type that may be."""
        if choices is None:
            return None
        if not isinstance(choices, list | tuple) or not choices:
            raise ConfigError(f"choices must be a list of values; received {quoted(choices)}.")
        for one in choices:
            if not all(map(_is_plain, one.values() if isinstance(one, dict) else [one])):
                raise ConfigError(
                    "choices must be finite numbers, true or false, texts, lists of these, or "
                    f"tables; received {quoted(one)}."
                )
        return choices

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if self.choices is not None:
            if {self.low, self.high} != {None} or self.log:
                raise ConfigError("give choices, or low and high, not both.")
            if {} in self.choices:
                raise ConfigError(
                    "a choice that is a table needs a setting; received an empty one."
                )
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
    def settings(self) -> set[str]:
        """Names of the settings that choices which are tables hold."""
        return {name for one in self.choices or () if isinstance(one, dict) for name in one}

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
        """A value as Optuna takes it: lists and tables as JSON."""
        return json.dumps(value) if isinstance(value, list | tuple | dict) else value

    def value(self, drawn: Any) -> Any:
        """The setting's value for a value that Optuna drew."""
        # A choice may itself be text; what is no choice as it stands is in JSON.
        is_json = isinstance(drawn, str) and self.choices is not None and drawn not in self.choices
        return json.loads(drawn) if is_json else drawn

    def drawn(self, value: Any) -> Any:
        """What Optuna would draw for a setting's value, or a section's; None if it can't."""
        if self.choices is not None:
            return next((self.key(one) for one in self.choices if _is(value, one)), None)
        low, high, whole = self._ends
        allowed = isinstance(value, int if whole else int | float) and low <= value <= high
        return value if allowed else None

    @property
    def has_fractions(self) -> bool:
        """Whether it draws numbers that are not whole."""
        return self.choices is None and not self._ends[2]

    @property
    def some(self) -> list[Any]:
        """Some allowed values: all choices, or both ends."""
        if self.choices is None:
            return [self.low, self.high]
        return [self.value(self.key(choice)) for choice in self.choices]


class Objective(Description):
    """What is best, for every model alike.

    Attributes:
        columns: what counts.
        combine: ``worst``: the greatest shortfall (and a tenth of the mean one, so that
            the others count, too); ``mean``: the mean shortfall.
    """

    columns: tuple[ColumnKey, ...] = Field(min_length=1)
    combine: Literal["worst", "mean"] = "mean"


class SearchModel(Basis):
    """A model to choose settings of.

    Attributes:
        on: what differs on single data sets.
        space: what may vary, by name, such as ``settling.step_size``; ``name.2`` is the
            third value of a list.
        space_on: what may vary otherwise on single data sets, laid over that.
        columns: the objective's columns that the model can have; by default all of them.
    """

    on: dict[str, Basis] = Field(default_factory=dict)
    space: dict[str, Range]
    space_on: dict[str, dict[str, Range]] = Field(default_factory=dict)
    columns: tuple[ColumnKey, ...] | None = Field(default=None, min_length=1)


class SearchData(Description):
    """A data set to choose settings on.

    Attributes:
        settings: its section ``[data]``.
        yardsticks: the values from which shortfalls are measured, by column.
        enough: values beyond which a column gains nothing, so that no model buys a good
            objective with one number.
        train_images: overrides the budget's.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    yardsticks: dict[ColumnKey, float] = Field(default_factory=dict)
    enough: dict[ColumnKey, float] = Field(default_factory=dict)
    train_images: int | None = Field(default=None, ge=1)

    def shortfall(self, column: str, value: float) -> float:
        """How much worse than the yardstick a value is, in tenths of its size; negative if better.

        A value better than `enough` counts as that.
        """
        low_is_good, yardstick = all_columns()[column].low_is_good, self.yardsticks[column]
        if (enough := self.enough.get(column)) is not None:
            value = max(value, enough) if low_is_good else min(value, enough)
        # In tenths of the yardstick, so that columns of different units add up.
        return (value - yardstick) * (1 if low_is_good else -1) / (0.1 * abs(yardstick))


class Search(Description):
    """A search; `seed` is for training and for the search."""

    spoken: ClassVar[str] = "a search"
    name: Key
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    budget: Budget = Budget()
    measuring: TrialMeasuring = TrialMeasuring()
    objective: Objective
    data: dict[Key, SearchData] = Field(min_length=1)
    models: dict[Key, SearchModel] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_data(self) -> "Search":
        """Refuse what is said of data that the search doesn't have."""
        for model, entry in self.models.items():
            fixed = {*entry.space, *(name for space in entry.space_on.values() for name in space)}
            if wrong := sorted(name for name in fixed if name.split(".")[0] in _FIXED):
                raise ConfigError(
                    f"models.{model} varies {', '.join(wrong)}; a search may vary settings of "
                    f"models, not {', '.join(_FIXED)}, which are the same for all trials."
                )
            for data in self.data:
                space = self.space(model, data)
                tables = {f"{a}.{b}" for a, one in space.items() for b in one.settings}
                if twice := sorted(
                    n for n in space if any(f"{n}.".startswith(f"{t}.") for t in tables)
                ):
                    raise ConfigError(
                        f"models.{model} varies {', '.join(twice)}, which the tables of another "
                        "range set, too. Leave one of them out."
                    )
            for unknown in {*entry.on, *entry.space_on} - {*self.data}:
                choices = ", ".join(self.data)
                raise ConfigError(
                    f"models.{model} speaks of {unknown!r}, and the search has the data {choices}."
                )
        return self

    @model_validator(mode="after")
    def _columns_of_the_objective(self) -> "Search":
        """Refuse columns of single models that the others aren't judged by, and idle values."""
        columns = self.objective.columns
        for model, entry in self.models.items():
            if others := [key for key in entry.columns or () if key not in columns]:
                raise ConfigError(
                    f"models.{model} counts {', '.join(others)}, which the objective doesn't: "
                    f"its columns are {', '.join(columns)}."
                )
        for data, entry in self.data.items():
            if idle := [key for key in (*entry.yardsticks, *entry.enough) if key not in columns]:
                raise ConfigError(
                    f"data.{data} has values of {', '.join(idle)}, which the objective doesn't "
                    f"count: its columns are {', '.join(columns)}."
                )
            for key, enough in entry.enough.items():
                if entry.yardsticks.get(key) and entry.shortfall(key, enough) >= 0:
                    raise ConfigError(
                        f"data.{data}.enough must be better than the yardstick of {key}, "
                        f"{entry.yardsticks[key]}; received {enough}."
                    )
            if missing := [key for key in columns if not entry.yardsticks.get(key)]:
                raise ConfigError(
                    f"data.{data}.yardsticks needs a number other than 0 for "
                    f"{', '.join(missing)}, which the objective counts."
                )
        return self

    def columns(self, model: str) -> tuple[str, ...]:
        """What counts of a model."""
        return self.models[model].columns or self.objective.columns

    def budget_on(self, data: str) -> Budget:
        """The budget of every model on a data set."""
        few = self.data[data].train_images
        # The data's number of training images goes before the budget's.
        return self.budget if few is None else self.budget.model_copy(update={"train_images": few})

    def space(self, model: str, data: str) -> dict[str, Range]:
        """The settings of a model that may vary on a data set, by name."""
        entry = self.models[model]
        return entry.space | entry.space_on.get(data, {})

    def recipe(self, model: str, data: str) -> Basis:
        """How a model is made on a data set."""
        entry = self.models[model]
        return entry.varied(entry.on.get(data, Basis()))

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
            # A table lays its settings over a section, which may have others.
            inner = value if isinstance(value, dict) else {"": value}
            for one, setting in inner.items():
                settings = placed(settings, f"{name}.{one}".rstrip("."), setting)
        config = Config(**settings)
        if config.training.train_on == "both":
            raise ConfigError(
                "A search chooses by validation images, and training.train_on='both' learns from "
                "them: leave it out here, and train with it once settings are chosen."
            )
        return config


def refuse_values(
    space: Mapping[str, Range],
    recipe: Mapping[str, Any],
    config: Callable[[dict[str, Any]], Config],
) -> None:
    """Refuse values that would cost trials, because the model can't have them.

    Args:
        space: the settings that may vary, by name.
        recipe: the settings of the model without them.
        config: makes the configuration of a trial, from the values of settings.

    Raises:
        ConfigError: a choice, or an end of a range, is no value of its setting.
    """
    first = {name: bounds.some[0] for name, bounds in space.items()}
    for name, bounds in space.items():
        # Almost all that is drawn between the ends would be wrong.
        if bounds.has_fractions and type(value_at(recipe, name)) is int:
            raise ConfigError(
                f"{name} takes whole numbers, so low and high must be whole; received "
                f"low={bounds.low}, high={bounds.high}."
            )
        for value in bounds.some:
            try:
                config(first | {name: value})
            except ConfigError:  # some settings only fit each other
                config({name: value})


def _is_plain(value: Any) -> bool:
    """Whether a value is a finite number, a truth value or a text, or a list of such."""
    if isinstance(value, list | tuple):
        return all(isinstance(one, Scalar) and _is_plain(one) for one in value)
    return isinstance(value, Scalar) and (not isinstance(value, float) or math.isfinite(value))


def _is(value: Any, choice: Any) -> bool:
    """Whether a value is this choice, or a section has its settings."""
    if isinstance(choice, dict):
        return all(_is(value_at(value, name), one) for name, one in choice.items())
    # TOML and JSON have lists where choices are tuples.
    return (tuple(value) if isinstance(value, list) else value) == choice


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


def combined(shortfalls: Mapping[str, float], combine: str) -> float:
    """What the search minimises, from the shortfalls by column."""
    mean = sum(shortfalls.values()) / len(shortfalls)
    # The worst column, and a little of all: otherwise a trial that improves the others would be no
    # better.
    return mean if combine == "mean" else max(shortfalls.values()) + 0.1 * mean


def _for_each_n_epochs(plan: dict[str, Any], several: Any) -> Search:
    """The search with every model once for each of these numbers of epochs."""
    if not isinstance(several, list) or not several:
        raise ConfigError(f"n_epochs must be a list of whole numbers; received {quoted(several)}.")
    check_counts(**{f"n_epochs.{place}": n_epochs for place, n_epochs in enumerate(several)})
    once = Search(**plan)  # so that messages name the file's own models
    for model, data in product(once.models, once.data):
        once.config(model, data, {})  # refuses what the numbers of epochs would hide
        space, training = once.space(model, data), once.recipe(model, data).settings.get("training")
        said = {*space, *(f"{name}.{n}" for name, one in space.items() for n in one.settings)}
        if "training.n_epochs" in said or "n_epochs" in (training or {}):
            raise ConfigError(
                f"{model}/{data} of the search {once.name!r} sets training.n_epochs, which the "
                "search's n_epochs decides. Leave one of them out."
            )
    models = {
        f"{model}-{n_epochs}": overlay(entry, {"settings": {"training": {"n_epochs": n_epochs}}})
        for model, entry in plan["models"].items()
        for n_epochs in several
    }
    plan["models"] = models
    return Search(**plan)


def load_search(search: str | Path) -> Search:
    """Read a search from a TOML file, or one that comes with the library by its name.

    ``n_epochs = [1, 3]`` in the file stands for two searches of every model, called ``MODEL-1`` and
    ``MODEL-3``, so that settings are chosen for each length of training.

    Raises:
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
    """
    plan = read_plan("study/searches", "search", search)
    several = plan.pop("n_epochs", None)
    found = Search(**plan) if several is None else _for_each_n_epochs(plan, several)
    found.measuring.refuse_idle(plan.get("measuring", {}), measures_of(found.objective.columns))
    return found
