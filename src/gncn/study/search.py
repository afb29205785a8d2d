"""A search: which settings may vary within which bounds, from one TOML file.

The budget is the search's, not the model's: every model on every data set has the same.
"""

import math
from pathlib import Path
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.measures import check_settings
from gncn.runs.config import Config
from gncn.runs.toml import packaged_names, read_packaged
from gncn.study.columns import check_column
from gncn.study.recipe import Basis, Key

Reference = Literal["targets", "paper"]
Scalar = bool | int | float | str


class Budget(Description):
    """What every model may spend on every data set.

    Attributes:
        trials: settings tried, including pruned and diverged trials.
        random_trials: of them, drawn at random before the search learns from them; none
            is pruned before as many have ended.
        train_images: learn from the first so many training images only; None: from all.
        finalists: where there are more images than that, so many of the best trials, and the
            recipe that the search began with, learn from all of them, and the best of these wins.
        max_synapses: settings with more are refused, at the cost of a trial.
    """

    trials: int = Field(default=40, ge=1)
    random_trials: int = Field(default=8, ge=1)
    train_images: int | None = Field(default=None, ge=1)
    finalists: int = Field(default=1, ge=1)
    max_synapses: int = Field(default=1_400_000, ge=1)


_CHEAP = {"n_repeats": 1, "curve": (), "other_priors": False}
"""Settings of measures for searches, which only look at one number of each."""


class Measuring(Description):
    """How trials are measured.

    Settings of measures are options, too, such as ``n_samples``; measures declare them.

    Attributes:
        seed: seed of everything that is random in measuring.
    """

    model_config = ConfigDict(extra="allow")

    seed: int = Field(default=0, ge=0)

    @model_validator(mode="before")
    @classmethod
    def _known_settings(cls, options: dict[str, Any]) -> dict[str, Any]:
        own = {name: value for name, value in options.items() if name in cls.model_fields}
        settings = {k: v for k, v in options.items() if k not in own}
        return own | check_settings(_CHEAP | settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The value of every setting of every measure."""
        return dict(self.model_extra or {})


class Range(Description):
    """What a setting may be: between two numbers, or one of several choices.

    Attributes:
        low: the least; whole numbers if `low` and `high` are.
        high: the most.
        log: spread evenly over the logarithm.
        step: between values, from `low` on.
        choices: values or lists of values.
    """

    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    choices: tuple[Scalar | tuple[Scalar, ...], ...] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> "Range":
        if self.choices is not None:
            if not self.choices or {self.low, self.high, self.step} != {None} or self.log:
                raise ConfigError("give choices, at least one, or low and high, not both.")
        elif self.low is None or self.high is None or self.low > self.high:
            received = f"low={self.low}, high={self.high}"
            raise ConfigError(f"needs low ≤ high, or choices; received {received}.")
        elif self.log and self.step is not None:
            raise ConfigError(f"step={self.step} has no effect with log=True.")
        elif self.log and self.low <= 0:
            raise ConfigError(f"log=True needs low above 0; received low={self.low}.")
        elif self.step is not None and not self.step > 0:
            raise ConfigError(f"step must be above 0; received {self.step}.")
        elif self.whole and isinstance(self.step, float):
            raise ConfigError(
                f"step={self.step} leads from whole numbers to others; write low={self.low}.0."
            )
        return self

    @property
    def whole(self) -> bool:
        """Whether only whole numbers lie between."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def allows(self, value: Any) -> bool:
        """Whether a value is in the range, or one of the choices."""
        if self.choices is not None:
            return (tuple(value) if isinstance(value, list) else value) in self.choices
        assert self.low is not None
        assert self.high is not None
        if not isinstance(value, int if self.whole else int | float):
            return False
        steps = 0 if self.step is None else (value - self.low) / self.step
        return self.low <= value <= self.high and math.isclose(steps, round(steps), abs_tol=1e-9)


class SearchVariant(Basis):
    """What differs on one data set.

    Attributes:
        reference: see `SearchModel`; None: the model's.
    """

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
    columns: tuple[str, ...] = Field(min_length=1)
    combine: Literal["worst", "mean"] = "worst"
    reference: Reference = "targets"

    @field_validator("columns")
    @classmethod
    def _known_columns(cls, columns: tuple[str, ...]) -> tuple[str, ...]:
        for column in columns:
            check_column(column)
        return columns


class SearchData(Description):
    """A data set to choose settings on.

    Attributes:
        settings: the section ``[data]``; the name is the key's if not given.
        targets: by column; shortfalls are measured in tenths of their size.
        train_images: learn from the first so many, whatever the budget says.
    """

    settings: dict[str, Any] = Field(default_factory=dict)
    targets: dict[str, float] = Field(default_factory=dict)
    train_images: int | None = Field(default=None, ge=1)

    @field_validator("targets")
    @classmethod
    def _known_columns(cls, targets: dict[str, float]) -> dict[str, float]:
        for column in targets:
            check_column(column)
        return targets


class Search(Description):
    """A search.

    Attributes:
        name: names the folder of its records.
        seed: seed of training and of the search.
        budget: what every model may spend on every data set.
        measuring: how trials are measured.
        data: data sets.
        models: models.
    """

    name: Key
    seed: int = Field(default=0, ge=0)
    budget: Budget = Budget()
    measuring: Measuring = Measuring()
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
        """What every model may spend on a data set."""
        few = self.data[data].train_images
        return self.budget if few is None else self.budget.model_copy(update={"train_images": few})

    def space(self, model: str, data: str) -> dict[str, Range]:
        """What may vary of a model on a data set, by name."""
        entry = self.models[model]
        return entry.space | entry.space_on.get(data, {})

    def reference(self, model: str, data: str) -> Reference:
        """What a model's shortfalls on a data set are from."""
        return self.variant(model, data).reference or self.models[model].reference

    def variant(self, model: str, data: str) -> SearchVariant:
        """What differs of a model on a data set."""
        return self.models[model].on.get(data, SearchVariant())

    def config(
        self,
        model: str,
        data: str,
        values: dict[str, Any],
        *,
        folder: Path | None = None,
        data_dir: str | Path | None = None,
    ) -> Config:
        """The configuration of a trial.

        Args:
            model: one of the models.
            data: one of the data sets.
            values: values of the settings that vary, by name.
            folder: what a file named in the search is relative to.
            data_dir: folder of the original data files.

        Raises:
            ConfigError: an option or value is wrong.
        """
        settings = self.models[model].read(self.variant(model, data), folder)
        for name, value in values.items():
            settings = _placed(settings, name.split("."), value, name)
        settings["data"] = {"name": data, **self.data[data].settings}
        if data_dir is not None:
            settings["data"]["data_dir"] = str(data_dir)
        settings |= {"seed": self.seed, "n_trials": 1}
        return Config(**settings)


def _placed(into: Any, path: list[str], value: Any, name: str) -> Any:
    """A copy with a value put where the path leads, through sections and lists."""
    if not path:
        return value
    first, *rest = path
    if isinstance(into, list) and first.isdigit() and int(first) < len(into):
        index = int(first)
        return [*into[:index], _placed(into[index], rest, value, name), *into[index + 1 :]]
    if first.isdigit() or not (into is None or isinstance(into, dict)):
        raise ConfigError(f"The space names {name!r}, but {first!r} is no part of {into!r}.")
    into = into or {}
    return into | {first: _placed(into.get(first), rest, value, name)}


def value_at(settings: Any, name: str) -> Any:
    """What a configuration, as plain values, says of a setting named as in a space.

    One number for all layers is the value of each.  None if there is no such setting.
    """
    for part in name.split("."):
        if isinstance(settings, dict):
            settings = settings.get(part)
        elif isinstance(settings, list | tuple):
            settings = settings[int(part)] if part.isdigit() and int(part) < len(settings) else None
    return settings


def search_names() -> tuple[str, ...]:
    """Names of the searches that come with the library."""
    return packaged_names("study.searches")


def load_search(search: str | Path) -> Search:
    """Read a search.

    Args:
        search: a TOML file, or the name of a search that comes with the library.

    Raises:
        ConfigError: the file is missing or isn't TOML, or an option or value is wrong.
    """
    return Search(**read_packaged("study.searches", "search", search))
