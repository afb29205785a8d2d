"""Completing images of which some pixels are missing (Eq 4).

Visible pixels are clamped; the rest of the network settles on them.  Three ways:

``drift``   Eq 4 as printed: missing pixels are states too, z^0 ← z^0 − β e^0, which
            drift to their prediction and send their errors up on the way.
``silent``  missing pixels send no error; the completion is their prediction z̄^0.
``prior``   as ``silent``, but settling starts from what the prior makes of the visible
            pixels: the mean of prior samples z^L, weighted by p(visible | z^L), and the
            states below at their predictions from it.
"""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from gncn.discrepancy import Latents, Responses, respond
from gncn.inference import descend
from gncn.network import Network
from gncn.settling import initial_latents, moved, state_changes

Way = Literal["drift", "silent", "prior"]
WAYS: tuple[Way, ...] = get_args(Way)


class Completer(eqx.Module):
    """Completes images with a network; callable as evaluation wants it.

    Attributes:
        network: the network.
        way: see the module's docstring.
        n_settle_steps: T.
        prior_codes: samples of z^L from the prior; for ``prior`` only.
        temperature: the weights of prior samples are p(visible | z)^(1/temperature);
            above 1 they spread over more samples.
    """

    network: Network
    way: Way = eqx.field(static=True)
    n_settle_steps: int = eqx.field(static=True)
    prior_codes: Float[Array, "samples units"] | None = None
    temperature: float = 1.0

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Float[Array, "images pixels"]:
        """Fill in the pixels that are not `visible`; those of `x` there are not looked at."""
        pixels, prediction = settle_on_visible(self, x, visible)
        return jnp.where(visible[None, :], x, pixels if self.way == "drift" else prediction)


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
        z^0, where missing pixels have drifted if the way is ``drift``, and its
        prediction z̄^0.
    """
    network, seen = completer.network, visible[None, :]
    x = jnp.where(seen, x, 0.0)
    latents = initial_latents(network, x)
    if completer.prior_codes is not None:
        latents = _start_from_prior(completer, x, visible)

    def step(latents: Latents, _: None) -> tuple[Latents, None]:
        responses = respond(network, latents)
        error, pixels = responses.errors[0], latents[0]
        assert error is not None
        if completer.way == "drift":
            pixels = jnp.where(seen, pixels, pixels - network.dynamics.step_size[0] * error)
        else:
            responses = _silence(responses, error * seen)
        after = moved(network, latents, state_changes(network, latents, responses))
        return (pixels, *after[1:]), None

    latents, _ = lax.scan(step, latents, None, length=completer.n_settle_steps)
    prediction = respond(network, latents).predictions[0]
    assert prediction is not None
    return latents[0], prediction


def _silence(responses: Responses, error: Float[Array, "images pixels"]) -> Responses:
    return responses._replace(errors=(error, *responses.errors[1:]))


def _start_from_prior(
    completer: Completer, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
) -> Latents:
    network, codes = completer.network, completer.prior_codes
    assert codes is not None
    logits = descend(network, codes)[0]
    weighted = jnp.where(visible[None, :], logits, 0.0)
    normaliser = jnp.sum(jnp.where(visible[None, :], jax.nn.softplus(logits), 0.0), axis=-1)
    fit = x @ weighted.T - normaliser[None, :]
    share = jax.nn.softmax(fit / completer.temperature, axis=-1)
    return (x, *descend(network, share @ codes)[1:])
