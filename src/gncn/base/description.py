"""`Description`: options that are checked when given and never change; `Part`, one with a name.

Descriptions hold no arrays.  They can be compared, hashed and written as JSON.
"""

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gncn.base.errors import ConfigError


class Description(BaseModel):
    """Base class for all descriptions.  Immutable; rejects unknown options."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False
    )

    def __init__(self, **options: Any) -> None:
        try:
            super().__init__(**options)
        except ValidationError as error:
            raise ConfigError(explain(error, type(self))) from None

    @model_validator(mode="before")
    @classmethod
    def _numbers_are_numbers(cls, options: Any) -> Any:
        """Refuse ``true`` and ``"3"`` where numbers are wanted, which pydantic would convert."""
        for name, field in cls.model_fields.items():
            value = options.get(name) if isinstance(options, dict) else None
            if isinstance(value, bool | str) and _only_numbers(field.annotation):
                raise ValueError(f"{name} must be a number; received {value!r}.")
        return options

    def resolved(self) -> dict[str, Any]:
        """All options in JSON's types, defaults included."""
        return self.model_dump(mode="json")


def _only_numbers(annotation: Any) -> bool:
    """Whether a type is int or float, or one of them or None."""
    kinds = set(get_args(annotation)) - {type(None)} or {annotation}
    return kinds <= {int, float}


class Part(Description):
    """A description that can be exchanged for others of its kind, by its name in a registry."""


def explain(error: ValidationError, model: type[BaseModel]) -> str:
    """Say in plain words what pydantic found wrong: option, value received, values allowed."""
    lines = []
    for problem in error.errors(include_url=False):
        place = ".".join(str(part) for part in problem["loc"])
        received = problem.get("input")
        match problem["type"]:
            case "extra_forbidden":
                choices = ", ".join(repr(name) for name in model.model_fields)
                lines.append(f"Unknown option {place!r} for {model.__name__}. Options: {choices}.")
            case "missing":
                lines.append(f"{model.__name__} needs the option {place!r}.")
            case "value_error":
                lines.append(f"{model.__name__}: {problem.get('ctx', {}).get('error')}")
            case _:
                lines.append(
                    f"{model.__name__}.{place}: {problem['msg'].lower()}; received {received!r}."
                )
    return "\n".join(lines)
