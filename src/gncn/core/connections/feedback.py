"""How errors travel up: the error synapses E of a dense connection (Eqs 2, 3 and 19).

==========  ==============================================================================
`Learned`   E of its own, learned by ΔE = λ φ(z) e^T, the transpose of ΔW (Eq 19)
`Random`    E of its own, fixed (feedback alignment)
`Tied`      E = W^T, and no derivative of φ or g is taken
`Exact`     W^T with the derivatives of φ and g: the exact gradient of ψ
==========  ==============================================================================
"""

import abc
from collections.abc import Callable
from typing import Literal, get_args

import equinox as eqx
from jaxtyping import Array, Float

from gncn.core.products import product

FeedbackName = Literal["learned", "tied", "exact", "random"]
FEEDBACKS: tuple[FeedbackName, ...] = get_args(FeedbackName)

Weights = Float[Array, "*trials receiving sending"]
Forward = Float[Array, "target source"]
Error = Float[Array, "#batch target"]
Message = Float[Array, "#batch source"]


class Feedback(eqx.Module):
    """How a connection sends errors up."""

    @abc.abstractmethod
    def send_up(self, error: Error, forward: Forward) -> Message:
        """E e, from the target's errors and W."""

    def learned(self, step: Forward) -> "Feedback":
        """The feedback after a step of λ times W's; by default the same."""
        return self

    def held(self, hold: Callable[[Weights], Weights]) -> "Feedback":
        """The feedback with learned synapse vectors held to their length; by default the same."""
        return self


class Learned(Feedback):
    """Error synapses that learn.

    Attributes:
        weights: E, shape (source, target).
    """

    weights: Float[Array, "*trials source target"]

    def send_up(self, error: Error, forward: Forward) -> Message:
        return product(error, self.weights.T)

    def learned(self, step: Forward) -> "Learned":
        """ΔE is the transpose of ΔW, times λ (Eq 19)."""
        return Learned(self.weights + step.T)

    def held(self, hold: Callable[[Weights], Weights]) -> "Learned":
        return Learned(hold(self.weights))


class Random(Feedback):
    """Error synapses that stay as they are.

    Attributes:
        weights: E, shape (source, target).
    """

    weights: Float[Array, "*trials source target"]

    def send_up(self, error: Error, forward: Forward) -> Message:
        return product(error, self.weights.T)


class Tied(Feedback):
    """W^T in place of E; no derivatives."""

    def send_up(self, error: Error, forward: Forward) -> Message:
        return product(error, forward)


class Exact(Feedback):
    """W^T in place of E; the network multiplies by g' before and by φ' after."""

    def send_up(self, error: Error, forward: Forward) -> Message:
        return product(error, forward)
