"""Precision Σ⁻¹ and how it is learned (Eq 7).

The derivative of ψ with respect to Σ⁻¹ is ½ Σ − ½ E[d d^T]: the precision grows where
the deviations d are smaller than it expects and shrinks where they are larger, until
Σ is their covariance.  After every update the precision is made exactly symmetric and
its eigenvalues are held within bounds, so it always is a precision: positive definite,
with a logarithm of its determinant, and unable to blow settling up.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float


def precision_update(
    precision: Float[Array, "units units"] | Float[Array, " units"],
    deviations: Float[Array, "batch units"],
    weights: Float[Array, " batch"],
) -> Float[Array, "units units"] | Float[Array, " units"]:
    """Δ Σ⁻¹ = ½ Σ − ½ E[d d^T] (Eq 7), or its diagonal.

    Args:
        precision: Σ⁻¹, diagonal or full.
        deviations: d = z − z̄, not weighted by the precision.
        weights: weight of each image in the mean; they sum to 1.
    """
    weighted = deviations * weights[:, None]
    if precision.ndim == 1:
        return 0.5 / precision - 0.5 * jnp.sum(weighted * deviations, axis=0)
    return 0.5 * jnp.linalg.inv(precision) - 0.5 * (weighted.T @ deviations)


def hold_eigenvalues(
    precision: Float[Array, "units units"] | Float[Array, " units"],
    lowest: Float[Array, ""] | float,
    highest: Float[Array, ""] | float,
) -> Float[Array, "units units"] | Float[Array, " units"]:
    """The symmetric matrix nearest to `precision` with eigenvalues in [lowest, highest]."""
    if precision.ndim == 1:
        return jnp.clip(precision, lowest, highest)
    symmetric = 0.5 * (precision + precision.T)
    values, vectors = jnp.linalg.eigh(symmetric)
    held = (vectors * jnp.clip(values, lowest, highest)[None, :]) @ vectors.T
    return 0.5 * (held + held.T)
