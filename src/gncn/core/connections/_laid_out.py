"""Dense synapses laid out for settling's products: the same maths, faster."""

from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gncn.core.connections.base import Received, Sent, Synapses
from gncn.core.products import Products, product


class Factor(eqx.Module):
    """The right-hand factor of a product: a matrix, or one that is read as its transpose."""

    stored: Float[Array, "rows columns"]
    flip: bool = eqx.field(static=True)

    @property
    def matrix(self) -> Float[Array, "sending receiving"]:
        """The factor.  A product of single precision takes a transpose as it stands."""
        return self.stored.T if self.flip else self.stored


class LaidOut(Synapses):
    """A dense connection while states settle.

    Attributes:
        synapses: the connection as it learns.
        down: W^T.
        up: E^T, or W in its place.
        own_feedback: whether there is an E.
    """

    synapses: Synapses
    down: Factor
    up: Factor
    own_feedback: bool = eqx.field(static=True)

    @property
    def source(self) -> int:
        return self.synapses.source

    @property
    def target(self) -> int:
        return self.synapses.target

    def predict(self, sent: Sent) -> Received:
        return product(sent, self.down.matrix)

    def send_up(self, error: Received) -> Sent:
        return product(error, self.up.matrix)

    def matrices(
        self, n_source: int, n_target: int
    ) -> tuple[Float[Array, "source target"], Float[Array, "target source"]]:
        """W^T and E^T as they are stored."""
        down = self.down.matrix
        return down, self.up.matrix if self.own_feedback else down.T

    @property
    def plastic(self) -> Any:
        return self.synapses.plastic

    def update(self, error: Received, sent: Sent) -> Any:
        return self.synapses.update(error, sent)

    def learned(
        self, direction: Any, rate: Float[Array, ""], feedback_rate: Float[Array, ""]
    ) -> Synapses:
        return self.synapses.learned(direction, rate, feedback_rate)


def lay_out(
    synapses: Synapses,
    forward: Float[Array, "target source"],
    feedback: Float[Array, "source target"] | None,
    products: Products,
) -> LaidOut:
    """Lay weights out for products.

    Single precision takes W and E as they are stored, since it costs more to transpose them
    than it saves.  In bfloat16 stored transposes save half the time.  Without E, one
    transpose of W serves both ways, so a processor's caches hold it once.

    Args:
        synapses: the connection.
        forward: W.
        feedback: E; None if W^T takes its place.
        products: type of the factors.
    """
    dtype = jnp.dtype(products)
    single = dtype == jnp.float32

    def transposed(weights: Float[Array, "rows columns"]) -> Factor:
        return Factor(weights if single else weights.T.astype(dtype), flip=single)

    if feedback is not None:
        down, up = transposed(forward), transposed(feedback)
    else:
        laid = forward.T.astype(dtype)
        down = Factor(laid, flip=False)
        up = Factor(laid if single else forward.astype(dtype), flip=single)
    # Without the barrier the compiler may lay the weights out again in every step.
    down, up = lax.optimization_barrier((down, up))
    return LaidOut(synapses, down, up, feedback is not None)
