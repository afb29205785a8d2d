"""Completing images of which some pixels are missing (Eq 4).

Visible pixels are clamped; the rest of the network settles on them.  Two ways:

``drift``   Eq 4 as printed: missing pixels are states too, z^0 ← z^0 − β e^0, which
            drift to their prediction and send their errors up on the way.
``silent``  missing pixels send no error; the completion is their prediction z̄^0.  (With a full
            precision of the data, visible pixels still weigh in what is missing, as 0.)
"""

from typing import Any, Literal, get_args

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gncn.base.arrays import as_images, plain
from gncn.base.errors import (
    MOST_STEPS,
    ConfigError,
    DataError,
    check_positive,
    check_whole,
    unknown_choice,
)
from gncn.core.fast import Carry, for_batch, prepare, repeat
from gncn.core.inference import descend
from gncn.core.likelihood import ErrorNeurons
from gncn.core.network import Latents, Network
from gncn.core.precision import Nats, Sharpness, Units
from gncn.core.states import check_network, initial_latents

Way = Literal["drift", "silent"]
WAYS: tuple[Way, ...] = get_args(Way)
Pixels = Float[Array, "images pixels"]
Visible = Bool[Array, " pixels"] | Bool[Array, "images pixels"]
"""True where a pixel is visible: of all images, or of each."""


def _sharpness(sharpness: Any) -> Any:
    if isinstance(sharpness, Array):  # which programs are given
        return sharpness
    check_positive(sharpness=sharpness)
    return float(sharpness)


def _length(n_settle_steps: Any) -> int:
    return check_whole("n_settle_steps", n_settle_steps, least=1, most=MOST_STEPS)


def as_mask(visible: Any, n_pixels: int) -> Any:
    """Booleans that are True where a pixel is visible, of any kind and of an image's shape.

    Raises:
        ConfigError: they are something else.
    """
    if isinstance(visible, Tracer):
        return visible
    mask = plain(visible, "The mask")
    if mask.dtype != bool or mask.size == 0 or mask.size % n_pixels:
        raise ConfigError(
            f"The mask must hold a boolean for each of {n_pixels:,} pixels, True where it is "
            f"visible; received {mask.dtype} of shape {mask.shape}."
        )
    # One mask for all images keeps a single dimension, and is broadcast later.
    return mask.reshape(n_pixels) if mask.size == n_pixels else mask.reshape(-1, n_pixels)


class Completer(eqx.Module):
    """Completes images with a network; callable as evaluation wants it.

    Attributes:
        way: see the module's docstring.
        n_settle_steps: T.
        sharpness: factor on the input to g^0 of missing pixels, after settling.  A prediction
            from half an image is less certain than the network, which learned from whole
            ones, makes it.  Not for ``drift``, whose missing pixels are states.

    Raises:
        ConfigError: an unknown way, or a sharpness that doesn't apply to it.
    """

    network: Network
    way: Way | str = eqx.field(static=True)
    n_settle_steps: int = eqx.field(static=True, converter=_length)
    sharpness: float = eqx.field(default=1.0, converter=_sharpness)

    def __check_init__(self) -> None:
        if self.way not in WAYS:
            raise unknown_choice("way", self.way, WAYS)
        if self.way == "drift" and self.sharpness != 1:
            raise ConfigError(f"way='drift' has no sharpness; received {self.sharpness}.")

    def __call__(self, x: Any, visible: Any) -> Pixels:
        """Fill in the pixels that are not `visible`; the values of `x` there are ignored.

        Raises:
            ConfigError: `visible` isn't a boolean for each pixel.
            DataError: `x` can't be data of the network; see `gncn.base.arrays`.
        """
        circuit = check_network(self.network).circuit
        visible = as_mask(visible, circuit.sizes[0])
        # Missing pixels may be NaN, so the values are checked apart, where they are visible.
        x = as_images(x, circuit.sizes[0], unit=circuit.binary, missing=True)
        # Inside a compiled program there are no values to look at.
        known = isinstance(x, np.ndarray) and not isinstance(visible, Tracer)
        if known and np.isnan(x[np.broadcast_to(visible, x.shape)]).any():
            raise DataError("A pixel that is visible has no value (NaN or masked). Hide it.")
        x, visible = jnp.asarray(x), jnp.asarray(visible)
        latents, drive = self.settle(x, visible)
        pixels = latents[0]
        if self.way != "drift":
            # Drifted pixels are states themselves; silent ones are read from the prediction.
            pixels = self.network.layers[0].errors.mean(self.sharpness * drive)
        return jnp.where(jnp.atleast_2d(visible), x, pixels)

    def settle(self, x: Pixels, visible: Visible) -> tuple[Latents, Pixels]:
        """States and drive; see `settle_on_visible`."""
        return settle_on_visible(self.network, self.way, self.n_settle_steps, x, visible)


class SeenErrors(ErrorNeurons):
    """Error neurons of the data, of which only the visible pixels send errors."""

    errors: ErrorNeurons
    visible: Bool[Array, "_ pixels"]

    def mean(self, drive: Units) -> Units:
        return self.errors.mean(drive)

    def error(self, actual: Units, drive: Units) -> Units:
        return self.errors.error(actual, drive) * self.visible

    def log_prob(self, actual: Units, drive: Units) -> Nats:
        return self.errors.log_prob(actual, drive)

    def gradient(self, actual: Units, drive: Units) -> Units:
        return self.errors.gradient(actual, drive) * self.visible

    def sample(self, key: PRNGKeyArray, drive: Units) -> Units:
        return self.errors.sample(key, drive)

    def sharpness(self, pixel_variance: float) -> Sharpness:
        """As if all pixels were visible: a bound."""
        return self.errors.sharpness(pixel_variance)

    def for_batch(self, n_images: int) -> "SeenErrors":
        return SeenErrors(self.errors.for_batch(n_images), self.visible)


@eqx.filter_jit
def settle_on_visible(
    network: Network,
    way: Way | str,
    n_settle_steps: int,
    x: Pixels,
    visible: Visible,
    codes: Float[Array, "images units"] | None = None,
) -> tuple[Latents, Pixels]:
    """Settle on the pixels of `x` that are `visible`; see `Completer`.

    Settling starts at `Circuit.initial_state`, or at the states z^L that are `codes`, with the
    states below at their predictions from them.

    Returns:
        The states z^0..z^L, where missing pixels have drifted if the way is ``drift``, and the
        input to g^0 from which the prediction z̄^0 is made.
    """
    seen = jnp.atleast_2d(visible)
    # Not x * seen: a missing pixel may be NaN, and 0 times NaN is NaN.
    x = jnp.where(seen, x, 0.0)
    latents = initial_latents(network, x)
    if codes is not None:
        latents = (x, *descend(network, codes)[1:])
    moving = network
    if way == "silent":
        data, *above = (layer.errors for layer in network.layers)
        # Settling alone uses silent errors; the final response is the network's own.
        moving = network.replaced(errors=(SeenErrors(data, seen), *above))
    ready = for_batch(prepare(moving), len(x))

    def drift(latents: Latents) -> Pixels:
        """Eq 4: missing pixels step towards their prediction."""
        error = ready.network.respond(latents).errors[0]
        # `Network.velocity` leaves the data alone, so Eq 4 stands here.
        pixels = latents[0] - network.layers[0].step_size * error
        return jnp.where(seen, latents[0], pixels)

    def step(carry: Carry) -> Carry:
        latents, state = carry
        pixels = drift(latents) if way == "drift" else latents[0]
        after, state = network.settler.step(*ready, latents, state)
        # Pixels and states both step from the states before, as Eq 2 does.
        return (pixels, *after[1:]), state

    state = network.settler.init(ready.network, latents)
    latents, _ = repeat(step, (latents, state), n_settle_steps)
    return latents, network.respond(latents).drives[0]
