"""A connection from outside the package: feature maps predict an image by small kernels."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from pydantic import Field

import gncn


class Convolution(gncn.Connection):
    """Maps as large as a square image predict it; its errors return through the same kernels.

    Attributes:
        maps: number of maps, one after the other in the source layer.
        side: of the image, in pixels.
        radius: how far a kernel reaches from its centre, in pixels.
    """

    maps: int = Field(gt=0)
    side: int = Field(gt=0)
    radius: int = Field(gt=0)

    def check(self, n_source, n_target):
        wanted = (self.maps * self.side**2, self.side**2)
        if (n_source, n_target) != wanted:
            raise gncn.ConfigError(f"{self!r} joins {wanted}; received {(n_source, n_target)}.")

    def n_synapses(self, n_source, n_target):
        return self.maps * (2 * self.radius + 1) ** 2

    def build(self, n_source, n_target, scale, keys):
        width = 2 * self.radius + 1
        return Kernels(self, scale * jax.random.normal(keys[0], (self.maps, width, width)))


class Kernels(gncn.Synapses):
    """One kernel for each map: shape (maps, width, width)."""

    description: Convolution = eqx.field(static=True)
    weights: jax.Array
    source = property(lambda self: self.description.source)
    target = property(lambda self: self.description.target)
    plastic = property(lambda self: self.weights)

    def _images(self, flat):
        return flat.astype(jnp.float32).reshape(len(flat), -1, *2 * [self.description.side])

    def predict(self, sent):
        drive = lax.conv(self._images(sent), self.weights[None], (1, 1), "SAME")
        return drive.reshape(len(sent), -1)

    def send_up(self, error):
        turned = self.weights[:, None, ::-1, ::-1]
        return lax.conv(self._images(error), turned, (1, 1), "SAME").reshape(len(error), -1)

    def update(self, error, sent):
        r = self.description.radius
        around = jnp.pad(self._images(sent), ((0, 0), (0, 0), (r, r), (r, r))).swapaxes(0, 1)
        return lax.conv(around, self._images(error).swapaxes(0, 1), (1, 1), "VALID")[:, 0]

    def learned(self, direction, rate, feedback_rate):
        return Kernels(self.description, self.weights + rate * direction)


gncn.register("connection", "convolution", Convolution)
