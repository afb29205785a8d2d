"""Options of parts written flat: ``Layer(size=40, competition="columns", group_size=8)``.

A description has fields that hold parts, such as a layer's `competition`.  A part may be
given as an object or by its name.  With a name, the part's own options stand next to the
description's, and `gather` hands them to the part.
"""

from collections.abc import Mapping
from functools import cache
from typing import Any

from gncn.base.description import Description
from gncn.base.errors import ConfigError, did_you_mean
from gncn.base.registry import options_of, registry


def takers(kind: str) -> Mapping[str, list[str]]:
    """The options of all registered parts of a kind, each with the names of those that take it."""
    return _takers(registry(kind).options())


@cache  # it is asked for each option of every layer; a new part makes another argument
def _takers(parts: tuple[tuple[str, tuple[str, ...]], ...]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, options in parts:
        for option in options:
            found.setdefault(option, []).append(name)
    return found


def defaults_of(description: type[Description]) -> dict[str, Any]:
    """The fields of a description, and their defaults."""
    return {name: field.default for name, field in description.model_fields.items()}


def gather(
    options: Mapping[str, Any], parts: Mapping[str, str], defaults: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Hand flat options to the parts that they belong to.

    Args:
        options: as a user gave them.
        parts: the fields that hold parts, each with the kind of part.
        defaults: of all fields of the description, by their names.
        where: the description's name, for messages.

    Returns:
        The options, each part with its own as a table.

    Raises:
        ConfigError: an option belongs to a part that wasn't chosen, or to no part, or a part
            lacks one that it needs.
    """
    own = {name: value for name, value in options.items() if name in defaults}
    # None means "not given", as for the options of a command.
    extra = {n: v for n, v in options.items() if n not in defaults and v is not None}
    chosen = {field: own.get(field, defaults[field]) for field in parts}
    used: set[str] = set()
    for field, name in chosen.items():
        if not isinstance(name, str):
            # An object has its options already; any that stand next to it are refused below.
            continue
        entry = registry(parts[field]).get(name)
        given = {option: extra[option] for option in options_of(entry) if option in extra}
        for option in options_of(entry):
            if entry.model_fields[option].is_required() and option not in given:
                raise ConfigError(f"{field}={name!r} needs `{option}`; received none.")
        if options_of(entry):
            own[field] = {"kind": name, **given}
        used |= set(given)
    for option, value in extra.items():
        if option not in used:
            raise _idle(option, value, parts, chosen, [*defaults], where)
    return own


def _idle(
    option: str,
    value: Any,
    parts: Mapping[str, str],
    chosen: Mapping[str, Any],
    known: list[str],
    where: str,
) -> ConfigError:
    """The error for an option that no chosen part takes."""
    # The option exists, but its part wasn't chosen.
    for field, kind in parts.items():
        if option not in takers(kind):
            continue
        received = f"received {field}={chosen[field]!r}, {option}={value!r}."
        if not isinstance(chosen[field], str):
            return ConfigError(
                f"{field} is given with its options, so they can't stand next to it; {received}"
            )
        named = " or ".join(f"{field}={name!r}" for name in takers(kind)[option])
        return ConfigError(f"{option} is an option of {named}, and no other takes it; {received}")
    known += [option for kind in dict.fromkeys(parts.values()) for option in takers(kind)]
    names = dict.fromkeys(known)
    choices, close = ", ".join(map(repr, names)), did_you_mean(option, names)
    return ConfigError(f"Unknown option {option!r} for {where}.{close} Options: {choices}.")
