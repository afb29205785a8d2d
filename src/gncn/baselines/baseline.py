"""`Baseline`: a model trained by backprop, its layers, and the objectives that it descends.

An `Objective` is a loss and the parts of the model that descend it.  Most models have one; the
adversarial autoencoder has three, which take turns on each mini-batch (Eqs 23, 24 and 25).
"""

import abc
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.arrays import NO_CLASS
from gncn.base.errors import DataError
from gncn.baselines.blueprint import Blueprint
from gncn.data import Dataset
from gncn.training.epochs import Batch, Monitored, Statistics
from gncn.training.history import ErrorName


class Dense(eqx.Module):
    """Layers of neurons, each a linear map of the one below, with ReLU between.

        ẑ^l = max(0, E^l ẑ^{l-1} + b^l),    the last layer linear

    The paper's encoders and decoders (above Eq 20), with biases, which it doesn't mention.

    Attributes:
        weights: of each layer, from the units below (rows) to its own (columns).
        biases: of each layer.
    """

    weights: tuple[Float[Array, "_below _above"], ...]
    biases: tuple[Float[Array, " _above"], ...]

    def layers(self, x: Float[Array, "batch below"]) -> list[Float[Array, "batch _units"]]:
        """Activities of every layer, from the first above `x` to the linear last."""
        found = []
        for number, (weights, bias) in enumerate(zip(self.weights, self.biases, strict=True), 1):
            drive = x @ weights + bias[None, :]
            # Only the last layer is linear: a decoder's logits and a code may be negative.
            x = drive if number == len(self.weights) else jax.nn.relu(drive)
            found.append(x)
        return found

    def __call__(self, x: Float[Array, "batch below"]) -> Float[Array, "batch above"]:
        """The linear last layer."""
        return self.layers(x)[-1]

    def squared_norm(self) -> Float[Array, ""]:
        """Σ ‖W‖²_F over the weight matrices; biases are free."""
        return sum((jnp.sum(weights**2) for weights in self.weights), start=jnp.zeros(()))


def start_dense(sizes: Sequence[int], key: PRNGKeyArray, weight_scale: float) -> Dense:
    """Layers of these sizes, the input first, with random Gaussian weights and biases of 0.

    Their standard deviation is in units of √(2 / units below), with which ReLU layers keep the
    scale of what they pass on.
    """
    keys = jax.random.split(key, len(sizes) - 1)
    return Dense(
        weights=tuple(
            weight_scale
            * (2 / below) ** 0.5
            * jax.random.normal(layer_key, (below, above), jnp.float32)
            for layer_key, (below, above) in zip(keys, pairwise(sizes), strict=True)
        ),
        biases=tuple(jnp.zeros(above, jnp.float32) for above in sizes[1:]),
    )


Loss = tuple[Float[Array, ""], Statistics | None]
"""A number to lower, and statistics of each image before the update, or None."""


class Objective(NamedTuple):
    """A loss, and who descends it.

    Attributes:
        loss: of (model, batch, key).
        learns: names of the model's fields that this update changes.
        adversarial: whether its learning rate is the model's times the blueprint's
            `adversary_rate`.
    """

    loss: Callable[[Any, Batch, PRNGKeyArray], Loss]
    learns: tuple[str, ...]
    adversarial: bool = False


class Baseline(eqx.Module):
    """A model trained by backprop.

    Attributes:
        blueprint: its kind, sizes and penalties.
        error_name: what the recorded error is.
        monitored: what of the validation images tells how good a model is.
        objectives: the updates that a mini-batch brings about, in turn.
    """

    blueprint: Blueprint = eqx.field(static=True)
    error_name: ClassVar[ErrorName]
    monitored: ClassVar[Monitored] = "error"
    objectives: ClassVar[tuple[Objective, ...]]

    def __str__(self) -> str:
        plan = self.blueprint
        parts = (f"{name}: {'-'.join(map(str, sizes))}" for name, sizes in plan.parts.items())
        options = plan.model_dump(exclude={"kind", "n_pixels", "hidden"}, exclude_defaults=True)
        own = ", ".join(f"{name} {value}" for name, value in options.items())
        head = (
            f"{type(self).__name__} of {plan.n_synapses:,} synapses, for {plan.n_pixels:,} pixels"
        )
        return "\n  ".join((head, *parts, own or "no penalties"))

    @abc.abstractmethod
    def statistics(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """Statistics of each image of a batch; the key decides all that is random."""


def refuse_real_valued(model: str, data: Dataset) -> None:
    """Refuse grey images for a model of binary ones, with a `DataError`."""
    if not data.binary:
        raise DataError(
            f"{model!r} models binary images; images of {data.name!r} are real-valued. Binarise "
            "them (data.binarisation='threshold')."
        )


def refuse_range(model: str, data: Dataset) -> None:
    """Refuse pixels outside [0, 1], which no Bernoulli output predicts, with a `DataError`."""
    low, high = data.limits
    if not 0 <= low <= high <= 1:
        raise DataError(
            f"{model!r} takes pixels in [0, 1]; images of {data.name!r} have values from {low:g} "
            f"to {high:g}. Rescale them (data.max_value), or binarise them "
            "(data.binarisation='threshold')."
        )


def refuse_unlabelled(model: str, data: Dataset) -> None:
    """Refuse images without a class for a model that learns classes, with a `DataError`."""
    # Splits without any labels are refused elsewhere.
    n = sum(int((s.labels == NO_CLASS).sum()) for s in data.splits if s.labels is not None)
    if n:
        raise DataError(
            f"{model!r} learns the class of every image; {n:,} of {data.name!r} have none (-1). "
            "Leave these out."
        )
