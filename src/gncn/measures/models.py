"""The models of this library as measures see them: `as_measurable`."""

from functools import singledispatch
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.base.errors import ConfigError
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.clamped import ClampedCompleter, EncodeAgain
from gncn.baselines.fitted import FittedCompleter, fit_fitted
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.core.competition import Columns
from gncn.core.completion import Completer, settle_on_visible
from gncn.core.inference import descend, encode_layers
from gncn.core.network import Network
from gncn.evaluation.completion import Ways, combine
from gncn.evaluation.images import blocks
from gncn.evaluation.pixels import PixelLikelihood, pixels_of
from gncn.evaluation.protocols import Codes, Images, Mask, StandardNormal
from gncn.evaluation.recall import SHARPNESS, fit_recall, fit_refined, held_out
from gncn.measures.subject import Measurable, States

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
    """A network as a `Decoder`: top states to the input of g^0."""

    network: Network

    @property
    def output(self) -> PixelLikelihood:
        """Bernoulli or Gaussian, as the network's error neurons of the data."""
        return pixels_of(self.network.layers[0].errors)

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """The input to g^0 that codes predict."""
        return descend(self.network, codes)[0]


class NetworkModel(Measurable):
    """A GNCN as a `Measurable`; its codes are the settled top states, which have no prior."""

    def __init__(self, network: Network) -> None:
        self.network, self.decoder = network, Generator(network)

    def encode_layers(self, images: Shaped[np.ndarray, "images pixels"]) -> list[States]:
        """Settled states z^1..z^L."""
        return encode_layers(self.network, images)

    def activities(self, layer: int, states: States) -> States:
        return np.asarray(self.network.layers[layer].activity(jnp.asarray(states)))

    def group_sizes(self) -> list[int | None]:
        rivals = [layer.competition for layer in self.network.circuit.layers[1:]]
        return [one.group_size if isinstance(one, Columns) else None for one in rivals]

    @property
    def direct_completers(self) -> dict[str, Completer]:
        """Settling on what is visible, silently or by drifting."""
        n_steps = 2 * self.network.settler.n_settle_steps
        return {way: Completer(self.network, way, n_steps) for way in ("silent", "drift")}

    def direct_ways(self, images: Images, visible: Mask) -> Ways:
        """Drifting as it is, and silent settling `calibrated` on a few of the images."""
        direct = self.direct_completers
        # The images by which the other ways are chosen, so that every mode calibrates alike.
        few = np.asarray(images)[held_out(len(images))]
        return {"drift": direct["drift"], "silent": calibrated(direct["silent"], few, visible)}

    def completers(self, codes: Codes, images: Images, visible: Mask) -> Ways:
        """Settling on what is visible, recalled codes as they are and refined, and a sum.

        Ways that start from states of 0 settle for twice as many steps as the network does on
        whole images; refining settles for as many.  τ, sharpness and the weights of
        ``combined``, a sum of ``silent``, ``recall`` and ``refined``, are learned from `images`.
        """
        n_steps = self.network.settler.n_settle_steps
        # Its held-out images also choose all that follows: recall leaves their codes out.
        recall, few = fit_recall(self.decoder, codes, images, visible)
        direct = self.direct_ways(images, visible)
        settle = SettleFrom(self.network, n_steps)
        several = {
            "silent": direct["silent"],
            "recall": recall,
            # Refining uses the codes that recall kept, so held-out images can't find their own
            # code.
            "refined": fit_refined(self.decoder, settle, recall.codes, few, visible),
        }
        return {"drift": direct["drift"], **several, "combined": combine(several, few, visible)}


class SettleFrom(eqx.Module):
    """Improves codes by settling silently from them; see `gncn.evaluation.recall`."""

    network: Network
    n_settle_steps: int = eqx.field(static=True)

    def __call__(
        self,
        x: Float[Array, "images pixels"],
        visible: Bool[Array, " pixels"],
        codes: Float[Array, "images units"],
    ) -> tuple[Float[Array, "images pixels"], Float[Array, "images units"]]:
        """The inputs to g^0 and the states z^L at which settling from `codes` ends."""
        latents, drive = settle_on_visible(
            self.network, "silent", self.n_settle_steps, x, visible, codes
        )
        return drive, latents[-1]


def calibrated(
    completer: Completer, images: Shaped[np.ndarray, "images pixels"], visible: Mask
) -> Completer:
    """A ``silent`` completer with the sharpness of least squared error on whole images.

    A prediction from half an image is less certain than the network makes it, which learned
    from whole ones; one factor on the logits of missing pixels corrects that.
    """
    x = jnp.asarray(images, jnp.float32)
    drive = completer.settle(x, jnp.asarray(visible))[1]
    missing, wanted = drive[:, ~visible], x[:, ~visible]
    output = completer.network.layers[0].errors.mean
    errors = [float(jnp.sum((wanted - output(factor * missing)) ** 2)) for factor in SHARPNESS]
    best = SHARPNESS[int(np.argmin(errors))]
    return eqx.tree_at(lambda one: one.sharpness, completer, best)


class AutoencoderModel(Measurable):
    """An autoencoder as a `Measurable`; its codes are what the encoder says, or its mean."""

    def __init__(self, model: Autoencoder) -> None:
        self.model = self.decoder = model
        n_latent = model.blueprint.n_latent
        if model.has_prior and n_latent is not None:
            self.own_prior = StandardNormal(n_latent)

    def encode_layers(self, images: Shaped[np.ndarray, "images pixels"]) -> list[States]:
        """Activities of the encoder's layers, the codes last."""
        parts = [
            # What fills up the last block is cut off.
            [np.asarray(layer)[:n] for layer in _encode(self.model, jnp.asarray(images[rows]))]
            for rows, n in blocks(len(images), _BLOCK)
        ]
        return [np.concatenate(layer) for layer in zip(*parts, strict=True)]

    def group_sizes(self) -> list[int | None]:
        return [None] * len(self.model.encoder.weights)

    @property
    def direct_completers(self) -> dict[str, ClampedCompleter | FittedCompleter]:
        """Clamped iteration, and a code that is fitted to what is visible."""
        return {"clamped": ClampedCompleter(self.model), "fitted": FittedCompleter(self.model)}

    def direct_ways(self, images: Images, visible: Mask) -> dict[str, Any]:
        """Clamped iteration as it is, and fitting with settings chosen on a few of the images."""
        few = np.asarray(images)[held_out(len(images))]
        return self.direct_completers | {"fitted": fit_fitted(self.model, few, visible)}

    def completers(self, codes: Codes, images: Images, visible: Mask) -> Ways:
        """The direct ways, recalled codes as they are and refined, and a sum of all."""
        recall, few = fit_recall(self.decoder, codes, images, visible)
        encode = EncodeAgain(self.model)
        several = {
            **self.direct_ways(images, visible),
            "recall": recall,
            "refined": fit_refined(self.decoder, encode, recall.codes, few, visible),
        }
        return {**several, "combined": combine(several, few, visible)}


@eqx.filter_jit
def _encode(
    model: Autoencoder, images: Shaped[Array, "images pixels"]
) -> list[Float[Array, "images _units"]]:
    return model.encode_layers(images.astype(jnp.float32))


class PixelMixtureModel(Measurable):
    """The mixture on pixels as a `Measurable`: its codes are pixel vectors, with its own density.

    It can only be sampled.
    """

    has_codes = False

    def __init__(self, model: PixelMixture) -> None:
        self.decoder = self.fitted_prior = model

    def encode_layers(self, images: Shaped[np.ndarray, "images pixels"]) -> list[States]:
        """The images."""
        return [np.asarray(images, np.float32)]

    def group_sizes(self) -> list[int | None]:
        return [None]

    def completers(self, codes: Codes, images: Images, visible: Mask) -> Ways:
        """None."""
        return {}


as_measurable.register(Network, NetworkModel)
as_measurable.register(Autoencoder, AutoencoderModel)
as_measurable.register(PixelMixture, PixelMixtureModel)
