"""Completing images of which some pixels are missing (Eq 4).

Visible pixels are clamped; the rest of the network settles on them.  Three ways:

``drift``   Eq 4 as printed: missing pixels are states too, z^0 ← z^0 − β e^0, which
            drift to their prediction and send their errors up on the way.
``silent``  missing pixels send no error; the completion is their prediction z̄^0.
``prior``   as ``silent``, but settling starts from what the prior makes of the visible
            pixels: the mean of codes z^L, those of training images or samples of a mixture,
            weighted by p(visible | z^L)^(1/τ), and the states below at their predictions
            from it.

A prediction made from half an image is less certain than the network, which learned from
whole ones, makes it.  `calibrated` finds the one factor on the logits of missing pixels
that minimises the squared error on images that may be learned from.
"""

from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.acceleration import prepare, start_memory
from gncn.activations import resolve_activation
from gncn.discrepancy import Latents, respond
from gncn.errors import ConfigError, unknown_choice
from gncn.evaluation.recall import mean_given_visible
from gncn.inference import decode, descend
from gncn.network import Network
from gncn.settling import Carry, initial_latents, repeat, settle_step

Way = Literal["drift", "silent", "prior"]
WAYS: tuple[Way, ...] = get_args(Way)

SHARPNESS = tuple(round(0.4 + 0.05 * i, 2) for i in range(23))
"""Factors on logits that `calibrated` tries: 0.4, 0.45, ... 1.5."""


class Completer(eqx.Module):
    """Completes images with a network; callable as evaluation wants it.

    Attributes:
        network: the network.
        way: see the module's docstring.
        n_settle_steps: T.
        prior_codes: codes z^L of training images, or drawn from a prior; for ``prior`` only.
        temperature: τ; above 1, weights spread over more samples.
        sharpness: factor on the input to g^0 of missing pixels, after settling; not for
            ``drift``, whose missing pixels are states.

    Raises:
        ConfigError: an option is missing, or doesn't apply to the way or the network.
    """

    network: Network
    way: Way | str = eqx.field(static=True)
    n_settle_steps: int = eqx.field(static=True)
    prior_codes: Float[Array, "samples units"] | None = None
    temperature: float | Float[Array, ""] = 1.0
    sharpness: float = 1.0

    def __check_init__(self) -> None:
        if self.way not in WAYS:
            raise unknown_choice("way", self.way, WAYS)
        if (self.way == "prior") != (self.prior_codes is not None):
            raise ConfigError("prior_codes belong to way='prior', and that needs them.")
        if self.way == "prior" and self.network.circuit.layers[0].distribution != "bernoulli":
            raise ConfigError("way='prior' weighs binary pixels; this network's are real-valued.")
        if self.way == "drift" and self.sharpness != 1:
            raise ConfigError(f"way='drift' has no sharpness; received {self.sharpness}.")

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; those of `x` there are not looked at."""
        # With the sharpness, which settling doesn't use, the program would be another.
        plain = eqx.tree_at(lambda one: one.sharpness, self, 1.0)
        pixels, drive = settle_on_visible(plain, x, visible)
        if self.way != "drift":
            pixels = _output(self.network, self.sharpness * drive)
        return jnp.where(visible[None, :], x, pixels)


def calibrated(
    completer: Completer,
    images: Shaped[np.ndarray, "images pixels"],
    visible: Bool[np.ndarray, " pixels"],
) -> Completer:
    """The completer with the sharpness that suits `images` best.

    Args:
        completer: of way ``silent`` or ``prior``.
        images: whole images, for instance some of those learned from.
        visible: True where a pixel is visible.

    Returns:
        The same with that of `SHARPNESS` whose squared error on missing pixels is least.
    """
    x = jnp.asarray(images, jnp.float32)
    drive = settle_on_visible(completer, x, jnp.asarray(visible))[1]
    missing, wanted = drive[:, ~visible], x[:, ~visible]
    errors = [
        float(jnp.sum((wanted - _output(completer.network, factor * missing)) ** 2))
        for factor in SHARPNESS
    ]
    best = SHARPNESS[int(np.argmin(errors))]
    return eqx.tree_at(lambda one: one.sharpness, completer, best)


def _output(
    network: Network, drive: Float[Array, "images pixels"]
) -> Float[Array, "images pixels"]:
    """Apply g^0."""
    layer = network.circuit.layers[0]
    return resolve_activation(layer.prediction_activation, layer.winners)(drive)


@eqx.filter_jit
def settle_on_visible(
    completer: Completer, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> tuple[Float[Array, "images pixels"], Float[Array, "images pixels"]]:
    """Settle on what is visible of images.

    Args:
        completer: the network and the way.
        x: images; pixels that are not visible are not looked at.
        visible: True where a pixel is visible.

    Returns:
        z^0, where missing pixels have drifted if the way is ``drift``, and the input to
        g^0 from which its prediction z̄^0 is made.
    """
    (network, right), seen = prepare(completer.network, n_images=len(x)), visible[None, :]
    x = jnp.where(seen, x, 0.0)
    latents = initial_latents(network, x)
    if completer.prior_codes is not None:
        latents = _start_from_prior(completer, x, visible)
    heard = None if completer.way == "drift" else seen

    def step(carry: Carry) -> Carry:
        (after, memory), at = settle_step(network, right, *carry, heard)
        pixels, error = carry[0][0], at.responses.errors[0]
        assert error is not None
        if completer.way == "drift":
            pixels = jnp.where(seen, pixels, pixels - network.dynamics.step_size[0] * error)
        return (pixels, *after[1:]), memory

    latents, _ = repeat(step, (latents, start_memory(network, latents)), completer.n_settle_steps)
    drive = respond(network, latents).drives[0]
    assert drive is not None
    return latents[0], drive


def _start_from_prior(
    completer: Completer, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> Latents:
    """Codes averaged with weights p(visible | z)^(1/τ), and the way down."""
    network, codes = completer.network, completer.prior_codes
    assert codes is not None

    def predict(
        block: Float[Array, "block units"],
    ) -> tuple[Float[Array, "block pixels"], Float[Array, "block units"]]:
        # A missing pixel's logit of 0 costs every code the same log 2.
        return jnp.where(visible[None, :], decode(network, block), 0.0), block

    mean = mean_given_visible(predict, codes, x, completer.temperature)
    return (x, *descend(network, mean)[1:])
