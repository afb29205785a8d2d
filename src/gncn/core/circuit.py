"""The parts of a network: layers, connections, and the rules that all of them share.

A `Circuit` is a description without arrays: hashable, comparable, and convertible to and
from JSON.  Layer 0 is the data; layers 1..L are latent.  A connection predicts its `target`
layer from its `source` layer.  In the chain of the paper connection l is W^l, which predicts
layer l from layer l+1 (Eqs 1 and 5).  Other wirings are other lists of connections: with
``Dense(source=3, target=1)`` added, layer 1 is predicted from layers 2 and 3.

`gncn.core.chain` writes the paper's circuit in one call.
"""

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, model_serializer, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.activations import ACTIVATIONS, Activation, check_activation
from gncn.core.competition import COMPETITIONS, Competition, NoCompetition
from gncn.core.connections.base import CONNECTIONS, Connection
from gncn.core.flat import defaults_of, gather
from gncn.core.likelihood import LIKELIHOODS, Gaussian, Likelihood
from gncn.core.picture import svg, words

Compared = Literal["state", "activity"]

MOST_NEURONS = 1 << 24
"""The largest layer: larger numbers are mistakes, or meant to do harm."""

MOST_LAYERS, MOST_CONNECTIONS = 1_000, 4_000
"""More are mistakes, too; settling is compiled layer by layer."""

PARTS = {
    "activation": "activation",
    "prediction_activation": "activation",
    "competition": "competition",
    "likelihood": "likelihood",
}
"""The fields of a layer that hold parts, and their kinds."""


def named(parts: Registry[Any]) -> tuple[BeforeValidator, PlainSerializer]:
    """Annotations that let a field take a part by its name, and write it so."""
    return BeforeValidator(parts.make), PlainSerializer(parts.describe)


class Layer(Description):
    """One layer of neurons.

    Options of parts may stand next to the part's name: ``competition="columns",
    group_size=8`` is ``competition=Columns(group_size=8)``.

    Attributes:
        size: number of neurons J_l.
        activation: φ^l, a name, a part or a callable; unused for layer 0, which sends
            nothing.
        prediction_activation: g^l, applied to what the layers above predict of this one.
        non_negative: hold the states at or above zero.
        competition: who inhibits whom (``none``, ``columns``, ``band``, ``matrix``, ...).
        likelihood: of the layer given those above (``gaussian``, or ``bernoulli`` for the
            data).
        bias: learn a bias b, which is added to what the layers above predict of this one.
    """

    size: int = Field(gt=0, le=MOST_NEURONS)
    activation: Annotated[Any, *named(ACTIVATIONS)] = "relu"
    prediction_activation: Annotated[Any, *named(ACTIVATIONS)] = "identity"
    non_negative: bool = False
    competition: Annotated[Competition, *named(COMPETITIONS)] = NoCompetition()
    likelihood: Annotated[Likelihood, *named(LIKELIHOODS)] = Gaussian()
    bias: bool = False

    @model_validator(mode="before")
    @classmethod
    def _gather(cls, options: Any) -> Any:
        defaults = defaults_of(cls) | {"competition": "none", "likelihood": "gaussian"}
        # Anything but a table is left to Pydantic, whose message names the types allowed.
        return gather(options, PARTS, defaults, "Layer") if isinstance(options, dict) else options

    @model_validator(mode="after")
    def _check(self) -> "Layer":
        for activation in (self.activation, self.prediction_activation):
            winners = getattr(activation, "winners", 0)
            if winners > self.size:
                raise ConfigError(f"winners={winners} exceeds the layer's {self.size} neurons.")
            check_activation(activation, self.size)
        self.competition.check(self.size)
        self.likelihood.check(self.prediction_activation)
        return self

    @model_serializer(mode="wrap")
    def _written(self, write: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
        """All options, `bias` only if on: files from before there was one stay as they are."""
        values = write(self)
        return values if self.bias else {n: v for n, v in values.items() if n != "bias"}

    @property
    def phi(self) -> Activation:
        """φ as a function."""
        return ACTIVATIONS.resolve(self.activation)

    @property
    def competes(self) -> bool:
        """Whether its neurons inhibit each other."""
        return not isinstance(self.competition, NoCompetition)


class Circuit(Description):
    """Layers, the connections among them, and the rules that all of them share.

    Attributes:
        layers: layer 0 (the data) to layer L (the top).
        connections: what predicts what.  Every latent layer must predict some layer, and
            some layer must predict the data.
        compared: what the error measures against the prediction: the ``state`` z (Eq 1) or
            the ``activity`` φ(z) (the authors' public code).
        competing: what the lateral synapses carry: the ``state`` z (the paper's recipe) or
            the ``activity`` φ(z) (Eq 3).
        initial_state: the value of every latent state before settling.
    """

    layers: tuple[Layer, ...] = Field(min_length=2, max_length=MOST_LAYERS)
    connections: tuple[Annotated[Connection, *named(CONNECTIONS)], ...] = Field(
        max_length=MOST_CONNECTIONS
    )
    compared: Compared = "state"
    competing: Compared = "state"
    initial_state: float = 0.0

    @model_validator(mode="after")
    def _check(self) -> "Circuit":
        top = len(self.layers) - 1
        # Rules of the wiring come first: the checks of connections look up layers by index.
        pairs = [(c.source, c.target) for c in self.connections]
        for source, target in pairs:
            if source > top:
                raise ConfigError(
                    f"a connection leaves layer {source}, but the layers are 0..{top}."
                )
            if pairs.count((source, target)) > 1:
                raise ConfigError(f"layer {source} is connected to layer {target} twice.")
        for index in range(1, top + 1):
            if all(source != index for source, _ in pairs):
                raise ConfigError(f"layer {index} predicts no other layer; connect or remove it.")
        for connection in self.connections:
            connection.check(self.sizes[connection.source], self.sizes[connection.target])
        self._check_layers()
        if len({connection.exact for connection in self.connections}) > 1:
            raise ConfigError(
                "feedback='exact' is the gradient of ψ only if every connection has it; received "
                "it for some."
            )
        return self

    def _check_layers(self) -> None:
        for index, layer in enumerate(self.layers):
            if layer.likelihood.binary and index > 0:
                raise ConfigError(
                    f"layer {index} is latent, and its states are real numbers: only layer 0 can "
                    "be 'bernoulli'."
                )
            if layer.likelihood.learns and index not in self.predicted:
                raise ConfigError(
                    f"layer {index} is predicted by no other, so it has no error for a precision "
                    f"to weigh; use precision='off'; received {layer.likelihood!r}."
                )
            if layer.bias and index not in self.predicted:
                raise ConfigError(
                    f"layer {index} is predicted by no other, so it has no prediction to which a "
                    "bias is added; use bias=False; received bias=True."
                )
        # Both act on states that settle, and the data don't.
        if self.layers[0].competes or self.layers[0].non_negative:
            raise ConfigError("layer 0 is the data: it takes no competition and no non_negative.")

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of neurons of every layer, layer 0 first."""
        return tuple(layer.size for layer in self.layers)

    @property
    def n_latent(self) -> int:
        """Number of latent layers, L."""
        return len(self.layers) - 1

    @property
    def predicted(self) -> tuple[int, ...]:
        """Indices of the layers that some connection predicts, in ascending order."""
        return tuple(sorted({connection.target for connection in self.connections}))

    @property
    def exact(self) -> bool:
        """Whether settling climbs the exact gradient of ψ."""
        # `_check` makes all connections agree, so the first one speaks for all.
        return self.connections[0].exact

    @property
    def learns_feedback(self) -> bool:
        """Whether some connection has error synapses that learn."""
        return any(connection.learns_feedback for connection in self.connections)

    @property
    def learns_precision(self) -> bool:
        """Whether some layer learns a precision."""
        return any(layer.likelihood.learns for layer in self.layers)

    @property
    def competes(self) -> bool:
        """Whether some layer has competition."""
        return any(layer.competes for layer in self.layers)

    @property
    def binary(self) -> bool:
        """Whether the data are binary."""
        return self.layers[0].likelihood.binary

    @property
    def n_synapses(self) -> int:
        """Adaptable or fixed synapses of neurons: W, E, Σ⁻¹ and b (lateral V not counted)."""
        between = sum(
            c.n_synapses(self.sizes[c.source], self.sizes[c.target]) for c in self.connections
        )
        within = (one.likelihood.n_synapses(one.size) + one.bias * one.size for one in self.layers)
        return between + sum(within)

    def describe(self) -> dict[str, Any]:
        """The circuit as plain values, from which ``Circuit(**values)`` makes it again."""
        return self.resolved()

    def svg(self) -> str:
        """Draw the circuit, as notebooks show it; a file with this text is a picture.

        Boxes are layers, from the top down to the data.  Predictions run down, errors up.
        """
        return svg(self)

    # Notebooks look for an attribute of this name.
    _repr_svg_ = svg

    def __str__(self) -> str:
        return f"Circuit of {words(self)}"
