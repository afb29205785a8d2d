"""A measure from outside the library: one class in one file, registered under a name."""

import numpy as np
from pydantic import Field

from gncn.measures import Column, Condition, Measure, Result, Subject, within


class Brightness(Measure):
    """How far samples of the codes' mean image are from the data in mean brightness.

    Attributes:
        scale: by which the difference is multiplied.
    """

    scale: float = Field(default=100.0, gt=0, description="Factor on the difference.")

    columns = (Column("brightness", "Brightness", within("brightness", "difference")),)
    conditions = (Condition("scale", "scale of brightness", within("brightness", "scale")),)

    def measure(self, subject: Subject) -> Result:
        """Compare what codes predict with the images that they are codes of."""
        images = subject.target.array.mean()
        logits = np.asarray(subject.model.decoder.decode(subject.codes(subject.split)))
        predicted = (1 / (1 + np.exp(-logits))).mean()
        difference = self.scale * abs(float(predicted - images))
        return Result({"brightness": {"difference": difference, "scale": self.scale}})
