"""How far an estimate from weighted samples may be off."""

import numpy as np

from gncn.evaluation.importance import WeightedEstimate


def sampling_error(estimate: WeightedEstimate) -> np.ndarray:
    """Standard error of each value as far as samples differ, √(1/ESS − 1/S)."""
    return np.sqrt(np.maximum(1 / estimate.effective_sample_size - 1 / estimate.n_samples, 0))
