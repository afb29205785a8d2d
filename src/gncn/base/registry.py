"""`Registry`: parts of one kind under names, so that TOML, JSON and people can name them."""

import inspect
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from gncn.base.errors import ConfigError, unknown_choice

Entry = TypeVar("Entry")


class Registry(Generic[Entry]):
    """Entries of one kind by name.

    Attributes:
        kind: what the entries are, for messages: "competition", for instance.
        base: the class of which every entry is a subclass.
    """

    def __init__(self, kind: str, base: type) -> None:
        self.kind = kind
        self.base = base
        self._entries: dict[str, Entry] = {}

    def register(self, name: str, entry: Entry) -> Entry:
        """Give an entry a name.

        Args:
            name: the name; must be new.
            entry: a class with all methods that `base` asks for.

        Returns:
            The entry.

        Raises:
            ConfigError: the name is taken, or the entry can't be one.
        """
        if not isinstance(name, str) or not name.replace("-", "_").isidentifier():
            raise ConfigError(
                f"The name of a {self.kind} must be a word of letters, digits, '_' and '-'; "
                f"received {name!r}."
            )
        if self._entries.get(name, entry) is not entry:
            raise ConfigError(f"The {self.kind} name {name!r} is taken; choose another name.")
        self.check(entry)
        self._entries[name] = entry
        return entry

    def check(self, entry: Any) -> None:
        """Refuse what can't be an entry.

        Raises:
            ConfigError: it is no subclass of `base`, or lacks a method.
        """
        if not (inspect.isclass(entry) and issubclass(entry, self.base)):
            raise ConfigError(
                f"A {self.kind} must be a subclass of `gncn.{self.base.__name__}`; received "
                f"{entry!r}."
            )
        missing = sorted(getattr(entry, "__abstractmethods__", ()))
        if missing:
            raise ConfigError(
                f"{entry.__name__} lacks {', '.join(f'`{name}`' for name in missing)}, which every "
                f"{self.kind} needs."
            )

    def names(self) -> tuple[str, ...]:
        """All names, in the order of registration."""
        return tuple(self._entries)

    def get(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self._entries:
            raise unknown_choice(self.kind, name, self.names())
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def name_of(self, entry: Any) -> str:
        """The name under which an entry stands.

        Raises:
            ConfigError: it stands under none.
        """
        for name, known in self._entries.items():
            if known is entry:
                return name
        label = getattr(entry, "__name__", repr(entry))
        raise ConfigError(
            f"{label} has no name to be saved under. Call `gncn.register({self.kind!r}, name, "
            f"{label})` and try again."
        )

    def make(self, value: Any) -> Any:
        """A part from what names it: the part itself, a name, or a table with its options.

        Args:
            value: an instance of `base`, a name, or ``{"kind": name, option: value, ...}``.

        Raises:
            ConfigError: the name is unknown, or the options don't suit the part.
        """
        if isinstance(value, self.base):
            return value
        if isinstance(value, Mapping) and isinstance(value.get("kind"), str):
            options = {name: option for name, option in value.items() if name != "kind"}
            return self._class(value["kind"])(**options)
        if isinstance(value, str):
            return self._class(value)()
        raise ConfigError(
            f"A {self.kind} is given by its name ({', '.join(map(repr, self.names()))}), as a "
            f"table with its 'kind', or as an object; received {value!r}."
        )

    def _class(self, name: str) -> Any:
        return self.get(name)

    def describe(self, part: Any) -> dict[str, Any]:
        """A part as a table of plain values, from which `make` makes it again.

        Raises:
            ConfigError: its class isn't registered.
        """
        return {"kind": self.name_of(type(part)), **part.model_dump()}
