"""`Registry`: parts of one kind under names, so that TOML, JSON and people can name them."""

import inspect
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Generic, TypeVar

from gncn.base.errors import ConfigError, unknown_choice

Entry = TypeVar("Entry")

WIRING = frozenset({"source", "target"})
"""Options of a connection that its place in the circuit decides."""

_KINDS: "dict[str, Registry[Any]]" = {}
"""All registries by the kind of their entries."""

_ORIGINS: dict[tuple[str, str], tuple[str, ...]] = {}

_RESERVED: dict[str, set[str]] = {}
"""Names of options that descriptions have taken for themselves, by scope."""


def reserve(scope: str, names: Iterable[str]) -> None:
    """Keep names for a description's own options: no part of this scope may take them."""
    _RESERVED.setdefault(scope, set()).update(names)


class Registry(Generic[Entry]):
    """Entries of one kind by name.

    Attributes:
        kind: what the entries are, for messages: "competition", for instance.
        base: the class of which every entry is a subclass.
        scope: options of parts of one scope are written next to one another, so their names
            must differ.  By default no other kind shares the scope.
    """

    def __init__(self, kind: str, base: type, scope: str | None = None) -> None:
        self.kind, self.base, self.scope = kind, base, scope or kind
        self._entries: dict[str, Entry] = {}
        _KINDS[kind] = self

    def register(self, name: str, entry: Entry) -> Entry:
        """Give an entry a name; see `register` below, and `check`."""
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ConfigError(
                f"The name of a {self.kind} must be a word of letters, digits, '_' and '-'; "
                f"received {name!r}."
            )
        # In a notebook a class is defined again and again; that may replace its former self.
        if name in self._entries and not _same(self._entries[name], entry):
            raise ConfigError(f"The {self.kind} name {name!r} is taken; choose another name.")
        self.check(entry)
        self._refuse_clash(entry)
        if self._entries.get(name, entry) is not entry:
            import jax

            jax.clear_caches()  # compiled programs know parts by their names
        self._entries[name] = entry
        return entry

    def _refuse_clash(self, entry: Any) -> None:
        """Refuse an option whose name another kind of part, or the description, has taken."""
        # Options are written flat, so two parts of one scope with the same option would be one
        # option.
        taken = dict.fromkeys(_RESERVED.get(self.scope, ()), "the description's own")
        taken["kind"] = "the part's own name"
        for other in _KINDS.values():
            if other.scope == self.scope and other is not self:
                for name, part in other._entries.items():
                    taken |= dict.fromkeys(options_of(part), f"that of the {other.kind} {name!r}")
        for option in options_of(entry):
            # A chain's options for the data begin so, and would be taken for them.
            if option.startswith("output_") and self.scope == "circuit":
                taken[option] = "the options of the data, which begin so"
            if option in taken:
                raise ConfigError(
                    f"{entry.__name__} can't have the option {option!r}: it would clash with "
                    f"{taken[option]}. Choose another name for it."
                )

    def check(self, entry: Any) -> None:
        """Refuse what is no subclass of `base`, or lacks a method or an argument of one."""
        if not (inspect.isclass(entry) and issubclass(entry, self.base)):
            raise ConfigError(
                f"A {self.kind} must be a subclass of `gncn.{self.base.__name__}`; received "
                f"{entry!r}."
            )
        lacking = sorted(getattr(entry, "__abstractmethods__", ()))
        missing = ", ".join(f"`{name}`" for name in lacking)
        if missing:
            raise ConfigError(f"{entry.__name__} lacks {missing}, which every {self.kind} needs.")
        # Each method must be callable as the base's is, or it fails in the middle of a training.
        for name, method in vars(self.base).items():
            own = inspect.getattr_static(entry, name)
            if name.startswith("_") or not inspect.isfunction(own) or own is method:
                continue
            given = inspect.signature(method)
            named = [one.name for one in given.parameters.values() if one.kind is one.KEYWORD_ONLY]
            unnamed = [one for one in given.parameters if one not in named]
            # Bound, not compared: further arguments with defaults are welcome.
            try:
                inspect.signature(own).bind(*unnamed, **dict.fromkeys(named))
            except TypeError as error:
                raise ConfigError(
                    f"{entry.__name__}.{name} can't be called as every {self.kind} is, "
                    f"{name}{given}: {error}. Give it these arguments."
                ) from None

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._entries)

    def options(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """All names with the options of their entries, in the order of registration."""
        return tuple((name, options_of(entry)) for name, entry in self._entries.items())

    def get(self, name: str) -> Entry:
        """The entry of a name; a `ConfigError` lists all names where there is none."""
        if name not in self._entries:
            raise unknown_choice(self.kind, name, self.names())
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def name_of(self, entry: Any) -> str:
        """The name under which an entry stands; a `ConfigError` where it stands under none."""
        for name, known in self._entries.items():
            if known is entry:
                return name
        label = getattr(entry, "__name__", repr(entry))
        raise ConfigError(
            f"{label} has no name to be saved under. Call `gncn.register({self.kind!r}, name, "
            f"{label})` and try again."
        )

    def make(self, value: Any) -> Any:
        """A part from an instance of `base`, a name, or ``{"kind": name, option: value, ...}``.

        Raises:
            ConfigError: the name is unknown, or the options don't suit the part.
        """
        if isinstance(value, self.base):
            return value
        options = dict(value) if isinstance(value, Mapping) else {"kind": value}
        name = options.pop("kind", None)
        if not isinstance(name, str):
            raise ConfigError(
                f"Give the {self.kind} by its name ({', '.join(map(repr, self.names()))}), as a "
                f"table with its 'kind', or as an object; received {value!r}."
            )
        entry: Any = self.get(name)
        return entry(**options)

    def describe(self, part: Any) -> dict[str, Any]:
        """A part as a table of plain values, from which `make` makes it again.

        Raises:
            ConfigError: its class isn't registered.
        """
        return {"kind": self.name_of(type(part)), **part.model_dump()}


def _same(old: Any, new: Any) -> bool:
    """Whether a definition is the old one, or a repeat of it, as in a notebook."""
    # Lambdas and local functions share their names, so they are never taken for a repeat.
    old_place, new_place = (
        f"{getattr(one, '__module__', '')}.{getattr(one, '__qualname__', '<no name>')}"
        for one in (old, new)
    )
    return old is new or (old_place == new_place and "<" not in new_place)


def options_of(entry: Any) -> tuple[str, ...]:
    """Names of the options that a registered class takes; none for a plain function."""
    return _options(entry) if isinstance(entry, type) else ()


@cache
def _options(entry: type) -> tuple[str, ...]:
    return tuple(name for name in getattr(entry, "model_fields", {}) if name not in WIRING)


def register(kind: str, name: str, part: Any) -> Any:
    """Give a part of your own a name, for TOML, model files and options such as `competition`.

    Args:
        kind: what it is: ``activation``, ``competition``, ``connection``, ``likelihood``,
            ``settler``, ``measure`` or ``dataset``.
        name: the name; must be new.
        part: the class, or for an activation a function.

    Returns:
        The part.

    Raises:
        ConfigError: the kind is unknown, the name is taken, the part lacks a method, or its
            options clash with others.
    """
    registry(kind).register(name, part)
    # The caller's module is remembered, so that an error can say what to import.
    caller = getattr(inspect.currentframe(), "f_back", None)
    modules = (
        caller.f_globals.get("__name__") if caller else None,
        getattr(part, "__module__", None),
    )
    _ORIGINS[kind, name] = tuple(dict.fromkeys(one for one in modules if one))
    return part


def origins() -> dict[tuple[str, str], tuple[str, ...]]:
    """The modules that registered each part by `register`, or hold it; by kind and name."""
    return {(kind, name): at for (kind, name), at in _ORIGINS.items() if name in registry(kind)}


def registered(kind: str) -> tuple[str, ...]:
    """The names of all parts of a kind; a `ConfigError` lists all kinds where it is unknown.

    >>> registered("competition")
    ('none', 'columns', 'band', 'matrix')
    """
    return registry(kind).names()


def registry(kind: str) -> Registry[Any]:
    """The registry of a kind of part; see `registered`."""
    if kind not in _KINDS:
        raise unknown_choice("kind of part", kind, _KINDS)
    return _KINDS[kind]
