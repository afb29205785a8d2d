"""A picture of the codes in the plane, by t-SNE (van der Maaten & Hinton 2008)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gncn.base.errors import ConfigError
from gncn.base.extras import needs
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.protocols import Codes


class Embedding(NamedTuple):
    """Which rows of the codes were chosen, ascending, and where they are in the plane."""

    indices: Int[np.ndarray, " points"]
    positions: Float[np.ndarray, "points 2"]


def embed(
    codes: Codes, *, n_points: int = 3000, perplexity: float = 30.0, seed: int = 0
) -> Embedding:
    """Lay out codes in the plane so that neighbours stay neighbours.

    Distances between clusters and their sizes mean little.  Codes that only differ by rounding,
    such as a collapsed encoder's, are all at the origin.

    Args:
        codes: the codes.
        n_points: how many to draw, chosen at random; all if there are fewer.
        perplexity: about how many neighbours count; below the number drawn.
        seed: of the choice and of t-SNE.

    Raises:
        ConfigError: a number is not positive, or perplexity is too large.
    """
    needs("sklearn", "evaluation")
    from sklearn.manifold import TSNE

    check_positive(n_points=n_points, perplexity=perplexity)
    n = min(n_points, len(codes))
    if perplexity >= n:
        raise ConfigError(f"perplexity must be below the {n} points drawn; received {perplexity}.")
    indices = np.sort(np.random.default_rng(seed).permutation(len(codes))[:n])
    chosen = np.asarray(codes, np.float32)[indices]
    spread = np.max(np.ptp(chosen, axis=0))
    if spread <= 4 * np.finfo(np.float32).eps * np.max(np.abs(chosen)):
        return Embedding(indices, np.zeros((n, 2), np.float32))
    # In units of their spread, because scikit-learn crashes where single precision underflows.
    layout = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return Embedding(indices, np.asarray(layout.fit_transform(chosen / spread)))
