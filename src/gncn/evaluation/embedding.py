"""A picture of the codes in the plane, by t-SNE (van der Maaten & Hinton 2008)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from sklearn.manifold import TSNE

from gncn.errors import ConfigError
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.protocols import Codes


class Embedding(NamedTuple):
    """Codes in the plane.

    Attributes:
        indices: rows of the codes that were chosen, ascending.
        positions: where they are drawn.
    """

    indices: Int[np.ndarray, " points"]
    positions: Float[np.ndarray, "points 2"]


def embed(
    codes: Codes, *, n_points: int = 3000, perplexity: float = 30.0, seed: int = 0
) -> Embedding:
    """Lay out codes in the plane so that neighbours stay neighbours.

    Args:
        codes: the codes.
        n_points: how many to draw, chosen at random; all if there are fewer.
        perplexity: about how many neighbours count; below the number drawn.
        seed: of the choice and of t-SNE.

    Returns:
        Which codes were chosen and where they are.  Distances between clusters and
        their sizes mean little.

    Raises:
        ConfigError: a number is not positive, or perplexity is too large.
    """
    check_positive(n_points=n_points, perplexity=perplexity)
    n = min(n_points, len(codes))
    if perplexity >= n:
        raise ConfigError(f"perplexity must be below the {n} points drawn; received {perplexity}.")
    indices = np.sort(np.random.default_rng(seed).permutation(len(codes))[:n])
    layout = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    chosen = np.asarray(codes, np.float32)[indices]
    return Embedding(indices, np.asarray(layout.fit_transform(chosen)))
