"""`Baseline`: a model trained by backprop, and the objectives that it descends.

An `Objective` is a loss and the parts of the model that descend it.  Most models have one; the
adversarial autoencoder has three, which take turns on each mini-batch (Eqs 23, 24 and 25).
"""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.errors import DataError
from gncn.baselines.blueprint import Blueprint
from gncn.data import Dataset
from gncn.training.epochs import Batch, Statistics


class Objective(NamedTuple):
    """A loss, and who descends it.

    Attributes:
        loss: of (model, batch, key): a number, and statistics of each image before the
            update, or None.
        learns: names of the model's fields that this update changes.
        adversarial: whether its learning rate is the model's times the blueprint's
            `adversary_rate`.
    """

    loss: Callable[[Any, Batch, PRNGKeyArray], tuple[Float[Array, ""], Statistics | None]]
    learns: tuple[str, ...]
    adversarial: bool = False


class Baseline(eqx.Module):
    """A model trained by backprop.

    Attributes:
        blueprint: its kind, sizes and penalties.
        monitored: the statistic of validation images that tells how good a model is:
            ``error`` (low is good) or ``discrepancy`` (high is good).
        objectives: the updates that a mini-batch brings about, in turn.
    """

    blueprint: eqx.AbstractVar[Blueprint]
    monitored: ClassVar[Literal["error", "discrepancy"]]
    objectives: ClassVar[tuple[Objective, ...]]

    @abc.abstractmethod
    def encode_layers(self, x: Float[Array, "batch pixels"]) -> list[Float[Array, "batch _units"]]:
        """Activities of the hidden layers, then the topmost layer's output."""

    @abc.abstractmethod
    def statistics(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """What is recorded of each image of a batch.

        Args:
            batch: the images.
            key: decides what is random.
        """


def refuse_real_valued(model: str, data: Dataset) -> None:
    """Refuse grey images for a model of binary ones.

    Raises:
        DataError: the images are real-valued.
    """
    if not data.binary:
        raise DataError(
            f"{model!r} models binary images; images of {data.name!r} are real-valued. Binarise "
            "them (data.binarisation='threshold')."
        )
