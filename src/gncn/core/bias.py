"""Biases of predictions: the prediction of a layer when no neuron above it is active.

    h^l = Σ W φ(z) + b^l        Δb^l = e^l

b^l is the synapse of a neuron that always sends 1, so Δb^l is Eq 17 with 1 in place of φ(z).  The
paper has no biases, and a layer has one on request only (`gncn.Layer.bias`).
"""

import abc
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.core.precision import Rate, Units


class Bias(eqx.Module):
    """A term that is added to the drive of one layer."""

    @abc.abstractmethod
    def added(self, drive: Units) -> Units:
        """The drive with the bias, h + b."""

    @property
    def plastic(self) -> Any:
        """The arrays that the optimiser changes; by default none."""
        return ()

    def update(self, error: Units) -> Any:
        """Direction that ascends ψ, of the structure of `plastic`.

        Each image's error is weighed by its share in the average.
        """
        return ()

    def learned(self, direction: Any, rate: Rate) -> "Bias":
        """The bias after a step along what the optimiser made of `update`."""
        return self


class NoBias(Bias):
    """Nothing is added, and nothing is learned."""

    def added(self, drive: Units) -> Units:
        return drive


class LearnedBias(Bias):
    """A learned b, one number for each neuron.  It starts at 0, and no norm holds it."""

    values: Float[Array, "*trials units"]

    def added(self, drive: Units) -> Units:
        return drive + self.values[None, :]

    @property
    def plastic(self) -> Float[Array, "*trials units"]:
        return self.values

    def update(self, error: Units) -> Float[Array, " units"]:
        """Δb = e, averaged over the mini-batch."""
        # Each image's share is in its error already, so the sum is the average.
        return jnp.sum(error, axis=0)

    def learned(self, direction: Float[Array, " units"], rate: Rate) -> "LearnedBias":
        return LearnedBias(self.values + rate * direction)
