"""Dense connections: every neuron of one layer to every neuron of another (Eqs 1, 15 to 19).

    predict   W φ(z)              ΔW = e φ(z)^T           (Eqs 17, 18)
    send_up   E e                 ΔE = λ φ(z) e^T         (Eq 19; λ times the transpose of ΔW)

After every update the synapse vectors are held to their length (Methods).  Errors travel up by

==========  ==============================================================================
`Learned`   E of its own, learned by Eq 19
`Random`    E of its own, fixed (feedback alignment)
`Tied`      E = W^T, and no derivative of φ or g is taken
`Exact`     W^T with the derivatives of φ and g: the exact gradient of ψ
==========  ==============================================================================
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float
from pydantic import Field, model_validator

from gncn.base.errors import ConfigError, unknown_choice
from gncn.core.connections.base import (
    CONNECTIONS,
    Connection,
    Keys,
    Rate,
    Received,
    Sent,
    Synapses,
)
from gncn.core.products import Products, product

FEEDBACKS = ("learned", "tied", "exact", "random")

Forward = Float[Array, "target source"]
Weights = Float[Array, "receiving sending"]


class Dense(Connection):
    """Predictive synapses W from `source` to `target`, with error synapses E back.

    Attributes:
        feedback: error synapses are ``learned`` (Eq 19), fixed ``random`` ones, ``tied``
            to W (no derivative is taken), or the ``exact`` gradient of ψ.
        norm: hold synapse vectors of W and E to length `max_norm` (``unit``), to at most
            that (``clipped``), or leave them free (``off``).
        max_norm: the Euclidean length; 1 unless given.
        max_feedback_norm: the length for learned E, if it differs from W's.
        norm_axis: whose synapses make one vector: those that leave one ``sending`` neuron
            (columns of W and of E), or those that arrive at one ``receiving`` neuron (rows).
    """

    feedback: Literal["learned", "tied", "exact", "random"] = "learned"
    norm: Literal["off", "unit", "clipped"] = "off"
    max_norm: float | None = Field(default=None, gt=0)
    max_feedback_norm: float | None = Field(default=None, gt=0)
    norm_axis: Literal["sending", "receiving"] = "sending"

    @model_validator(mode="before")
    @classmethod
    def _feedback_known(cls, options: Any) -> Any:
        # Asked before Pydantic does, since this message also suggests the closest name.
        feedback = options.get("feedback", "learned") if isinstance(options, dict) else "learned"
        if feedback not in FEEDBACKS:
            raise unknown_choice("feedback", feedback, FEEDBACKS)
        return options

    @model_validator(mode="after")
    def _lengths_matter(self) -> "Dense":
        lengths = {"max_norm": self.max_norm, "max_feedback_norm": self.max_feedback_norm}
        given = {name: length for name, length in lengths.items() if length is not None}
        if self.norm == "off" and given:
            raise ConfigError(
                f"norm='off' holds no length; use norm='unit' or 'clipped'; received {given}."
            )
        if self.max_feedback_norm is not None and not self.learns_feedback:
            raise ConfigError(
                "max_feedback_norm holds learned error synapses; received "
                f"{self.max_feedback_norm} with feedback={self.feedback!r}."
            )
        return self

    @property
    def exact(self) -> bool:
        return self.feedback == "exact"

    @property
    def learns_feedback(self) -> bool:
        return self.feedback == "learned"

    def n_synapses(self, n_source: int, n_target: int) -> int:
        """W, and E if there is one."""
        return (2 if self.feedback in ("learned", "random") else 1) * n_source * n_target

    def build(self, n_source: int, n_target: int, scale: float, keys: Keys) -> "DenseSynapses":
        """Normal weights, held to their norms."""
        forward = scale * jax.random.normal(keys[0], (n_target, n_source), jnp.float32)
        feedback: Feedback = Exact() if self.feedback == "exact" else Tied()
        if self.feedback in ("learned", "random"):
            weights = scale * jax.random.normal(keys[1], (n_source, n_target), jnp.float32)
            feedback = Learned(weights) if self.feedback == "learned" else Random(weights)
        return DenseSynapses(self, forward, feedback).held()


class Feedback(eqx.Module):
    """How a connection sends errors up; by default through W, and nothing is learned."""

    def transposed(self, forward: Forward) -> Forward:
        """E^T, or W in its place."""
        return forward

    def learned(self, step: Forward) -> "Feedback":
        """The feedback after a step of λ times W's."""
        return self


class Learned(Feedback):
    """Error synapses E that learn."""

    weights: Float[Array, "*trials source target"]

    def transposed(self, forward: Forward) -> Forward:
        return self.weights.T

    def learned(self, step: Forward) -> "Learned":
        """ΔE is the transpose of ΔW, times λ (Eq 19)."""
        return Learned(self.weights + step.T)


class Random(Feedback):
    """Error synapses E that stay as they are."""

    weights: Float[Array, "*trials source target"]

    def transposed(self, forward: Forward) -> Forward:
        return self.weights.T


class Tied(Feedback):
    """W^T in place of E; no derivatives."""


class Exact(Feedback):
    """W^T in place of E; the network multiplies by g' before and by φ' after."""


class DenseSynapses(Synapses):
    """A dense connection with its weights; `forward` is W."""

    description: Dense = eqx.field(static=True)
    forward: Float[Array, "*trials target source"]
    feedback: Feedback

    @property
    def source(self) -> int:
        return self.description.source

    @property
    def target(self) -> int:
        return self.description.target

    def predict(self, sent: Sent) -> Received:
        """W φ(z)."""
        return product(sent, self.forward.T)

    def send_up(self, error: Received) -> Sent:
        """E e."""
        return product(error, self.feedback.transposed(self.forward))

    @property
    def plastic(self) -> Forward:
        """W; E follows it."""
        return self.forward

    def update(self, error: Received, sent: Sent) -> Forward:
        """ΔW = e φ(z)^T (Eqs 17 and 18)."""
        return product(error.T, sent)

    def learned(self, direction: Forward, rate: Rate, feedback_rate: Rate) -> "DenseSynapses":
        forward = self.forward + rate * direction
        feedback = self.feedback.learned(feedback_rate * rate * direction)
        return DenseSynapses(self.description, forward, feedback).held()

    def held(self) -> "DenseSynapses":
        """Synapse vectors at their length, or at most at it (Methods)."""
        norms = self.description
        if norms.norm == "off":
            return self
        feedback, length = self.feedback, 1.0 if norms.max_norm is None else norms.max_norm
        # Fixed random synapses keep the lengths that they were drawn with.
        if isinstance(feedback, Learned):
            back = length if norms.max_feedback_norm is None else norms.max_feedback_norm
            feedback = Learned(_hold(feedback.weights, norms, back))
        return DenseSynapses(norms, _hold(self.forward, norms, length), feedback)

    def laid_out(self, products: Products) -> "LaidOut":
        """The weights as products take them.

        Single precision takes W and E as they are stored, since it costs more to transpose
        them than it saves.  In bfloat16 stored transposes save half the time.  Without E, one
        transpose of W serves both ways, so a processor's caches hold it once.
        """
        dtype = jnp.dtype(products)
        single = dtype == jnp.float32

        def transposed(weights: Weights) -> _Factor:
            return _Factor(weights if single else weights.T.astype(dtype), flip=single)

        if isinstance(self.feedback, Learned | Random):
            down, up = transposed(self.forward), transposed(self.feedback.weights)
        else:
            laid = self.forward.T.astype(dtype)
            down = _Factor(laid, flip=False)
            up = _Factor(laid if single else self.forward.astype(dtype), flip=single)
        # Without the barrier the compiler may lay the weights out again in every step.
        down, up = lax.optimization_barrier((down, up))
        return LaidOut(self.description, self.forward, self.feedback, down, up)


class _Factor(eqx.Module):
    """The right-hand factor of a product: a matrix, or one that is read as its transpose."""

    stored: Float[Array, "rows columns"]
    flip: bool = eqx.field(static=True)

    @property
    def matrix(self) -> Float[Array, "sending receiving"]:
        """The factor.  A product of single precision takes a transpose as it stands."""
        return self.stored.T if self.flip else self.stored


class LaidOut(DenseSynapses):
    """A dense connection while states settle, faster: `down` is W^T, `up` E^T or W."""

    down: _Factor
    up: _Factor

    def predict(self, sent: Sent) -> Received:
        return product(sent, self.down.matrix)

    def send_up(self, error: Received) -> Sent:
        return product(error, self.up.matrix)

    def matrices(
        self, n_source: int, n_target: int
    ) -> tuple[Float[Array, "source target"], Float[Array, "target source"]]:
        down = self.down.matrix
        own = isinstance(self.feedback, Learned | Random)
        # Without E, W serves both ways.
        return down, self.up.matrix if own else down.T


def _hold(weights: Weights, norms: Dense, length: float) -> Weights:
    """Scale synapse vectors to a length, or only those that exceed it."""
    # Rows are receiving neurons, columns sending ones; the sum runs over the other axis.
    axis = {"sending": 0, "receiving": 1}[norms.norm_axis]
    found = jnp.sqrt(jnp.sum(weights**2, axis=axis, keepdims=True))
    # `tiny` keeps a vector of zeros at zero, without a division by zero.
    scale = length / jnp.maximum(found, jnp.finfo(weights.dtype).tiny)
    return weights * (jnp.minimum(scale, 1.0) if norms.norm == "clipped" else scale)


CONNECTIONS.register("dense", Dense)
