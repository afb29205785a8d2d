"""`chain`: the paper's circuit in one call, each layer predicting the one below it.

`Chain` declares the options, for Python and for ``[network]`` in TOML.  An option given once
holds for every layer (or connection); a sequence gives one value each, from the bottom up.
Options of parts stand next to the part's name (``competition="columns", group_size=12``).
With ``output_`` before its name an option is the data's (``output_precision="diagonal"``).
"""

from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ConfigDict, model_validator

from gncn.base.description import Description, Part
from gncn.base.errors import ConfigError
from gncn.base.registry import WIRING, options_of, reserve
from gncn.core.circuit import PARTS, Circuit, Compared, Layer
from gncn.core.connections.base import CONNECTIONS
from gncn.core.flat import REGISTRIES, is_default, takers

T = TypeVar("T")
OUTPUT = "output_"


class Chain(Description):
    """Options of `chain`; see the module.

    Attributes:
        sizes: neurons of the latent layers 1..L.
        activation: φ of the L latent layers.
        prediction_activation: g of the predicted latent layers, 1..L-1.
        output_activation: g of layer 0; by default ``sigmoid`` for binary data and
            ``identity`` for others.
        non_negative: see `Layer`; L values.
        competition: see `Layer`; L values.
        likelihood: of the data given layer 1.
        connection: kind of the L connections: a name, or a table with the name as ``kind`` and
            with its options.
        compared: see `Circuit`.
        competing: see `Circuit`.
        initial_state: see `Circuit`.

    Other options are those of the parts chosen: `group_size`, `band_width`, `mask` of
    competitions and `winners` of ``k_winners`` (L values), `precision` of latent layers
    (L-1 values), `output_precision`, and `feedback`, `norm`, `max_norm`,
    `max_feedback_norm` and `norm_axis` of dense connections (L values).
    """

    model_config = ConfigDict(extra="allow")

    sizes: tuple[int, ...] = (360, 360, 360)
    activation: Any = "relu"
    prediction_activation: Any = "relu"
    output_activation: Any = None
    non_negative: bool | tuple[bool, ...] = False
    competition: Any = "none"
    likelihood: Any = "bernoulli"
    connection: Any = "dense"
    compared: Compared = "state"
    competing: Compared = "state"
    initial_state: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _known(cls, options: Any) -> Any:
        """Refuse unknown options here, and lists become tuples, so that equal chains are equal."""
        if not isinstance(options, dict):
            return options
        for name in options:
            if name not in cls.model_fields and _scope(name) is None:
                parts = dict.fromkeys(o for kind in REGISTRIES for o in takers(kind))
                known = ", ".join(map(repr, (*cls.model_fields, *parts)))
                raise ConfigError(f"Unknown option {name!r} for a chain. Options: {known}.")
        _refuse_both(options)
        return {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in options.items()
            if name in cls.model_fields or not _is_default(name, value)
        }

    @property
    def part_options(self) -> dict[str, Any]:
        """The options of parts that were given."""
        return {n: v for n, v in (self.model_extra or {}).items() if v is not None}

    def circuit(self, n_pixels: int) -> Circuit:
        """The circuit for data of `n_pixels`.

        Raises:
            ConfigError: an option's value, length or combination isn't allowed.
        """
        return Circuit(**self._parts(n_pixels))

    def wiring(self) -> Circuit:
        """The circuit before the size of the data is known: says which parts there are.

        Nobody has checked whether the parts fit each other, since that may depend on the
        number of pixels.

        Raises:
            ConfigError: the value or length of an option isn't allowed.
        """
        return Circuit.model_construct(**self._parts(n_pixels=1))

    def _parts(self, n_pixels: int) -> dict[str, Any]:
        n = len(self.sizes)
        if n < 1:
            raise ConfigError("A chain needs at least one latent layer; received sizes=().")
        shared = {name: getattr(self, name) for name in ("compared", "competing", "initial_state")}
        data = {"likelihood": self.likelihood}
        latent = {
            "size": list(self.sizes),
            "activation": per_layer("activation", self.activation, n),
            "prediction_activation": [
                *per_layer("prediction_activation", self.prediction_activation, n - 1),
                "identity",
            ],
            "non_negative": per_layer("non_negative", self.non_negative, n),
            "competition": per_layer("competition", self.competition, n),
        }
        between: dict[str, list[Any]] = {}
        kinds = per_layer("connection", self.connection, n)
        for name, value in self.part_options.items():
            match _scope(name):
                case "output":
                    data[name.removeprefix(OUTPUT)] = value
                case "likelihood":  # the top is not predicted
                    latent[name] = [*per_layer(name, value, n - 1), None]
                case "connection":
                    between[name] = _spread(name, value, [(one,) for one in kinds], "connection")
                case "competition":
                    places = [(one,) for one in latent["competition"]]
                    latent[name] = _spread(name, value, places, "competition")
                case _:
                    both = zip(latent["activation"], latent["prediction_activation"], strict=True)
                    latent[name] = _spread(name, value, list(both), "activation")
        return shared | {
            "layers": (
                self._data_layer(n_pixels, data),
                *(Layer(**{name: values[i] for name, values in latent.items()}) for i in range(n)),
            ),
            "connections": tuple(
                _connection(kinds[i], i, {name: values[i] for name, values in between.items()})
                for i in range(n)
            ),
        }

    def _data_layer(self, n_pixels: int, options: dict[str, Any]) -> Layer:
        g = self.output_activation
        if g is None:
            named = REGISTRIES["likelihood"]
            chosen = self.likelihood
            likelihood = named.get(chosen) if isinstance(chosen, str) else named.make(chosen)
            g = "sigmoid" if likelihood.binary else "identity"
        return Layer(size=n_pixels, prediction_activation=g, **options)

    def resolved(self) -> dict[str, Any]:
        """All options that have an effect, the chosen parts' included, with their defaults."""
        values: dict[str, Any] = {}
        for name in type(self).model_fields:
            values[name] = _plain(name, getattr(self, name))
        chosen = {
            "competition": _all(self.competition),
            "likelihood": ("gaussian", self.likelihood),
            "connection": _all(self.connection),
        }
        for kind, parts in chosen.items():
            for part in {part for part in parts if isinstance(part, str)}:
                for option, field in _fields(kind, part).items():
                    if not field.is_required():
                        values.setdefault(option, field.default)
        return values | {name: _plain(name, value) for name, value in self.part_options.items()}


def chain(sizes: Sequence[int], **options: Any) -> Circuit:
    """Describe the paper's circuit: each layer predicts the one below it.

    Args:
        sizes: neurons of layers 0..L, for instance ``(784, 360, 360, 360)``.
        options: see `Chain`.

    Returns:
        The circuit, checked.

    Raises:
        ConfigError: an option's value, length or combination isn't allowed.

    >>> chain((784, 300, 1540), competition="columns", group_size=[12, 14]).n_latent
    2
    """
    if not isinstance(sizes, Sequence) or isinstance(sizes, str) or len(sizes) < 2:
        raise ConfigError(
            "A chain needs the sizes of the data and of at least one latent layer, such as "
            f"(784, 360, 360); received {sizes!r}."
        )
    return Chain(sizes=tuple(sizes[1:]), **options).circuit(sizes[0])


def per_layer(name: str, value: T | Sequence[T], n: int) -> list[T]:
    """Repeat one value `n` times, or check that a sequence holds `n` values.

    Raises:
        ConfigError: the sequence has another length.
    """
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return [value] * n  # pyright: ignore[reportReturnType]  a str is one value
    if len(value) != n:
        raise ConfigError(
            f"{name} takes one value for all or {n} values, one each; received {len(value)}: "
            f"{list(value)!r}."
        )
    return list(value)


def _spread(name: str, value: Any, chosen: list[tuple[Any, ...]], kind: str) -> list[Any]:
    """An option's value for each layer: one value goes to the layers whose part takes it.

    If no layer's does, all get it, and the layer says that the option has no effect.
    """
    values = per_layer(name, value, len(chosen))
    if isinstance(value, list | tuple):
        return values
    takes = [
        bool(set(takers(kind)[name]) & {c for c in one if isinstance(c, str)}) for one in chosen
    ]
    return [v if t or not any(takes) else None for v, t in zip(values, takes, strict=True)]


def _scope(name: str) -> str | None:
    """The kind of part that takes an option; ``output`` for the data's; None for no part."""
    for kind in REGISTRIES:
        if name in takers(kind):
            return kind
    if name.startswith(OUTPUT) and name.removeprefix(OUTPUT) in takers("likelihood"):
        return "output"
    return None


def _is_default(name: str, value: Any) -> bool:
    """Whether a part's option has its default value, whichever part takes it."""
    kind, option = _scope(name) or "", name
    if kind == "output":
        kind, option = "likelihood", name.removeprefix(OUTPUT)
    entries = [REGISTRIES[kind].get(part) for part in takers(kind)[option]]
    return is_default(option, value, entries)


def _fields(kind: str, name: str) -> dict[str, Any]:
    entry = REGISTRIES[kind].get(name)
    return {option: entry.model_fields[option] for option in options_of(entry)}


def _refuse_both(options: Mapping[str, Any]) -> None:
    """Refuse options of connections both in a table and next to it: which one would hold?"""
    tables = [one for one in _all(options.get("connection")) if isinstance(one, Mapping)]
    flat = [name for name in options if name in takers("connection")]
    if tables and flat:
        raise ConfigError(
            f"Options of a connection stand in its table or next to it, not both; received "
            f"{flat} next to connection={tables[0]!r}."
        )


def _connection(chosen: Any, index: int, options: dict[str, Any]) -> Any:
    given = {name: value for name, value in options.items() if value is not None}
    kind, own = chosen, {}
    if isinstance(chosen, Mapping):
        own = {name: value for name, value in chosen.items() if name != "kind"}
        if WIRING & set(own):
            raise ConfigError(
                f"A chain decides source and target itself; received connection={chosen!r}."
            )
        kind = chosen.get("kind")
    if not isinstance(kind, str):
        raise ConfigError(
            f"connection takes a name or a table with its 'kind'; received {chosen!r}."
        )
    entry = CONNECTIONS.get(kind)
    for name, value in given.items():
        if name not in options_of(entry):
            named = " or ".join(f"connection={other!r}" for other in takers("connection")[name])
            raise ConfigError(
                f"{name} is an option of {named}, and no other takes it; received "
                f"connection={kind!r}, {name}={value!r}."
            )
    return entry(**{**own, **given, "source": index + 1, "target": index})


def _plain(name: str, value: Any) -> Any:
    """A value in JSON's types; parts given as objects become tables."""
    if isinstance(value, tuple):
        return [_plain(name, one) for one in value]
    kind = PARTS.get(name, "activation" if name == "output_activation" else "")
    if isinstance(value, Part) or (callable(value) and kind):
        return REGISTRIES[kind].describe(value)
    return value


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


reserve("circuit", {*Chain.model_fields, *Layer.model_fields, *Circuit.model_fields})
