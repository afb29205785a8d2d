"""`all_options`: every option of a configuration, as the classes that declare it describe it.

The meaning of an option is its field's description, or else its entry under ``Attributes:`` in a
docstring: of the class, or of one of its base classes.
"""

import inspect
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pydantic.fields import FieldInfo

from gncn.base.description import Description
from gncn.base.registry import options_of, registry
from gncn.baselines.blueprint import Blueprint
from gncn.core.chain import KINDS, OUTPUT
from gncn.core.circuit import Circuit, Layer
from gncn.core.likelihood import Likelihood
from gncn.runs.config import Config

_ALSO = {"network": (Layer, Circuit), "backprop": (Blueprint,)}
"""Where the meaning of an option stands that a section shares with other classes."""
_PARTS = {"network": KINDS, "settling": ("settler",)}
"""Sections whose options include options of parts, and the kinds of these parts."""
_ENTRY = re.compile(r"^(\w+(?:, \w+)*): ")


class Option(NamedTuple):
    """An option of a configuration.

    Attributes:
        name: as ``--set`` takes it: ``training.n_epochs``.
        default: its value unless given; None may stand for a rule, which the meaning says.
        needed: whether the part that takes it has no default.
        meaning: what it does.
        taken_by: names of the parts that take it, such as ``columns``; empty if it is the section's
            own.
    """

    name: str
    default: Any
    needed: bool
    meaning: str
    taken_by: tuple[str, ...] = ()

    @property
    def section(self) -> str:
        """The section that it stands in; empty for the options above all sections."""
        return self.name.rpartition(".")[0]


def all_options() -> list[Option]:
    """Every option of every section, in the order of the classes."""
    found = []
    for name, field in Config.model_fields.items():
        section = field.default
        if isinstance(section, Description):
            found += _of_section(name, type(section))
        else:
            found.append(_option(name, field, (Config,)))
    # Sorting is stable, so sections keep their order.
    return sorted(found, key=lambda one: bool(one.section))


def _of_section(section: str, kind: type[Any]) -> Iterator[Option]:
    fields = kind.model_fields
    for name, field in fields.items():
        yield _option(f"{section}.{name}", field, (kind, *_ALSO.get(section, ())))
    taken: dict[str, list[tuple[str, Any]]] = {}
    for part in _PARTS.get(section, ()):
        for known in registry(part).names():
            entry = registry(part).get(known)
            for option in options_of(entry):
                taken.setdefault(option, []).append((known, entry))
    for name, takers in taken.items():
        names, entry = tuple(known for known, _ in takers), takers[0][1]
        # Parts that share an option share its meaning: the first one's is taken.
        found = _option(f"{section}.{name}", entry.model_fields[name], (entry,), names)
        yield found
        # A chain gives layers and data the same kind of option under two names.
        if issubclass(entry, Likelihood):
            yield found._replace(
                name=f"{section}.{OUTPUT}{name}", meaning=f"The same for the data: {found.meaning}"
            )


def _option(
    name: str, field: FieldInfo, classes: tuple[type, ...], taken_by: tuple[str, ...] = ()
) -> Option:
    own = name.rpartition(".")[2]
    # Base classes describe what they declare.
    meanings = (_attributes(base).get(own) for kind in classes for base in kind.__mro__)
    meaning = field.description or next(filter(None, meanings), "")
    default = None if field.is_required() else field.get_default(call_default_factory=True)
    return Option(name, default, field.is_required(), meaning, taken_by)


def _attributes(kind: type) -> dict[str, str]:
    """The meaning of each attribute in the docstring of a class."""
    text = inspect.cleandoc(kind.__doc__ or "")
    _, _, listed = text.partition("Attributes:\n")
    found: dict[str, str] = {}
    names: list[str] = []
    for line in listed.splitlines():
        # A line that isn't indented begins the next part of the docstring.
        if line.strip() and not line.startswith("    "):
            break
        if begun := _ENTRY.match(line.removeprefix("    ")):
            names = begun[1].split(", ")
            found |= dict.fromkeys(names, line.strip().removeprefix(begun[0]))
        else:
            # Any other line goes on with the meaning before it.
            found |= {name: f"{found[name]} {line.strip()}".strip() for name in names}
    return found
