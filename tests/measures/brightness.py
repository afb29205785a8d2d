"""A measure from outside the library: one class in one file, registered under a name."""

import jax
import jax.numpy as jnp
from pydantic import Field

from gncn.measures import Column, Condition, Measure, Result, Subject, within


class Brightness(Measure):
    """How far the brightness that codes predict is from the images', on average.

    Attributes:
        scale: by which the difference is multiplied.
    """

    scale: float = Field(default=100.0, gt=0, description="Factor on the difference.")

    columns = (Column("brightness", "Brightness", within("brightness", "difference")),)
    conditions = (Condition("scale", "scale of brightness", within("brightness", "scale")),)

    def measure(self, subject: Subject) -> Result:
        """Compare what codes predict with the images that they are codes of."""
        images = subject.target.array.mean()
        codes = jnp.asarray(subject.codes(subject.split))
        predicted = jax.nn.sigmoid(subject.model.decoder.decode(codes)).mean()
        difference = self.scale * abs(float(predicted - images))
        return Result({"brightness": {"difference": difference, "scale": self.scale}})
