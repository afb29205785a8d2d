"""The models of this library as measures see them: `as_measurable`."""

from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError
from gncn.baselines.autoencoder import RAE, Autoencoder
from gncn.baselines.clamped import ClampedCompleter, EncodeAgain
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.baselines.variational import GVAE, ConstantVarianceGVAE, encoder_proposal
from gncn.core.competition import Columns
from gncn.core.completion import Completer
from gncn.core.inference import decode, encode_layers
from gncn.core.network import Network
from gncn.evaluation.blocks import blocks
from gncn.evaluation.completion import Ways, combine
from gncn.evaluation.proposals import GaussianProposal, laplace_proposal
from gncn.evaluation.protocols import LatentModel, StandardNormal
from gncn.evaluation.recall import fit_recall
from gncn.evaluation.refined import fit_refined
from gncn.measures.network_completion import SettleFrom, calibrated
from gncn.measures.subject import Measurable

_BLOCK = 2000


@singledispatch
def as_measurable(model: Any) -> Measurable:
    """A model as measures see it.

    Classes of models from outside the library register their own view:
    ``as_measurable.register(YourModel, make_view)``.

    Raises:
        ConfigError: it is no generative model.
    """
    raise ConfigError(
        f"A {type(model).__name__} classifies and generates nothing; its test error stands "
        "in the run's history, and `gncn compare` shows it."
    )


class Generator(eqx.Module):
    """A network as a `Decoder`: top states to pixel logits."""

    network: Network

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """Logits that codes predict."""
        return decode(self.network, codes)


@dataclass(frozen=True)
class NetworkModel:
    """A GNCN as a `Measurable`."""

    network: Network

    @property
    def has_codes(self) -> bool:
        """It has: the settled top states."""
        return True

    @property
    def decoder(self) -> Generator:
        """Top states to pixel logits."""
        return Generator(self.network)

    @property
    def own_prior(self) -> None:
        """None: nothing predicts the top layer, so training assumes no prior for it."""

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
        return np.asarray(self.network.layers[layer].activity(jnp.asarray(states)))

    def group_sizes(self) -> list[int | None]:
        """Neurons in a column of each latent layer; None without columns."""
        rivals = [layer.competition for layer in self.network.circuit.layers[1:]]
        return [one.group_size if isinstance(one, Columns) else None for one in rivals]

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
        """Settling on what is visible, recalled codes as they are and refined, and a sum.

        Ways that start from states of 0 settle for twice as many steps as the network does on
        whole images; refining settles for as many.  τ, sharpness and the weights of
        ``combined``, a sum of ``silent``, ``recall`` and ``refined``, are learned from `images`.
        """
        n_steps = self.network.settler.n_settle_steps
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


@dataclass(frozen=True)
class AutoencoderModel:
    """An autoencoder as a `Measurable`."""

    model: Autoencoder

    @property
    def has_codes(self) -> bool:
        """It has: what the encoder says, or its mean."""
        return True

    @property
    def decoder(self) -> Autoencoder:
        """Codes to logits."""
        return self.model

    @property
    def own_prior(self) -> StandardNormal | None:
        """N(0, I), with which all but the RAE are trained."""
        n_latent = self.model.blueprint.n_latent
        assert n_latent is not None
        return None if isinstance(self.model, RAE) else StandardNormal(n_latent)

    @property
    def fitted_prior(self) -> None:
        """None: a mixture is to be fitted to the codes."""

    def encode_layers(
        self, images: Shaped[np.ndarray, "images pixels"]
    ) -> list[Float[np.ndarray, "images _units"]]:
        """Activities of the encoder's layers, the codes last."""
        parts = [
            [np.asarray(layer)[:n] for layer in _encode(self.model, jnp.asarray(images[rows]))]
            for rows, n in blocks(len(images), _BLOCK)
        ]
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    def activities(
        self, layer: int, states: Float[np.ndarray, "images units"]
    ) -> Float[np.ndarray, "images units"]:
        """The states themselves: hidden layers are rectified already, and the code is linear."""
        return states

    def group_sizes(self) -> list[int | None]:
        """None for each layer: no unit competes."""
        return [None] * len(self.model.encoder.weights)

    def propose(
        self,
        model: LatentModel,
        images: Shaped[np.ndarray, "images pixels"],
        codes: Float[np.ndarray, "images dim"],
        key: PRNGKeyArray,
    ) -> GaussianProposal:
        """The encoder's q(z|x) where the objective makes it a posterior (Eq 21).

        Nothing keeps the GAN-AE's q(z|x) from shrinking to a point, and the RAE's is a point.
        They get Laplace approximations, found by climbing from the codes.
        """
        if isinstance(self.model, GVAE | ConstantVarianceGVAE):
            return encoder_proposal(self.model, jnp.asarray(images, jnp.float32))
        return laplace_proposal(model, images, codes, key=key, inflation=1.0)

    def completers(
        self,
        codes: Float[np.ndarray, "images dim"],
        images: Shaped[np.ndarray, "images pixels"],
        visible: Bool[np.ndarray, " pixels"],
    ) -> Ways:
        """Clamped iteration, recalled codes as they are and refined, and a sum of all."""
        recall, held_out = fit_recall(self.decoder, codes, images, visible)
        encode = EncodeAgain(self.model)
        several = {
            "clamped": ClampedCompleter(self.model),
            "recall": recall,
            "refined": fit_refined(self.decoder, encode, recall.codes, held_out, visible),
        }
        return {**several, "combined": combine(several, held_out, visible)}


@eqx.filter_jit
def _encode(
    model: Autoencoder, images: Shaped[Array, "images pixels"]
) -> list[Float[Array, "images _units"]]:
    return model.encode_layers(images.astype(jnp.float32))


@dataclass(frozen=True)
class PixelMixtureModel:
    """The mixture on pixels as a `Measurable`: its codes are pixel vectors."""

    model: PixelMixture

    @property
    def has_codes(self) -> bool:
        """It has none of its own: it can only be sampled."""
        return False

    @property
    def decoder(self) -> PixelMixture:
        """Pixel vectors to logits."""
        return self.model

    @property
    def own_prior(self) -> None:
        """None: it has the prior that was fitted."""

    @property
    def fitted_prior(self) -> PixelMixture:
        """The mixture."""
        return self.model

    def encode_layers(
        self, images: Shaped[np.ndarray, "images pixels"]
    ) -> list[Float[np.ndarray, "images _units"]]:
        """The images."""
        return [np.asarray(images, np.float32)]

    def activities(
        self, layer: int, states: Float[np.ndarray, "images units"]
    ) -> Float[np.ndarray, "images units"]:
        """The states themselves."""
        return states

    def group_sizes(self) -> list[int | None]:
        """No unit competes."""
        return [None]

    def propose(
        self,
        model: LatentModel,
        images: Shaped[np.ndarray, "images pixels"],
        codes: Float[np.ndarray, "images dim"],
        key: PRNGKeyArray,
    ) -> GaussianProposal:
        """Laplace approximations, found by climbing from the images."""
        return laplace_proposal(model, images, codes, key=key, inflation=1.0)

    def completers(
        self,
        codes: Float[np.ndarray, "images dim"],
        images: Shaped[np.ndarray, "images pixels"],
        visible: Bool[np.ndarray, " pixels"],
    ) -> Ways:
        """None."""
        return {}


as_measurable.register(Network, NetworkModel)
as_measurable.register(Autoencoder, AutoencoderModel)
as_measurable.register(PixelMixture, PixelMixtureModel)
