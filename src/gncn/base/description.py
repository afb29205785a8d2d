"""`Description`: options that are checked when given and never change; `Part`, one with a name.

Descriptions hold no arrays.  They can be compared, hashed and written as JSON.
"""

import re
from functools import cache
from typing import Any, ClassVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic_core import PydanticSerializationError

from gncn.base.errors import ConfigError, beyond_single, did_you_mean, quoted, shortened

_MAX_PROBLEMS = 20
"""Wrong options that a message names; it counts the others."""


class Description(BaseModel):
    """Base class for all descriptions.  Immutable; rejects unknown options."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )
    spoken: ClassVar[str] = ""
    """What messages call it, if not by its class: people write it in files."""

    def __init__(self, /, *unnamed: Any, **options: Any) -> None:
        if unnamed:
            raise ConfigError(
                f"{type(self).__name__} takes its options by name "
                f"({', '.join(f'{name}=...' for name in type(self).model_fields)}); received "
                f"{quoted(unnamed)}."
            )
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigError(explain(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, options: Any) -> Any:
        """Refuse ``true`` and ``"3"`` for numbers and ``"yes"`` for ``true``: pydantic converts."""
        for name, number, truth in _numeric(cls):
            value = options.get(name) if isinstance(options, dict) else None
            for one in value if isinstance(value, list | tuple) else (value,):
                if number and isinstance(one, bool | str):
                    words = _named(cls.model_fields[name].annotation)
                    what = " or ".join(dict.fromkeys(words))
                    raise ValueError(f"{name} must be {what}; received {quoted(value)}.")
                if number and beyond_single(one):
                    raise ValueError(f"{name} is too large a number; received {quoted(value)}.")
                if truth and isinstance(one, int | float | str) and not isinstance(one, bool):
                    raise ValueError(f"{name} must be true or false; received {quoted(value)}.")
        return options

    def resolved(self) -> dict[str, Any]:
        """All options in JSON's types, defaults included.

        Raises:
            ConfigError: a part or function among them has no registered name.
        """
        try:
            return self.model_dump(mode="json")
        except PydanticSerializationError as error:
            # Pydantic wraps the error; its end is the message that was meant.
            raise ConfigError(str(error).partition("ConfigError: ")[2] or str(error)) from None


@cache
def _numeric(model: type[BaseModel]) -> list[tuple[str, bool, bool]]:
    """The options that take numbers alone or truth values alone, and whether they do."""
    # `int | None` and `tuple[int, ...]` count, but a type that also allows text does not.
    kinds = [
        (name, _only(field.annotation, int, float), _only(field.annotation, bool))
        for name, field in model.model_fields.items()
    ]
    return [kind for kind in kinds if any(kind[1:])]


def _only(annotation: Any, *types: type) -> bool:
    """Whether values of a type can be of these types alone, None and tuples of them included."""
    inner = [one for one in get_args(annotation) if one not in (type(None), Ellipsis)]
    return all(_only(one, *types) for one in inner) if inner else annotation in types


def _named(annotation: Any) -> list[str]:
    """Words for the values that an annotation of numbers allows."""
    if get_origin(annotation) is tuple:
        return ["a list of numbers"]
    inner = [one for one in get_args(annotation) if one is not type(None)]
    return [word for one in inner for word in _named(one)] if inner else ["a number"]


class Part(Description):
    """A description that can be exchanged for others of its kind, by its name in a registry."""


def _within(model: type[BaseModel]) -> list[str]:
    """The options of a model's sections, as ``section.name``."""
    sections = {name: field.annotation for name, field in model.model_fields.items()}
    return [
        f"{section}.{name}"
        for section, kind in sections.items()
        if isinstance(kind, type) and issubclass(kind, BaseModel)
        for name in kind.model_fields
    ]


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in plain words what pydantic found wrong: option, value received, values allowed."""
    lines, known = [], [*model.model_fields]
    spoken = getattr(model, "spoken", "")  # other models of Pydantic have none
    name = spoken or model.__name__
    problems = error.errors(include_url=False)
    for problem in problems[:_MAX_PROBLEMS]:
        place = shortened(".".join(str(part) for part in problem["loc"]), 200)
        received = quoted(problem.get("input"))
        match problem["type"]:
            case "extra_forbidden":
                choices = ", ".join(map(repr, known))
                close = did_you_mean(place, [*known, *_within(model)])
                lines.append(f"Unknown option {place!r} for {name}.{close} Options: {choices}.")
            case "missing":
                lines.append(f"{name} needs the option {place!r}.")
            case "value_error":
                lines.append(_own_words(problem.get("ctx", {})["error"], place, spoken, model))
            case "string_pattern_mismatch":
                where, pattern = problem["loc"][0], problem.get("ctx", {})["pattern"]
                lines.append(f"{where}: a name must fit {pattern}; received {received}.")
            case kind:
                what = f": {problem['msg'].lower()}"
                if kind in ("model_type", "model_attributes_type", "dict_type"):
                    what = " must be a table of options"
                where = place if spoken else f"{name}.{place}"
                lines.append(f"{where}{what}; received {received}.")
    if (more := len(problems) - _MAX_PROBLEMS) > 0:
        lines.append(f"{more:,} more options are wrong.")
    return "\n".join(lines)


def _own_words(error: Exception, place: str, spoken: str, model: type[BaseModel]) -> str:
    """What a check of the library's own says, with the place of the option that it is about."""
    text, where = str(error), place if spoken else f"{model.__name__}.{place}".rstrip(".")
    inner = getattr(model.model_fields.get(place), "annotation", None)
    if isinstance(inner, type) and issubclass(inner, Description):
        # Who wrote `training.n_epochs` needn't know the section's class.
        text, where = re.sub(rf"\b{inner.__name__}\b", place, text), place
    if not where or text.startswith("Unknown "):
        return text
    return "\n".join(
        line if place and place in line else f"{where}: {line}" for line in text.splitlines()
    )
