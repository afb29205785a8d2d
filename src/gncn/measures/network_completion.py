"""Completing images of which some pixels are missing (Eq 4).

Visible pixels are clamped; the rest of the network settles on them.  Two ways:

``drift``   Eq 4 as printed: missing pixels are states too, z^0 ← z^0 − β e^0, which
            drift to their prediction and send their errors up on the way.
``silent``  missing pixels send no error; the completion is their prediction z̄^0.

A prediction made from half an image is less certain than the network, which learned from
whole ones, makes it.  `calibrated` finds the one factor on the logits of missing pixels
that minimises the squared error on images that may be learned from.

The state at which silent settling ends depends on where it starts: `SettleFrom` starts it at
codes, for `gncn.evaluation.refined`.
"""

from typing import Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.base.errors import ConfigError, unknown_choice
from gncn.core.acceleration import prepare, start_memory
from gncn.core.activations import resolve_activation
from gncn.core.discrepancy import Latents, respond
from gncn.core.inference import descend
from gncn.core.network import Network
from gncn.core.settling import Carry, initial_latents, repeat, settle_step
from gncn.evaluation.refined import SHARPNESS

Way = Literal["drift", "silent"]
WAYS: tuple[Way, ...] = get_args(Way)


class Completer(eqx.Module):
    """Completes images with a network; callable as evaluation wants it.

    Attributes:
        network: the network.
        way: see the module's docstring.
        n_settle_steps: T.
        sharpness: factor on the input to g^0 of missing pixels, after settling; not for
            ``drift``, whose missing pixels are states.

    Raises:
        ConfigError: an unknown way, or a sharpness that doesn't apply to it.
    """

    network: Network
    way: Way | str = eqx.field(static=True)
    n_settle_steps: int = eqx.field(static=True)
    sharpness: float = 1.0

    def __check_init__(self) -> None:
        if self.way not in WAYS:
            raise unknown_choice("way", self.way, WAYS)
        if self.way == "drift" and self.sharpness != 1:
            raise ConfigError(f"way='drift' has no sharpness; received {self.sharpness}.")

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; those of `x` there are not looked at."""
        latents, drive = self.settle(x, visible)
        pixels = latents[0]
        if self.way != "drift":
            pixels = _output(self.network, self.sharpness * drive)
        return jnp.where(visible[None, :], x, pixels)

    def settle(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> tuple[Latents, Float[Array, "images pixels"]]:
        """Settle on the visible pixels; see `settle_on_visible`."""
        return settle_on_visible(self.network, self.way, self.n_settle_steps, x, visible)


class SettleFrom(eqx.Module):
    """Improves codes by settling silently from them; see `gncn.evaluation.refined`.

    Attributes:
        network: the network.
        n_settle_steps: T.
    """

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
    completer: Completer,
    images: Shaped[np.ndarray, "images pixels"],
    visible: Bool[np.ndarray, " pixels"],
) -> Completer:
    """The completer with the sharpness that suits `images` best.

    Args:
        completer: of way ``silent``.
        images: whole images, for instance some of those learned from.
        visible: True where a pixel is visible.

    Returns:
        The same with that of `SHARPNESS` whose squared error on missing pixels is least.
    """
    x = jnp.asarray(images, jnp.float32)
    drive = completer.settle(x, jnp.asarray(visible))[1]
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
    network: Network,
    way: Way | str,
    n_settle_steps: int,
    x: Float[Array, "images pixels"],
    visible: Bool[Array, " pixels"],
    codes: Float[Array, "images units"] | None = None,
) -> tuple[Latents, Float[Array, "images pixels"]]:
    """Settle on what is visible of images.

    Args:
        network: the network.
        way: see the module's docstring.
        n_settle_steps: T.
        x: images; pixels that are not visible are not looked at.
        visible: True where a pixel is visible.
        codes: states z^L to start at, the states below at their predictions from them; by
            default all states start at 0.

    Returns:
        The states z^0..z^L, where missing pixels have drifted if the way is ``drift``, and the
        input to g^0 from which the prediction z̄^0 is made.
    """
    (network, right), seen = prepare(network, n_images=len(x)), visible[None, :]
    x = jnp.where(seen, x, 0.0)
    latents = initial_latents(network, x)
    if codes is not None:
        latents = (x, *descend(network, codes)[1:])
    heard = None if way == "drift" else seen

    def step(carry: Carry) -> Carry:
        (after, memory), at = settle_step(network, right, *carry, heard)
        pixels, error = carry[0][0], at.responses.errors[0]
        assert error is not None
        if way == "drift":
            pixels = jnp.where(seen, pixels, pixels - network.dynamics.step_size[0] * error)
        return (pixels, *after[1:]), memory

    latents, _ = repeat(step, (latents, start_memory(network, latents)), n_settle_steps)
    drive = respond(network, latents).drives[0]
    assert drive is not None
    return latents, drive
