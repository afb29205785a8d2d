"""`Connection`, the description of one connection, and `Synapses`, what `build` makes of it.

A connection predicts its `target` layer from its `source` layer, and carries the target's
errors back up to the source (Eqs 1, 2, 3 and 15).
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


class Connection(Part, abc.ABC):
    """Description of a connection.

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
        """Refuse layers whose sizes don't suit.

        Raises:
            ConfigError: they don't.
        """

    @abc.abstractmethod
    def n_synapses(self, n_source: int, n_target: int) -> int:
        """Numbers that the connection learns or holds fixed, both ways."""

    @abc.abstractmethod
    def build(
        self,
        n_source: int,
        n_target: int,
        scale: float,
        keys: tuple[PRNGKeyArray, PRNGKeyArray],
    ) -> "Synapses":
        """Random synapses.

        Args:
            n_source: neurons of the layer that predicts.
            n_target: neurons of the layer predicted.
            scale: standard deviation of the first weights.
            keys: one for the predictive synapses, one for the error synapses.
        """


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

        Args:
            error: the target's errors, each image's times its share in the average.
            sent: the source's activity φ(z).
        """

    @abc.abstractmethod
    def learned(
        self, direction: Any, rate: Float[Array, ""], feedback_rate: Float[Array, ""]
    ) -> "Synapses":
        """The synapses after a step, held to their norms.

        Args:
            direction: what the optimiser made of `update`.
            rate: step of W.
            feedback_rate: λ, the step of E relative to that of W (Eq 19).
        """

    def held(self) -> "Synapses":
        """The synapses with vectors held to their norms; by default as they are."""
        return self

    def matrices(
        self, n_source: int, n_target: int
    ) -> tuple[Float[Array, "source target"], Float[Array, "target source"]]:
        """What `predict` and `send_up` multiply by, for Newton's steps.

        Args:
            n_source: neurons of the source.
            n_target: neurons of the target.
        """
        return self.predict(jnp.eye(n_source)), self.send_up(jnp.eye(n_target))

    def laid_out(self, products: Products) -> "Synapses":
        """The same connection, its weights as settling's products take them.

        Args:
            products: type of the factors.  By default the synapses stay as they are.
        """
        return self


CONNECTIONS: Registry[type[Connection]] = Registry("connection", Connection, scope="circuit")
