"""`PerImage`: a score with one value for each image, its mean and standard error."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True)
class PerImage:
    """A score of every image."""

    values: Float[np.ndarray, " images"]

    @property
    def mean(self) -> float:
        """Mean over images."""
        return float(np.mean(self.values, dtype=np.float64))

    @property
    def standard_error(self) -> float:
        """Standard error of that mean, for images drawn at random; nan for one image."""
        n = len(self.values)
        if n == 1:
            return np.nan
        return float(np.std(self.values, ddof=1, dtype=np.float64) / np.sqrt(n))
