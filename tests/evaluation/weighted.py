"""What the tests of estimates and of mixtures compute alike."""

import numpy as np

from gncn.evaluation.likelihood import WeightedEstimate
from gncn.evaluation.mixture import Mixture


def sampling_error(estimate: WeightedEstimate) -> np.ndarray:
    """Standard error of each value as far as samples differ, √(1/ESS − 1/S)."""
    return np.sqrt(np.maximum(1 / estimate.effective_sample_size - 1 / estimate.n_samples, 0))


def covariances(mixture: Mixture) -> np.ndarray:
    """Σ_k of a mixture as full matrices."""
    whitening = np.asarray(mixture.whitening, np.float64)
    if mixture.covariance == "diagonal":
        whitening = np.stack([np.diag(row) for row in whitening])
    return np.linalg.inv(np.swapaxes(whitening, 1, 2) @ whitening)
