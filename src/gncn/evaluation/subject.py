"""What is measured: a model behind a few methods, its data, and the codes of all images.

`gncn.evaluation.measure` knows a model by the methods of `Measurable` alone; `NetworkModel` is a
GNCN as seen through them.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.baselines.subject import AutoencoderModel, PixelMixtureModel
from gncn.core.activations import resolve_activation
from gncn.core.inference import decode, encode_layers
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.evaluation.completion import Ways, combine
from gncn.evaluation.names import MEASURES
from gncn.evaluation.network_completion import Completer, SettleFrom, calibrated
from gncn.evaluation.proposals import GaussianProposal, laplace_proposal
from gncn.evaluation.protocols import Decoder, LatentModel, Prior
from gncn.evaluation.recall import fit_recall
from gncn.evaluation.refined import fit_refined
from gncn.runs.models import Model

Report = Callable[[str], None]
"""Told in a few words what is being done, for a progress display."""


@runtime_checkable
class Measurable(Protocol):
    """A generative model of binary images, as measurements see it."""

    @property
    def measures(self) -> tuple[str, ...]:
        """Names from `gncn.evaluation.names.MEASURES` that mean something for the model."""
        ...

    @property
    def decoder(self) -> Decoder:
        """Maps codes to logits of pixels; an `equinox.Module`."""
        ...

    @property
    def own_prior(self) -> Prior | None:
        """The prior that the model was trained with, if it was with one."""
        ...

    @property
    def fitted_prior(self) -> Prior | None:
        """The density of codes, if to fit it was to train the model; else it remains to be."""
        ...

    def encode_layers(
        self, images: Shaped[np.ndarray, "images pixels"]
    ) -> list[Float[np.ndarray, "images _units"]]:
        """States of all latent layers, bottom first; the last are the codes z."""
        ...

    def activities(
        self, layer: int, states: Float[np.ndarray, "images units"]
    ) -> Float[np.ndarray, "images units"]:
        """What latent layer `layer` (1..L) sends on: φ of its states."""
        ...

    def group_sizes(self) -> list[int | None]:
        """Neurons in a column of each latent layer; None without columns."""
        ...

    def propose(
        self,
        model: LatentModel,
        images: Shaped[np.ndarray, "images pixels"],
        codes: Float[np.ndarray, "images dim"],
        key: PRNGKeyArray,
    ) -> GaussianProposal:
        """Gaussians near the posteriors p(z|x) of `model`, this decoder with some prior."""
        ...

    def completers(
        self,
        codes: Float[np.ndarray, "images dim"],
        images: Shaped[np.ndarray, "images pixels"],
        visible: Bool[np.ndarray, " pixels"],
    ) -> Ways:
        """The ways in which the model completes images, by name.

        Args:
            codes: of the training images.
            images: the training images.
            visible: which pixels will be seen.
        """
        ...


class Generator(eqx.Module):
    """A network as a `Decoder`: top states to pixel logits.

    Attributes:
        network: the network.
    """

    network: Network

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """Logits that codes predict."""
        return decode(self.network, codes)


@dataclass(frozen=True)
class NetworkModel:
    """A GNCN as a `Measurable`.

    Attributes:
        network: the network.
    """

    network: Network

    @property
    def measures(self) -> tuple[str, ...]:
        """All."""
        return MEASURES

    @property
    def decoder(self) -> Generator:
        """Top states to pixel logits."""
        return Generator(self.network)

    @property
    def own_prior(self) -> None:
        """None: the top layer is not predicted, so nothing was assumed of it."""

    @property
    def fitted_prior(self) -> None:
        """None: a mixture is to be fitted to the settled top states."""

    def encode_layers(
        self, images: Shaped[np.ndarray, "images pixels"]
    ) -> list[Float[np.ndarray, "images _units"]]:
        """Settled states z^1..z^L."""
        return encode_layers(self.network, images)

    def activities(
        self, layer: int, states: Float[np.ndarray, "images units"]
    ) -> Float[np.ndarray, "images units"]:
        """φ(z^layer)."""
        spec = self.network.circuit.layers[layer]
        return np.asarray(resolve_activation(spec.activation, spec.winners)(jnp.asarray(states)))

    def group_sizes(self) -> list[int | None]:
        """Neurons in a column of each latent layer; None without columns."""
        return [layer.group_size for layer in self.network.circuit.layers[1:]]

    def propose(
        self,
        model: LatentModel,
        images: Shaped[np.ndarray, "images pixels"],
        codes: Float[np.ndarray, "images dim"],
        key: PRNGKeyArray,
    ) -> GaussianProposal:
        """Laplace approximations, found by climbing from the settled codes."""
        return laplace_proposal(model, images, codes, key=key, inflation=1.0)

    def completers(
        self,
        codes: Float[np.ndarray, "images dim"],
        images: Shaped[np.ndarray, "images pixels"],
        visible: Bool[np.ndarray, " pixels"],
    ) -> Ways:
        """The ways of `gncn.evaluation.network_completion`, recalled codes as they are and refined, and a sum.

        Refining settles for the network's steps; the ways that begin with states of 0 settle
        for twice as many.  τ, sharpness and the weights of ``combined``, a sum of ``silent``,
        ``recall`` and ``refined``, are learned from `images`.
        """
        n_steps = self.network.settling.n_settle_steps
        recall, held_out = fit_recall(self.decoder, codes, images, visible)
        silent = Completer(self.network, "silent", 2 * n_steps)
        settle = SettleFrom(self.network, n_steps)
        several = {
            "silent": calibrated(silent, held_out, visible),
            "recall": recall,
            "refined": fit_refined(self.decoder, settle, recall.codes, held_out, visible),
        }
        drift = Completer(self.network, "drift", 2 * n_steps)
        return {"drift": drift, **several, "combined": combine(several, held_out, visible)}


def as_measurable(model: Model) -> Measurable:
    """A model as measurements see it.

    Raises:
        ConfigError: it is no generative model.
    """
    match model:
        case Network():
            return NetworkModel(model)
        case Autoencoder():
            return AutoencoderModel(model)
        case PixelMixture():
            return PixelMixtureModel(model)
        case _:
            raise ConfigError(
                f"A {type(model).__name__} classifies and generates nothing; its test error stands "
                "in the run's history, and `gncn compare` shows it."
            )


@dataclass(frozen=True)
class Subject:
    """A model, its data, and the codes of all images.

    Attributes:
        model: the model.
        data: the data it was trained on.
        split: the images that numbers are reported on: ``validation`` or ``test``.
        seed: of everything random in the measurements.
        report: told what is being done.
    """

    model: Measurable
    data: Dataset
    split: str
    seed: int = 0
    report: Report = lambda _: None

    def __post_init__(self) -> None:
        if self.split not in ("validation", "test"):
            raise ConfigError(f"Measure on 'validation' or 'test' images; received {self.split!r}.")
        if not self.data.binary:
            raise ConfigError("Likelihoods here are of binary images; these data are real-valued.")

    @property
    def target(self) -> Split:
        """The images that numbers are reported on."""
        return self.data.test if self.split == "test" else self.data.validation

    def key(self, number: int) -> PRNGKeyArray:
        """A random key for measurement `number`."""
        return jax.random.fold_in(jax.random.key(self.seed), number)

    @cached_property
    def states(self) -> dict[str, list[Float[np.ndarray, "images _"]]]:
        """States of all latent layers, bottom first, for each split."""
        self.report("encoding all images")
        splits: dict[str, Any] = {"train": self.data.train, "validation": self.data.validation}
        splits[self.split] = self.target
        return {name: self.model.encode_layers(split.array) for name, split in splits.items()}

    def codes(self, split: str) -> Float[np.ndarray, "images units"]:
        """Codes of a split: the states of its top layer."""
        return self.states[split][-1]

    @property
    def n_layers(self) -> int:
        """Number of latent layers."""
        return len(self.model.group_sizes())

    def check_layer(self, layer: int) -> int:
        """The number of a latent layer, 1..L, as given.

        Raises:
            ConfigError: the model has no such layer.
        """
        if not 1 <= layer <= self.n_layers:
            raise ConfigError(
                f"A probe's layer must be from 1 to {self.n_layers}; received {layer}."
            )
        return layer
