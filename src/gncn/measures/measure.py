"""`Measure`: something to measure of a trained model, and everything that belongs to it.

A measure is one class in one file.  Its fields are its settings; they are declared nowhere
else: they are options of ``gncn evaluate``, of a study's ``[evaluation]`` and of a search's
``[measuring]``.  ``gncn evaluate`` prints its `rows` and draws its `figure`; its `columns`
stand in the tables of ``gncn compare`` and ``gncn report`` and are objectives of ``gncn tune``.
All of them go by the classes in `MEASURES`.
"""

from abc import abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np

from gncn.base.description import Part
from gncn.base.errors import ConfigError, quoted, unknown_choice
from gncn.base.files import check_values, jsonable
from gncn.base.registry import Registry, reserve
from gncn.base.tensors import pack
from gncn.core.returned import is_own
from gncn.measures.subject import Subject

Numbers = Mapping[str, Any]
"""All that was measured of a model, as in ``metrics-SPLIT.json``."""

_NO_MEASURES = (
    *("split", "n_images", "trial", "seed", "data", "model", "settings", "seconds"),
    *("prior", "bce", "squared_error"),
)
"""Keys of numbers that are no single measure's."""


@dataclass(frozen=True)
class Result:
    """The findings of a measure.

    Attributes:
        numbers: plain values for ``metrics-SPLIT.json``; its keys are the file's.
        per_image: a value for each image, for ``per-image-SPLIT.safetensors``.
        pictures: arrays that figures show, for ``pictures-SPLIT.safetensors``.
    """

    numbers: dict[str, Any] = field(default_factory=dict)
    per_image: dict[str, np.ndarray] = field(default_factory=dict)
    pictures: dict[str, np.ndarray] = field(default_factory=dict)

    def with_(self, other: "Result") -> "Result":
        """Both results; where both have a key, the other's value."""
        numbers, per_image = self.numbers | other.numbers, self.per_image | other.per_image
        # `|` prefers the later value, so a measure that is repeated replaces its numbers.
        return Result(numbers, per_image, self.pictures | other.pictures)


class Row(NamedTuple):
    """A row of the table that ``gncn evaluate`` prints."""

    name: str
    value: str
    remark: str = ""


@dataclass(frozen=True)
class Column:
    """A number that ``gncn compare`` and ``gncn report`` tabulate, and ``gncn tune`` improves.

    Attributes:
        key: its name in searches and JSON.
        title: its heading.
        find: reads the number from all that was measured; None if it wasn't.
        low_is_good: whether less is better.
        published: which of the paper's numbers it is compared with: a name from
            `gncn.study.paper.Published`; empty if the paper has none.
        ranked: whether models are ranked by it.
        tabulated: whether it stands in tables; if not, it only serves searches.
        table: which of the report's tables it stands in.
        needs: names of the measures that it is read from; by default the one whose it is.
    """

    key: str
    title: str
    find: Callable[[Numbers], Any]
    low_is_good: bool = True
    published: str = ""
    ranked: bool = True
    tabulated: bool = True
    table: Literal["generative", "diagnostic"] = "diagnostic"
    needs: tuple[str, ...] = ()


class Condition(NamedTuple):
    """A setting that numbers of different runs must have in common to be compared.

    `title` names it in words; `find` reads it from all that was measured, None if it wasn't.
    """

    key: str
    title: str
    find: Callable[[Numbers], Any]


def several(value: Any) -> Any:
    """A number as a tuple of one, for settings of which several may be given."""
    return (value,) if isinstance(value, int | float) else value


class Measure(Part):
    """Base class of all measures.

    Attributes:
        needs_codes: whether the model must map images to codes.
        needs_labels: whether the images must have classes.
        needs_density: whether the model must have a density of these images: of a Bernoulli
            output binary ones only.
        of_data_alone: whether the result depends on the images and not on the model.
        of_width_alone: whether it depends on them and on the number of the model's codes.
        on_request: whether it is left out unless it is asked for by name.
        columns: numbers to tabulate.
        conditions: what its numbers must have in common to be compared.
        note: how to read its numbers; ``gncn evaluate`` prints it.
    """

    spoken: ClassVar[str] = "the measures"
    needs_codes: ClassVar[bool] = True
    needs_labels: ClassVar[bool] = False
    needs_density: ClassVar[bool] = False
    of_data_alone: ClassVar[bool] = False
    of_width_alone: ClassVar[bool] = False
    on_request: ClassVar[bool] = False
    columns: ClassVar[tuple[Column, ...]] = ()
    conditions: ClassVar[tuple[Condition, ...]] = ()
    note: ClassVar[str] = ""

    def check(self, subject: Subject) -> None:
        """Refuse settings that don't suit the model or the images.

        Raises:
            ConfigError: naming the setting and what is allowed.
        """

    @abstractmethod
    def measure(self, subject: Subject) -> Result:
        """Measure the model on the images of `Subject.target`."""

    def rows(self, numbers: Numbers) -> list[Row]:
        """Rows to print, from all that was measured; by default one for each column."""
        values = ((column, column.find(numbers)) for column in self.columns)
        return [Row(column.title, f"{value:.2f}") for column, value in values if value is not None]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        """Draw a PNG from all that was measured; its path, or None if there is nothing to draw."""
        return None


def within(*path: str) -> Callable[[Numbers], Any]:
    """Make a function that follows keys through nested dictionaries; None where they end."""

    def find(numbers: Any) -> Any:
        for name in path:  # what is there but no dictionary is damaged, and raises
            numbers = None if numbers is None else numbers.get(name)
        return numbers

    return find


class _Asked(dict[str, Any]):
    """Numbers of nothing; keeps the keys that they were asked for."""

    def __missing__(self, key: str) -> None:
        self.setdefault(key)

    def get(self, key: str, default: Any = None) -> Any:
        return self[key]


def _owners(but_for: str) -> dict[str, str]:
    """Who owns each key of the numbers, without the keys of one measure."""
    owners = dict.fromkeys(_NO_MEASURES, "the library's own")
    for name in MEASURES.names():
        asked = _Asked({name: None})
        for column in MEASURES.get(name).columns:
            # Every key that a column reads is claimed, whether or not the number is there.
            with suppress(Exception):  # whatever a user's function raises
                column.find({} if column.needs else asked)
        if name != but_for:
            owners |= dict.fromkeys(asked, f"the measure's {name!r}")
    return owners


def measured(name: str, measure: Measure, subject: Subject) -> Result:
    """The findings of a measure, with numbers in the types of JSON.

    Raises:
        ConfigError: a measure from outside the library finds no `Result`, or one that files can't
            hold, or gives its numbers the key of others.
    """
    subject.report(f"measuring {name}")
    found = measure.measure(subject)
    # The library's own results are tested, so only others are looked at.
    if is_own(type(measure)):
        return found
    what = f"The measure {name!r} ({type(measure).__name__})"
    if not isinstance(found, Result):
        raise ConfigError(
            f"{what} must return a `gncn.measures.Result`, such as Result({{{name!r}: ...}}); it "
            f"gave {quoted(found)}."
        )
    owners, plain = _owners(name), Result()
    for part in ("numbers", "per_image", "pictures"):
        held = getattr(found, part)
        if not isinstance(held, dict):
            raise ConfigError(f"{what} must give a dictionary of {part}; it gave {quoted(held)}.")
        for key, value in held.items():
            if part == "numbers" and key in owners:
                raise ConfigError(
                    f"{what} can't call its numbers {key!r}: this name is {owners[key]}. Choose "
                    "another."
                )
            try:
                # Tried as a file would hold it: the error shows here, and not after hours of
                # measuring.
                getattr(plain, part)[key] = _plain(part, key, value, len(subject.target))
            except Exception as error:  # of many kinds, by the libraries that write files
                kinds = "plain values" if part == "numbers" else "arrays of numbers"
                raise ConfigError(
                    f"{what} must give {kinds} as {part}, under names; it gave {quoted(key)}: "
                    f"{quoted(value)} ({error})."
                ) from error
    return plain


def _plain(part: str, key: str, value: Any, n_images: int) -> Any:
    """A value as a file can hold it; any exception where it can't."""
    if part == "numbers":
        check_values(found := jsonable({key: value}, finite=False))
        return found[key]
    array = np.asarray(value)
    if part == "per_image" and len(array) != n_images:
        raise ValueError(f"it needs a value for each of the {n_images} images")
    pack({key: array})
    return array


class _Measures(Registry[type[Measure]]):
    """The measures; a setting that several of them have is one setting."""

    def check(self, entry: Any) -> None:
        super().check(entry)
        for known in map(self.get, self.names()):
            if known is entry:
                continue
            settings, others = entry.model_fields, known.model_fields
            for name in settings.keys() & others.keys():
                # A description may differ, but one option on the command line can't have two
                # meanings.
                one, other = settings[name], others[name]
                if (one.annotation, one.default) != (other.annotation, other.default):
                    raise ConfigError(
                        f"The setting {name!r} has another type or default in {entry.__name__} "
                        f"than in {known.__name__}, and one option gives both. Rename it."
                    )
            if same := {one.key for one in entry.columns} & {one.key for one in known.columns}:
                raise ConfigError(
                    f"{entry.__name__} and {known.__name__} both have a column {min(same)!r}; "
                    "rename one."
                )


MEASURES = _Measures("measure", Measure, scope="measuring")
"""All measures by name, in the order in which they are measured."""


# Options of ``gncn evaluate`` and of studies, next to which settings of measures are written.
reserve("measuring", ("run", "only", "split", "seed", "trial", "replace", "data_dir", "as_json"))
reserve("measuring", ("measures", "first_trial_only"))


def setting_fields() -> dict[str, Any]:
    """Pydantic's description of every setting of every measure, by name."""
    fields = {}
    for name in MEASURES.names():
        # Settings that measures share are equal by `check`, so it doesn't matter whose comes last.
        fields |= MEASURES.get(name).model_fields
    return fields


def check_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The value of every setting of every measure: the given ones, checked, or the defaults.

    Raises:
        ConfigError: a name is unknown, or a value not allowed.
    """
    made = make_measures(None, settings).values()
    return {name: value for measure in made for name, value in measure}


def make_measures(only: Collection[str] | None, settings: Mapping[str, Any]) -> dict[str, Measure]:
    """Make some or all measures by name, each with the settings that are its own.

    Raises:
        ConfigError: a name is unknown, or a value not allowed.
    """
    known = setting_fields()
    for name in settings:
        if name not in known:
            raise unknown_choice("setting of measures", name, known)
    made = {}
    # All are made, so that settings of measures that aren't asked for are checked too.
    for name in (*MEASURES.names(), *(only or ())):
        measure = MEASURES.get(name)
        made[name] = measure(**{k: v for k, v in settings.items() if k in measure.model_fields})
    return {name: made[name] for name in made if only is None or name in only}


def refuse_idle_settings(settings: Mapping[str, Any], measures: Collection[str]) -> None:
    """Refuse settings that none of the measures taken reads.

    Args:
        settings: those that somebody gave, by name.
        measures: names of what is measured.

    Raises:
        ConfigError: naming the setting and the measures that read it.
    """
    for name, value in settings.items():
        readers = [one for one in MEASURES.names() if name in MEASURES.get(one).model_fields]
        if {*readers}.isdisjoint(measures):
            raise ConfigError(
                f"The setting {name}={quoted(value)} has no effect: only "
                f"{', '.join(map(repr, readers))} read{'s' * (len(readers) == 1)} it, and what is "
                f"measured is {', '.join(map(repr, measures)) or 'nothing'}. Leave it out, or "
                "measure one that reads it."
            )


def measure_columns() -> Iterator[tuple[str, Column]]:
    """The columns of all measures, each with the name of its measure."""
    return ((name, one) for name in MEASURES.names() for one in MEASURES.get(name).columns)
