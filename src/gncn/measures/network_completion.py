"""What completion by a network learns from images that may be learned from.

A prediction from half an image is less certain than the network, which learned from whole
ones, makes it.  `calibrated` finds the one factor on the logits of missing pixels that
minimises the squared error.

The states at which silent settling ends depend on where it starts: `SettleFrom` starts it
at codes, for `gncn.evaluation.recall`.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.core.completion import Completer, settle_on_visible
from gncn.core.network import Network
from gncn.evaluation.protocols import Mask
from gncn.evaluation.recall import SHARPNESS


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
    """A ``silent`` completer with the sharpness of least squared error on whole images."""
    x = jnp.asarray(images, jnp.float32)
    drive = completer.settle(x, jnp.asarray(visible))[1]
    missing, wanted = drive[:, ~visible], x[:, ~visible]
    output = completer.network.layers[0].errors.mean
    errors = [float(jnp.sum((wanted - output(factor * missing)) ** 2)) for factor in SHARPNESS]
    best = SHARPNESS[int(np.argmin(errors))]
    return eqx.tree_at(lambda one: one.sharpness, completer, best)
