"""What a network is made of: layers, connections and the kind of feedback.

A `Circuit` is a description without numbers that learning or settling would
change: hashable, comparable, and convertible to and from JSON.  Layer 0 is the
data; layers 1..L are latent.  A `Connection` predicts its `target` layer from its
`source` layer; in the chain of the paper connection l is W^l and predicts layer l
from layer l+1 (Eqs 1 and 5).  Other wirings are other lists of connections: with
``Connection(source=3, target=1)`` added, layer 1 is predicted from layers 2 and 3.

`chain` writes the paper's circuit in one call.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.core.activations import K_WINNERS, resolve_activation

Feedback = Literal["learned", "tied", "transposed", "random"]
Compared = Literal["state", "activity"]
Precision = Literal["off", "diagonal", "full"]
Competition = Literal["none", "columns", "band", "matrix"]
Norm = Literal["off", "unit", "clipped"]
Start = Literal["constant", "amortised"]
Axis = Literal["sending", "receiving"]

MOST_NEURONS = 1 << 24
"""Of a layer: larger numbers are mistakes, or meant to do harm."""

T = TypeVar("T")


class Layer(Description):
    """One layer of neurons.

    Attributes:
        size: number of neurons J_l.
        activation: φ^l, a name or a callable; unused for layer 0, which sends nothing.
        prediction_activation: g^l, applied to what the layers above predict of this one.
        winners: how many neurons survive; for ``k_winners`` as either activation only.
        non_negative: hold the states at or above zero.
        competition: who inhibits whom.  ``columns``: neighbours in groups of
            `group_size`; ``band``: neurons at most `band_width` apart; ``matrix``: a
            mask handed to `build`; ``none``.
        group_size: neurons in a column, K; must divide `size`.
        band_width: how far inhibition reaches on either side, in neurons.
        precision: learn no precision (Σ = I), a diagonal or a full one (Eq 7).
        distribution: of the layer given those above: ``gaussian``, or, for layer 0
            alone, ``bernoulli``.
    """

    size: int = Field(gt=0, le=MOST_NEURONS)
    activation: str | Callable[..., Any] = "relu"
    prediction_activation: str | Callable[..., Any] = "identity"
    winners: int | None = Field(default=None, gt=0)
    non_negative: bool = False
    competition: Competition = "none"
    group_size: int | None = Field(default=None, gt=0)
    band_width: int | None = Field(default=None, gt=0)
    precision: Precision = "off"
    distribution: Literal["gaussian", "bernoulli"] = "gaussian"

    @model_validator(mode="after")
    def _check(self) -> "Layer":
        resolve_activation(self.activation, self.winners)
        resolve_activation(self.prediction_activation, self.winners)
        if self.winners is not None and K_WINNERS not in (
            self.activation,
            self.prediction_activation,
        ):
            raise ValueError(
                f"`winners` is for activation={K_WINNERS!r} or prediction_activation="
                f"{K_WINNERS!r}; received winners={self.winners} with activation="
                f"{self.activation!r}, prediction_activation={self.prediction_activation!r}."
            )
        _needed_together("group_size", self.group_size, "competition", self.competition, "columns")
        _needed_together("band_width", self.band_width, "competition", self.competition, "band")
        if self.winners is not None and self.winners > self.size:
            raise ValueError(f"winners={self.winners} exceeds the layer's {self.size} neurons.")
        if self.group_size is not None and self.size % self.group_size:
            raise ValueError(
                f"a layer of {self.size} neurons can't be divided into columns of "
                f"{self.group_size}; choose a group_size that divides it: {_divisors(self.size)}."
            )
        if self.band_width is not None and self.band_width >= self.size:
            raise ValueError(
                f"band_width={self.band_width} must be less than the layer's {self.size} neurons."
            )
        if self.distribution == "bernoulli":
            if self.prediction_activation != "sigmoid":
                raise ValueError(
                    "a Bernoulli layer needs prediction_activation='sigmoid', for its prediction "
                    f"is a probability (Eq 13); received {self.prediction_activation!r}."
                )
            if self.precision != "off":
                raise ValueError(
                    "a Bernoulli layer has no precision; use precision='off' or "
                    f"distribution='gaussian'; received precision={self.precision!r}."
                )
        return self


def _needed_together(
    option: str, value: object, switch: str, setting: object, needs_it: str
) -> None:
    if (setting == needs_it) != (value is not None):
        verb = "needs" if value is None else "is the only one that takes"
        raise ValueError(
            f"{switch}={needs_it!r} {verb} `{option}`; received {switch}={setting!r}, "
            f"{option}={value!r}."
        )


def _divisors(n: int) -> str:
    small = [k for k in range(1, math.isqrt(n) + 1) if n % k == 0]
    return ", ".join(str(k) for k in sorted({*small, *(n // k for k in small)}))


class Connection(Description):
    """Predictive synapses W from `source` to `target`, with their error synapses E back.

    Attributes:
        source: index of the layer that predicts.
        target: index of the layer predicted; less than `source`.
        norm: hold synapse vectors of W and E to length `max_norm` (``unit``), to at
            most that (``clipped``), or leave them free (``off``).
        max_norm: the Euclidean length; 1 unless given.
        max_feedback_norm: the length for learned E, if it isn't that for W.
        norm_axis: whose synapses make one vector: those that leave one ``sending``
            neuron (columns of W and of E) or arrive at one ``receiving`` one (rows).
    """

    source: int = Field(ge=1)
    target: int = Field(ge=0)
    norm: Norm = "off"
    max_norm: float | None = Field(default=None, gt=0)
    max_feedback_norm: float | None = Field(default=None, gt=0)
    norm_axis: Axis = "sending"

    @model_validator(mode="after")
    def _check(self) -> "Connection":
        if self.source <= self.target:
            raise ValueError(
                f"predictions run downward, so source must exceed target; received "
                f"source={self.source}, target={self.target}."
            )
        lengths = {"max_norm": self.max_norm, "max_feedback_norm": self.max_feedback_norm}
        given = {name: length for name, length in lengths.items() if length is not None}
        if self.norm == "off" and given:
            raise ValueError(
                f"norm='off' holds no length; use norm='unit' or 'clipped'; received {given}."
            )
        return self


class Circuit(Description):
    """Layers, the connections among them, and the rules that all of them share.

    Attributes:
        layers: layer 0 (the data) to layer L (the top).
        connections: what predicts what.  Every layer but those at the top must be
            predicted, and every latent layer must predict some layer.
        feedback: error synapses E are ``learned`` (Eq 19), fixed ``random`` (feedback
            alignment), ``tied`` to W (its transpose takes the place of E, and still no
            derivative is taken) or ``transposed`` (W^T with the derivatives of φ and g,
            the exact gradient of ψ).
        compared: what the error measures against the prediction: the ``state`` z
            (Eq 1) or the ``activity`` φ(z) (the authors' public code).
        competing: what the lateral synapses carry: the ``state`` z (the paper's
            recipe) or the ``activity`` φ(z) (Eq 3).
        initial_state: the value of every latent state before settling.
        start: ``constant``: settling starts from `initial_state` (the paper's recipe);
            ``amortised``: synapses A, beside those of E, carry what the layers below do up
            to where settling is to start, and learn from where it ends (`gncn.core.learning`).
    """

    layers: tuple[Layer, ...] = Field(min_length=2)
    connections: tuple[Connection, ...]
    feedback: Feedback = "learned"
    compared: Compared = "state"
    competing: Compared = "state"
    initial_state: float = 0.0
    start: Start = "constant"

    @model_validator(mode="after")
    def _check(self) -> "Circuit":
        top = len(self.layers) - 1
        pairs = [(c.source, c.target) for c in self.connections]
        for source, target in pairs:
            if source > top:
                raise ValueError(
                    f"a connection leaves layer {source}, but the layers are 0..{top}."
                )
            if pairs.count((source, target)) > 1:
                raise ValueError(f"layer {source} is connected to layer {target} twice.")
        for index in range(top + 1):
            if index > 0 and all(source != index for source, _ in pairs):
                raise ValueError(f"layer {index} predicts no other layer; connect or remove it.")
        if all(target != 0 for _, target in pairs):
            raise ValueError("no connection predicts layer 0, the data.")
        for index, layer in enumerate(self.layers):
            if layer.distribution == "bernoulli" and index > 0:
                raise ValueError(
                    f"layer {index} is latent, and its states are real numbers: only layer 0 can "
                    "be 'bernoulli'."
                )
            if layer.precision != "off" and index not in self.predicted:
                raise ValueError(
                    f"layer {index} is predicted by no other, so it has no error for a precision "
                    f"to weigh; use precision='off'; received {layer.precision!r}."
                )
        if self.feedback != "learned":
            for c in self.connections:
                if c.max_feedback_norm is not None:
                    raise ValueError(
                        "max_feedback_norm holds learned error synapses; received "
                        f"{c.max_feedback_norm} with feedback={self.feedback!r}."
                    )
        data = self.layers[0]
        if data.competition != "none" or data.non_negative:
            raise ValueError("layer 0 is the data: it takes no competition and no non_negative.")
        return self

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
    def has_error_synapses(self) -> bool:
        """Whether errors travel up along synapses E of their own, not along W."""
        return self.feedback in ("learned", "random")

    @property
    def has_precision(self) -> bool:
        """Whether some layer learns a precision."""
        return any(layer.precision != "off" for layer in self.layers)

    @property
    def n_synapses(self) -> int:
        """Adaptable or fixed synapses between neurons: W, E, A and Σ⁻¹ (lateral V not counted)."""
        between = sum(self.sizes[c.source] * self.sizes[c.target] for c in self.connections)
        ways = 1 + self.has_error_synapses + (self.start == "amortised")
        within = {"off": lambda _: 0, "diagonal": lambda j: j, "full": lambda j: j * j}
        return ways * between + sum(within[x.precision](x.size) for x in self.layers)


def chain(
    sizes: Sequence[int],
    *,
    activation: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] = "relu",
    prediction_activation: str | Callable[..., Any] | Sequence[str | Callable[..., Any]] = "relu",
    output_activation: str | Callable[..., Any] | None = None,
    winners: int | Sequence[int | None] | None = None,
    non_negative: bool | Sequence[bool] = False,
    competition: Competition | Sequence[Competition] = "none",
    group_size: int | Sequence[int | None] | None = None,
    band_width: int | Sequence[int | None] | None = None,
    precision: Precision | Sequence[Precision] = "off",
    output_precision: Precision = "off",
    distribution: Literal["bernoulli", "gaussian"] = "bernoulli",
    norm: Norm | Sequence[Norm] = "off",
    max_norm: float | Sequence[float | None] | None = None,
    max_feedback_norm: float | Sequence[float | None] | None = None,
    norm_axis: Axis | Sequence[Axis] = "sending",
    feedback: Feedback = "learned",
    compared: Compared = "state",
    competing: Compared = "state",
    initial_state: float = 0.0,
    start: Start = "constant",
) -> Circuit:
    """Describe the paper's circuit: each layer predicts the one below it.

    An option given once holds for every latent layer (or connection); a sequence
    gives one value each, from the bottom up.

    Args:
        sizes: neurons of layers 0..L, for instance ``(784, 360, 360, 360)``.
        activation: φ of the L latent layers.
        prediction_activation: g of the predicted latent layers, 1..L-1.
        output_activation: g of layer 0; by default ``sigmoid`` for Bernoulli and
            ``identity`` for Gaussian data.
        winners: see `Layer`; L values.
        non_negative: see `Layer`; L values.
        competition: see `Layer`; L values.
        group_size: see `Layer`; L values.
        band_width: see `Layer`; L values.
        precision: of the predicted latent layers, 1..L-1.
        output_precision: of layer 0, for Gaussian data.
        distribution: of the data given layer 1.
        norm: see `Connection`; L values.
        max_norm: see `Connection`; L values.
        max_feedback_norm: see `Connection`; L values.
        norm_axis: see `Connection`; L values.
        feedback: see `Circuit`.
        compared: see `Circuit`.
        competing: see `Circuit`.
        initial_state: see `Circuit`.
        start: see `Circuit`.

    Returns:
        The circuit, checked.

    Raises:
        ConfigError: an option's value, length or combination isn't allowed.
    """
    if len(sizes) < 2:
        raise ConfigError(
            f"A chain needs the data's size and at least one latent layer; received {sizes!r}."
        )
    n = len(sizes) - 1
    if output_activation is None:
        output_activation = "sigmoid" if distribution == "bernoulli" else "identity"
    predictions = [*per_layer("prediction_activation", prediction_activation, n - 1), "identity"]
    precisions = [*per_layer("precision", precision, n - 1), "off"]
    options = {
        "size": sizes[1:],
        "activation": per_layer("activation", activation, n),
        "prediction_activation": predictions,
        "winners": per_layer("winners", winners, n),
        "non_negative": per_layer("non_negative", non_negative, n),
        "competition": per_layer("competition", competition, n),
        "group_size": per_layer("group_size", group_size, n),
        "band_width": per_layer("band_width", band_width, n),
        "precision": precisions,
    }
    bottom = Layer(
        size=sizes[0],
        prediction_activation=output_activation,
        precision=output_precision,
        distribution=distribution,
    )
    norms: list[Norm] = per_layer("norm", norm, n)
    lengths = per_layer("max_norm", max_norm, n)
    feedback_lengths = per_layer("max_feedback_norm", max_feedback_norm, n)
    axes: list[Axis] = per_layer("norm_axis", norm_axis, n)
    return Circuit(
        layers=(
            bottom,
            *(Layer(**{name: values[i] for name, values in options.items()}) for i in range(n)),
        ),
        connections=tuple(
            Connection(
                source=i + 1,
                target=i,
                norm=norms[i],
                max_norm=lengths[i],
                max_feedback_norm=feedback_lengths[i],
                norm_axis=axes[i],
            )
            for i in range(n)
        ),
        feedback=feedback,
        compared=compared,
        competing=competing,
        initial_state=initial_state,
        start=start,
    )


def per_layer(name: str, value: T | Sequence[T], n: int) -> list[T]:
    """Repeat one value `n` times, or check that a sequence holds `n` values.

    Raises:
        ConfigError: the sequence has another length.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        return [value] * n  # pyright: ignore[reportReturnType]  a str is one value
    if len(value) != n:
        raise ConfigError(
            f"{name} takes one value for all or {n} values, one each; received {len(value)}: "
            f"{list(value)!r}."
        )
    return list(value)
