"""Baselines as `gncn.evaluation.subject.Measurable`, so that one set of measurements serves all models."""

from dataclasses import dataclass

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray, Shaped

from gncn.baselines.autoencoder import RAE, Autoencoder
from gncn.baselines.completion import ClampedCompleter, EncodeAgain
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.baselines.variational import GVAE, ConstantVarianceGVAE, encoder_proposal
from gncn.evaluation.blocks import blocks
from gncn.evaluation.completion import Ways, combine
from gncn.evaluation.names import MEASURES
from gncn.evaluation.proposals import GaussianProposal, laplace_proposal
from gncn.evaluation.protocols import LatentModel, StandardNormal
from gncn.evaluation.recall import fit_recall
from gncn.evaluation.refined import fit_refined

_BLOCK = 2000


@dataclass(frozen=True)
class AutoencoderModel:
    """An autoencoder as measurements see it.

    Attributes:
        model: the autoencoder.
    """

    model: Autoencoder

    @property
    def measures(self) -> tuple[str, ...]:
        """All."""
        return MEASURES

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
        """The states themselves: rectified where they are, and the linear code."""
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

        Nothing keeps the GAN-AE's from shrinking to a point, which the RAE's is anyhow:
        theirs are Laplace approximations, found by climbing from the codes.
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
    """The mixture on pixels as measurements see it: its codes are pixel vectors.

    Attributes:
        model: the mixture.
    """

    model: PixelMixture

    @property
    def measures(self) -> tuple[str, ...]:
        """It reconstructs, encodes and completes nothing."""
        return ("likelihood", "samples")

    @property
    def decoder(self) -> PixelMixture:
        """Pixel vectors to logits."""
        return self.model

    @property
    def own_prior(self) -> None:
        """None: it has the one that was fitted."""

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
