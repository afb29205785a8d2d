"""What the tests of estimates and of mixtures compute alike."""

import jax
import jax.numpy as jnp
import numpy as np

from gncn.evaluation.mixture import Mixture
from gncn.evaluation.proposals import Proposal


def gaussians(means, factors, weights=None, share: float = 0.0) -> Proposal:
    """A proposal for each image: of one Gaussian, or of several with their weights.

    Args:
        means: (images, dim) or (images, modes, dim).
        factors: C, triangular, (images, dim, dim) or (images, modes, dim, dim).
        weights: w of each mode; alike by default.
        share: a, of the prior.
    """
    means, factors = np.asarray(means, np.float32), np.asarray(factors, np.float32)
    if means.ndim == 2:
        means, factors = means[:, None], factors[:, None]
    n, modes = means.shape[:2]
    weights = (
        np.full((n, modes), 1 / modes) if weights is None else np.broadcast_to(weights, (n, modes))
    )
    inverse = np.linalg.inv(factors.astype(np.float64))
    # Orbits then follow the pixels alone, which no estimate may notice.
    slopes, curvatures = np.zeros_like(means), np.zeros_like(factors)
    arrays = np.log(weights), means, factors, inverse, slopes, curvatures
    return Proposal(*(jnp.asarray(one, jnp.float32) for one in arrays), share)


def repeated(proposal: Proposal, times: int) -> Proposal:
    return jax.tree.map(lambda leaf: jnp.repeat(leaf, times, axis=0), proposal)


def covariances(mixture: Mixture) -> np.ndarray:
    """Σ_k of a mixture as full matrices."""
    whitening = np.asarray(mixture.whitening, np.float64)
    if mixture.covariance == "diagonal":
        whitening = np.stack([np.diag(row) for row in whitening])
    return np.linalg.inv(np.swapaxes(whitening, 1, 2) @ whitening)
