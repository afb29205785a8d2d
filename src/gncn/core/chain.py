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
from gncn.base.errors import ConfigError, did_you_mean
from gncn.base.registry import WIRING, options_of, registry, reserve
from gncn.core.circuit import MOST_NEURONS, PARTS, Circuit, Compared, Layer
from gncn.core.connections.base import Connection
from gncn.core.flat import gather, takers

T = TypeVar("T")
KINDS = ("activation", "competition", "likelihood", "connection")
"""The kinds of parts that a circuit is made of."""
OUTPUT = "output_"


class Chain(Description):
    """Options of `chain`; see the module.

    What isn't explained here is as in `Layer` and `Circuit`.

    Attributes:
        sizes: neurons of the latent layers 1..L.
        activation: φ of the L latent layers.
        prediction_activation: g of the predicted latent layers, 1..L-1.
        output_activation: g of layer 0; by default ``sigmoid`` for binary data and
            ``identity`` for others.
        likelihood: of the data given layer 1.
        bias: whether predictions of layers 0..L-1 have a learned bias.
        connection: kind of the L connections: a name, a table with the name as ``kind`` and
            with its options, or an object.  The chain decides what an object joins.

    Other options belong to the parts chosen:

    - `group_size`, `band_width`, `mask` of competitions, `winners` of ``k_winners``: L values;
    - `precision` of latent layers: L-1 values; `output_precision`: one;
    - `feedback`, `norm`, `max_norm`, `max_feedback_norm` and `norm_axis` of dense connections: L
      values.
    """

    model_config = ConfigDict(extra="allow")

    sizes: tuple[int, ...] = (360, 360, 360)
    activation: Any = "relu"
    prediction_activation: Any = "relu"
    output_activation: Any = None
    non_negative: bool | tuple[bool, ...] = False
    competition: Any = "none"
    likelihood: Any = "bernoulli"
    bias: bool | tuple[bool, ...] = False
    connection: Any = "dense"
    compared: Compared = "state"
    competing: Compared = "state"
    initial_state: float = 0.0

    @model_validator(mode="before")
    @classmethod
    def _known(cls, options: Any) -> Any:
        """Refuse unknown options here, and lists become tuples, so that equal chains are equal."""
        if not isinstance(options, dict):
            # Anything but a table is left to Pydantic, whose message names the types allowed.
            return options
        for name in options:
            if name not in cls.model_fields and not _takers(name):
                parts = dict.fromkeys(option for kind in KINDS for option in takers(kind))
                names = (*cls.model_fields, *parts)
                known, close = ", ".join(map(repr, names)), did_you_mean(name, names)
                raise ConfigError(f"Unknown option {name!r} for a chain.{close} Options: {known}.")
        chosen = _all(options.get("connection", "dense"))
        if not chosen:
            raise ConfigError("connection must name at least one kind; received none.")
        # If every part is an object, nobody would take these options.
        if not any(isinstance(one, str) for one in chosen):
            for name, value in options.items():
                if value is not None and _kind_of(name) == "connection":
                    raise ConfigError(
                        "The connection is given with its options, so they can't stand next to it; "
                        f"received {name}={value!r} next to connection={chosen[0]!r}."
                    )
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
        """The circuit for data of `n_pixels`, checked; see `chain`."""
        return Circuit(**self._parts(n_pixels))

    def wiring(self) -> Circuit:
        """The circuit before the size of the data is known: says which parts there are.

        Options and layers are checked; whether connections fit depends on the number of pixels.
        """
        return Circuit.model_construct(**self._parts(MOST_NEURONS))

    def _parts(self, n_pixels: int) -> dict[str, Any]:
        """The circuit's fields: options in columns, then a layer and a connection from each row."""
        n = len(self.sizes)
        if n < 1:
            raise ConfigError("A chain needs at least one latent layer; received sizes=().")
        # Nothing predicts the top, so g has one value fewer than there are latent layers.
        g = per_layer("prediction_activation", self.prediction_activation, n - 1)
        bias = per_layer("bias", self.bias, n)
        # bias[0] is the data's and the top has none, so latent layers start at bias[1].
        latent: dict[str, list[Any]] = {
            "size": list(self.sizes),
            "activation": per_layer("activation", self.activation, n),
            "prediction_activation": [*g, "identity"],
            "non_negative": per_layer("non_negative", self.non_negative, n),
            "competition": per_layer("competition", self.competition, n),
            "bias": [*bias[1:], False],
        }
        between = {"connection": per_layer("connection", self.connection, n)}
        chosen = {
            # An option such as `winners` may belong to φ or to g of a layer.
            "activation": list(zip(latent["activation"], (*g, "identity"), strict=True)),
            "competition": [(one,) for one in latent["competition"]],
            "connection": [(one,) for one in between["connection"]],
        }
        data = {"size": n_pixels, "likelihood": self.likelihood, "bias": bias[0]}
        data["prediction_activation"] = self._g0
        for name, value in self.part_options.items():
            kind = _kind_of(name)
            if name.startswith(OUTPUT):
                data[name.removeprefix(OUTPUT)] = value
            elif kind == "likelihood":  # the top is not predicted
                latent[name] = [*per_layer(name, value, n - 1), None]
            else:
                column = _spread(name, value, chosen[kind], _takers(name))
                (between if kind == "connection" else latent)[name] = column
        rows = [{name: values[i] for name, values in latent.items()} for i in range(n)]
        joints = [{name: values[i] for name, values in between.items()} for i in range(n)]
        return {
            "layers": (Layer(**data), *(Layer(**row) for row in rows)),
            "connections": tuple(_connection(i, **joint) for i, joint in enumerate(joints)),
            **{name: getattr(self, name) for name in ("compared", "competing", "initial_state")},
        }

    @property
    def _g0(self) -> Any:
        """The activation g of layer 0."""
        if self.output_activation is not None:
            return self.output_activation
        kinds, chosen = registry("likelihood"), self.likelihood
        # An object or table may be given in place of a name; only its class says if data are
        # binary.
        likelihood = kinds.get(chosen) if isinstance(chosen, str) else kinds.make(chosen)
        return "sigmoid" if likelihood.binary else "identity"

    def resolved(self) -> dict[str, Any]:
        """All options that have an effect, the chosen parts' included, with their defaults."""
        values = {name: _plain(name, getattr(self, name)) for name in type(self).model_fields}
        if not any(_all(self.bias)):  # files from before there were biases stay as they are
            del values["bias"]
        chosen = {
            "competition": _all(self.competition),
            "likelihood": ("gaussian", self.likelihood),
            "connection": _all(self.connection),
        }
        for kind, parts in chosen.items():
            for part in (part for part in parts if isinstance(part, str)):
                # Where chosen parts share an option, the first one's default is written.
                entry = registry(kind).get(part)
                for option in options_of(entry):
                    if not entry.model_fields[option].is_required():
                        values.setdefault(option, entry.model_fields[option].default)
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
    """Repeat one value `n` times, or check that a sequence holds `n` values."""
    if isinstance(value, str) or not isinstance(value, list | tuple):
        return [value] * n  # pyright: ignore[reportReturnType]  a str is one value
    if len(value) != n:
        raise ConfigError(
            f"{name} takes one value for all or {n} values, one each; received {len(value)}: "
            f"{list(value)!r}."
        )
    return list(value)


def _spread(name: str, value: Any, chosen: list[tuple[Any, ...]], who: list[str]) -> list[Any]:
    """An option's value for each layer: one value goes to the layers whose part takes it.

    If no layer's does, all get it, and the layer says that the option has no effect.
    """
    values = per_layer(name, value, len(chosen))
    if isinstance(value, list | tuple):
        return values
    takes = [any(part in who for part in parts if isinstance(part, str)) for parts in chosen]
    return [v if t or not any(takes) else None for v, t in zip(values, takes, strict=True)]


def _kind_of(name: str) -> str:
    """The kind of part that takes an option, by the option's name in a chain; '' for none."""
    if name.startswith(OUTPUT) and name.removeprefix(OUTPUT) in takers("likelihood"):
        return "likelihood"
    return next((kind for kind in KINDS if name in takers(kind)), "")


def _takers(name: str) -> list[str]:
    """The parts that take an option; none if nobody knows it."""
    kind = _kind_of(name)
    return takers(kind)[name.removeprefix(OUTPUT)] if kind else []


def _is_default(name: str, value: Any) -> bool:
    """Whether a part's option has its default value, whichever part takes it.

    Chains leave such values out, so that they equal chains in which they were never written.
    """
    entries = [registry(_kind_of(name)).get(part) for part in _takers(name)]
    defaults = [entry.model_fields[name.removeprefix(OUTPUT)].default for entry in entries]
    return isinstance(value, str | int | float) and all(value == one for one in defaults)


def _connection(index: int, /, *, connection: Any, **options: Any) -> Connection:
    """The connection from layer `index` + 1 to the layer below it."""
    place = {"source": index + 1, "target": index}
    if isinstance(connection, Mapping) and WIRING & set(connection):
        raise ConfigError(
            f"A chain decides source and target itself; received connection={connection!r}."
        )
    if not isinstance(connection, str | Mapping | Connection):
        raise ConfigError(
            f"connection takes an object, a name or a table with its 'kind'; received "
            f"{connection!r}."
        )
    given = {"connection": connection, **options}
    made = gather(given, {"connection": "connection"}, {"connection": None}, "a chain")
    part = made["connection"]
    if isinstance(part, Connection):
        # `model_copy` skips validation: the object was validated when it was made.
        return part.model_copy(update=place)
    table = part if isinstance(part, Mapping) else {"kind": part}
    return registry("connection").make({**table, **place})


def _plain(name: str, value: Any) -> Any:
    """A value in JSON's types; parts given as objects become tables."""
    if isinstance(value, tuple):
        return [_plain(name, one) for one in value]
    kind = {**PARTS, "output_activation": "activation", "connection": "connection"}.get(name)
    if kind and (isinstance(value, Part) or callable(value)):
        table = registry(kind).describe(value)
        if kind == "connection":
            # A chain decides source and target itself, so files don't state them.
            return {option: one for option, one in table.items() if option not in WIRING}
        return table
    return value


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,)


reserve("circuit", {*Chain.model_fields, *Layer.model_fields, *Circuit.model_fields})
