"""`MissingMeasure`: base class of measures of completing images."""

from pathlib import Path

import numpy as np
from jaxtyping import Bool
from pydantic import Field, field_validator

from gncn.base.errors import ConfigError
from gncn.data.reading import read_npy
from gncn.evaluation.completion import visible_pixels
from gncn.measures.measure import Measure
from gncn.measures.subject import Subject


class MissingMeasure(Measure):
    """A measure of images of which some pixels are missing.

    Attributes:
        missing: the half that is missing, ``random`` pixels, or a .npy file of booleans, true
            where a pixel is visible.
    """

    missing: str = Field(
        default="right",
        description="Pixels to complete: the `right`, `left`, `top` or `bottom` half, `random`, "
        "or a .npy file of booleans, true where visible.",
    )

    @field_validator("missing")
    @classmethod
    def _known(cls, missing: str) -> str:
        if not missing.endswith(".npy"):
            visible_pixels(missing, (2, 2))
        return missing

    @property
    def words(self) -> str:
        """What is missing, in words."""
        return "a mask" if self.missing.endswith(".npy") else self.missing

    def check(self, subject: Subject) -> None:
        """Read the mask's file, if there is one.

        Raises:
            ConfigError: it doesn't hold one boolean for each pixel.
            DataError: it can't be read.
        """
        self.visible(subject)

    def visible(self, subject: Subject) -> Bool[np.ndarray, " pixels"]:
        """True where a pixel is visible."""
        return self.mask(subject.shape, subject.seed)

    def mask(self, shape: tuple[int, int], seed: int) -> Bool[np.ndarray, " pixels"]:
        """True where a pixel of images of a shape is visible; the seed is for random pixels."""
        if not self.missing.endswith(".npy"):
            return visible_pixels(self.missing, shape, seed=seed)
        mask = read_npy(Path(self.missing))
        if mask.dtype != bool:
            raise ConfigError(f"The mask {self.missing} must hold booleans; received {mask.dtype}.")
        return visible_pixels(mask, shape)
