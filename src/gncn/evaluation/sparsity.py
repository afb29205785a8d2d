"""How few units are active: the paper's share of active units, Hoyer's measure and Gini's.

For one image's states z of J units, a = |z|:

- active: share of units with z > 1e-6 (the paper's ρ; low is sparse);
- Hoyer (2004): (√J − Σa / √Σa²) / (√J − 1), 0 if all are equal, 1 if one alone is active;
- Gini (Hurley & Rickard 2009): 1 − 2 Σ_j a_(j)/Σa · (J − j + ½)/J, a ascending; 0 if all
  are equal, 1 − 1/J if one alone is active.

A state of zeros has neither Hoyer's nor Gini's measure; here it counts as sparsest, with
Hoyer 1 and Gini 1 − 1/J.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gncn.training.epochs import ACTIVE


class Sparsity(NamedTuple):
    """Sparsity of one layer, averaged over images.

    Attributes:
        active: share of active units; the paper's ρ.
        hoyer: Hoyer's measure; 1 is sparsest.
        gini: Gini's measure; towards 1 is sparser.
        silent: share of units that no image activates.
    """

    active: float
    hoyer: float
    gini: float
    silent: float


def sparsity(states: Float[Array | np.ndarray, "images units"]) -> Sparsity:
    """Sparsity of a layer's states."""
    states = jnp.asarray(states)
    active = states > ACTIVE
    return Sparsity(
        float(jnp.mean(active)),
        float(jnp.mean(hoyer(states))),
        float(jnp.mean(gini(states))),
        float(jnp.mean(~jnp.any(active, axis=0))),
    )


def hoyer(states: Float[Array, "images units"]) -> Float[Array, " images"]:
    """Hoyer's measure of each image's states; of a single unit, which can't be denser, 1."""
    if states.shape[1] == 1:
        return jnp.ones(len(states))
    root = jnp.sqrt(states.shape[1])
    length = jnp.sqrt(jnp.sum(states**2, axis=1))
    ratio = jnp.sum(jnp.abs(states), axis=1) / jnp.where(length > 0, length, 1)
    return jnp.where(length > 0, (root - ratio) / (root - 1), 1)


def gini(states: Float[Array, "images units"]) -> Float[Array, " images"]:
    """Gini's measure of each image's states."""
    n = states.shape[1]
    ascending = jnp.sort(jnp.abs(states), axis=1)
    total = jnp.sum(ascending, axis=1)
    rank = (n - jnp.arange(1, n + 1) + 0.5) / n
    weighted = jnp.sum(ascending * rank[None, :], axis=1) / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, 1 - 2 * weighted, 1 - 1 / n)
