"""`Connection`, the description of one connection, and `Synapses`, what `build` makes of it.

A connection predicts its `target` layer from its `source` layer.  It carries the target's errors
back up to the source (Eqs 1, 2, 3 and 15).
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray
from pydantic import Field, model_validator

from gncn.base.description import Part
from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.core.products import Products

Sent = Float[Array, "#batch sending"]
Received = Float[Array, "#batch receiving"]
Rate = Float[Array, ""]
Keys = tuple[PRNGKeyArray, PRNGKeyArray]
"""Random keys of the predictive and of the error synapses."""


class Connection(Part, abc.ABC):
    """Description of a connection.  Methods take the sizes of its two layers.

    Attributes:
        source: index of the layer that predicts.
        target: index of the layer predicted; less than `source`.
    """

    source: int = Field(ge=1)
    target: int = Field(ge=0)

    @model_validator(mode="after")
    def _runs_down(self) -> "Connection":
        if self.source <= self.target:
            raise ConfigError(
                f"predictions run downward, so source must exceed target; received "
                f"source={self.source}, target={self.target}."
            )
        return self

    @property
    def exact(self) -> bool:
        """Whether errors travel up as the exact gradient of ψ, through g' and φ'."""
        return False

    @property
    def learns_feedback(self) -> bool:
        """Whether the connection has error synapses E that learn (Eq 19)."""
        return False

    def check(self, n_source: int, n_target: int) -> None:
        """Refuse layers whose sizes don't suit, by a `ConfigError`."""

    @abc.abstractmethod
    def n_synapses(self, n_source: int, n_target: int) -> int:
        """Numbers that the connection learns or holds fixed, both ways."""

    @abc.abstractmethod
    def build(self, n_source: int, n_target: int, scale: float, keys: Keys) -> "Synapses":
        """Random synapses; `scale` is the standard deviation of the first weights."""


class Synapses(eqx.Module):
    """Built synapses of one connection."""

    @property
    @abc.abstractmethod
    def source(self) -> int:
        """Index of the layer that predicts."""

    @property
    @abc.abstractmethod
    def target(self) -> int:
        """Index of the layer predicted."""

    @abc.abstractmethod
    def predict(self, sent: Sent) -> Received:
        """The drive of the target, W φ(z), from the source's activity (Eqs 1 and 5)."""

    @abc.abstractmethod
    def send_up(self, error: Received) -> Sent:
        """The message to the source, E e, from the target's errors (Eq 3)."""

    @property
    @abc.abstractmethod
    def plastic(self) -> Any:
        """The arrays that the optimiser changes, such as W."""

    @abc.abstractmethod
    def update(self, error: Received, sent: Sent) -> Any:
        """Direction that ascends ψ, of the structure of `plastic` (Eqs 17 and 18).

        Each image's error is weighed by its share in the average; `sent` is φ(z).
        """

    @abc.abstractmethod
    def learned(self, direction: Any, rate: Rate, feedback_rate: Rate) -> "Synapses":
        """The synapses after a step along what the optimiser made of `update`, norms held.

        `rate` is the step of W; `feedback_rate` is λ, the step of E relative to it (Eq 19).
        """

    def matrices(
        self, n_source: int, n_target: int
    ) -> tuple[Float[Array, "source target"], Float[Array, "target source"]]:
        """The matrices of `predict` and `send_up`, for Newton's steps."""
        # The images of unit vectors are the rows of any linear map, however it is stored.
        return self.predict(jnp.eye(n_source)), self.send_up(jnp.eye(n_target))

    def laid_out(self, products: Products) -> "Synapses":
        """The same, laid out for products with factors of this type; by default as it is."""
        return self


CONNECTIONS: Registry[type[Connection]] = Registry("connection", Connection, scope="circuit")
