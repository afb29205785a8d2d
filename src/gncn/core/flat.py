"""Options of parts written flat: ``Layer(size=40, competition="columns", group_size=8)``.

A description has fields that hold parts, such as a layer's `competition`.  A part may be
given as an object or by its name.  With a name, the part's own options stand next to the
description's, and `gather` hands them to the part.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from gncn.base.errors import ConfigError
from gncn.base.registry import WIRING, Registry, options_of, registry
from gncn.core.activations import ACTIVATIONS
from gncn.core.competition import COMPETITIONS
from gncn.core.connections.base import CONNECTIONS
from gncn.core.likelihood import LIKELIHOODS

REGISTRIES: dict[str, Registry[Any]] = {
    parts.kind: parts for parts in (ACTIVATIONS, COMPETITIONS, LIKELIHOODS, CONNECTIONS)
}
"""The kinds of parts that a circuit is made of."""


def takers(kind: str) -> dict[str, list[str]]:
    """The options of all registered parts of a kind, each with the names of those that take it."""
    parts = registry(kind)
    found: dict[str, list[str]] = {}
    for name in parts.names():
        for option in options_of(parts.get(name)):
            found.setdefault(option, []).append(name)
    return found


def is_default(option: str, value: Any, entries: Iterable[Any]) -> bool:
    """Whether a value is an option's default in all classes that have the option.

    Descriptions leave such values out, so that they equal descriptions in which they were never
    written.
    """
    defaults = [entry.model_fields[option].default for entry in entries]
    return isinstance(value, str | int | float) and all(value == default for default in defaults)


def gather(
    options: Mapping[str, Any], parts: Mapping[str, str], fields: Mapping[str, Any], where: str
) -> dict[str, Any]:
    """Hand flat options to the parts that they belong to.

    Args:
        options: as a user gave them.
        parts: the fields that hold parts, each with the kind of part.
        fields: all fields of the description, with their defaults.
        where: the description's name, for messages.

    Returns:
        The options, each part with its own as a table.

    Raises:
        ConfigError: an option belongs to a part that wasn't chosen, or to no part.
    """
    own = {name: value for name, value in options.items() if name in fields}
    extra = {n: v for n, v in options.items() if n not in fields and v is not None}
    used: set[str] = set()
    for field, kind in parts.items():
        chosen = own.get(field, fields[field])
        if not isinstance(chosen, str):
            continue
        wanted = options_of(registry(kind).get(chosen))
        given = {name: value for name, value in extra.items() if name in wanted}
        used |= set(given)
        if given or wanted:
            _refuse_missing(kind, field, chosen, given)
            own[field] = {"kind": chosen, **given}
    for name in extra:
        if name not in used:
            raise _idle(name, extra[name], options, own, parts, fields, where)
    return own


def _refuse_missing(kind: str, field: str, chosen: str, given: Mapping[str, Any]) -> None:
    """Refuse a part without an option that it needs."""
    entry = registry(kind).get(chosen)
    for name, field_info in entry.model_fields.items():
        if name not in WIRING and field_info.is_required() and name not in given:
            raise ConfigError(f"{field}={chosen!r} needs `{name}`; received none.")


def _idle(
    name: str,
    value: Any,
    options: Mapping[str, Any],
    own: Mapping[str, Any],
    parts: Mapping[str, str],
    fields: Mapping[str, Any],
    where: str,
) -> ConfigError:
    """What to say of an option that no chosen part takes."""
    for field, kind in parts.items():
        if name in takers(kind):
            chosen = own.get(field, fields[field])
            if not isinstance(options.get(field, ""), str):
                return ConfigError(
                    f"{field} is given with its options, so they can't stand next to it; received "
                    f"{field}={options[field]!r}, {name}={value!r}."
                )
            label = chosen["kind"] if isinstance(chosen, Mapping) else chosen
            named = " or ".join(f"{field}={other!r}" for other in takers(kind)[name])
            return ConfigError(
                f"{name} is an option of {named}, and no other takes it; received "
                f"{field}={label!r}, {name}={value!r}."
            )
    known = [
        *fields,
        *(option for kind in dict.fromkeys(parts.values()) for option in takers(kind)),
    ]
    choices = ", ".join(repr(option) for option in dict.fromkeys(known))
    return ConfigError(f"Unknown option {name!r} for {where}. Options: {choices}.")
