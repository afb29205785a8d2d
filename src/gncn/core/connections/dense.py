"""Dense connections: every neuron of one layer to every neuron of another (Eqs 1, 15 to 19).

    predict   W φ(z)              ΔW = e φ(z)^T           (Eqs 17, 18)
    send_up   E e                 ΔE = λ φ(z) e^T         (Eq 19; λ times the transpose of ΔW)

After every update the synapse vectors are held to their length (Methods).
"""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, model_validator

from gncn.base.errors import ConfigError, unknown_choice
from gncn.core.connections._laid_out import lay_out
from gncn.core.connections.base import CONNECTIONS, Connection, Received, Sent, Synapses
from gncn.core.connections.feedback import (
    FEEDBACKS,
    Exact,
    Feedback,
    FeedbackName,
    Learned,
    Random,
    Tied,
)
from gncn.core.products import Products, product


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

    feedback: FeedbackName = "learned"
    norm: Literal["off", "unit", "clipped"] = "off"
    max_norm: float | None = Field(default=None, gt=0)
    max_feedback_norm: float | None = Field(default=None, gt=0)
    norm_axis: Literal["sending", "receiving"] = "sending"

    @model_validator(mode="before")
    @classmethod
    def _feedback_known(cls, options: Any) -> Any:
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
        ways = 2 if self.feedback in ("learned", "random") else 1
        return ways * n_source * n_target

    def build(
        self,
        n_source: int,
        n_target: int,
        scale: float,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
    ) -> "DenseSynapses":
        """Normal weights, held to their norms."""
        forward = scale * jax.random.normal(keys[0], (n_target, n_source))
        feedback: Feedback = Exact() if self.feedback == "exact" else Tied()
        if self.feedback in ("learned", "random"):
            weights = scale * jax.random.normal(keys[1], (n_source, n_target))
            feedback = Learned(weights) if self.feedback == "learned" else Random(weights)
        return DenseSynapses(self, forward, feedback).held()


class DenseSynapses(Synapses):
    """A dense connection with its weights.

    Attributes:
        description: source, target, norms.
        forward: W, shape (target, source).
        feedback: how errors travel up.
    """

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
        return self.feedback.send_up(error, self.forward)

    @property
    def plastic(self) -> Float[Array, "target source"]:
        """W; E follows it."""
        return self.forward

    def update(self, error: Received, sent: Sent) -> Float[Array, "target source"]:
        """ΔW = e φ(z)^T (Eqs 17 and 18)."""
        return product(error.T, sent)

    def learned(
        self,
        direction: Float[Array, "target source"],
        rate: Float[Array, ""],
        feedback_rate: Float[Array, ""],
    ) -> "DenseSynapses":
        forward = self.forward + rate * direction
        feedback = self.feedback.learned(feedback_rate * rate * direction)
        return DenseSynapses(self.description, forward, feedback).held()

    def held(self) -> "DenseSynapses":
        """Synapse vectors at their length, or at most at it (Methods)."""
        norms = self.description
        if norms.norm == "off":
            return self
        length = 1.0 if norms.max_norm is None else norms.max_norm
        back = length if norms.max_feedback_norm is None else norms.max_feedback_norm
        feedback = self.feedback.held(lambda weights: _hold(weights, norms, back))
        return DenseSynapses(norms, _hold(self.forward, norms, length), feedback)

    def laid_out(self, products: Products) -> Synapses:
        own = self.feedback
        back = own.weights if isinstance(own, Learned | Random) else None
        return lay_out(self, self.forward, back, products)


def _hold(
    weights: Float[Array, "receiving sending"], norms: Dense, length: float
) -> Float[Array, "receiving sending"]:
    """Scale synapse vectors to a length, or only those that exceed it."""
    axis = {"sending": 0, "receiving": 1}[norms.norm_axis]
    found = jnp.sqrt(jnp.sum(weights**2, axis=axis, keepdims=True))
    scale = length / jnp.maximum(found, jnp.finfo(weights.dtype).tiny)
    return weights * (jnp.minimum(scale, 1.0) if norms.norm == "clipped" else scale)


CONNECTIONS.register("dense", Dense)
