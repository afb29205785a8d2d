"""Precision Σ⁻¹ and how it is learned (Eq 7).

The derivative of ψ with respect to Σ⁻¹ is ½ Σ − ½ E[d d^T]: the precision grows where
the deviations d are smaller than it expects and shrinks where they are larger, until
Σ is their covariance.  After every update the precision is made exactly symmetric and
its eigenvalues are held within bounds, so it always is a precision: positive definite,
with a logarithm of its determinant, and unable to blow settling up.
"""

import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float


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
    return 0.5 * _inverse(precision) - 0.5 * (weighted.T @ deviations)


@sequential_vmap
def _inverse(matrix: Float[Array, "units units"]) -> Float[Array, "units units"]:
    """The inverse; of several trials one after another.

    On a CPU, JAX's solver of batched triangular systems waits for threads that other
    such solvers may hold, and is many times slower.
    """
    return jnp.linalg.inv(matrix)


def hold_eigenvalues(
    precision: Float[Array, "units units"] | Float[Array, " units"],
    lowest: Float[Array, ""] | float,
    highest: Float[Array, ""] | float,
) -> Float[Array, "units units"] | Float[Array, " units"]:
    """The symmetric matrix nearest to `precision` with eigenvalues in [lowest, highest].

    Eigenvalues are computed only where a bound is broken: whether one is, two Cholesky
    factorisations tell at a tenth of the cost.
    """
    if precision.ndim == 1:
        return jnp.clip(precision, lowest, highest)
    symmetric = 0.5 * (precision + precision.T)
    identity = jnp.eye(len(precision), dtype=precision.dtype)
    within = _is_positive(symmetric - lowest * identity) & _is_positive(
        highest * identity - symmetric
    )
    return lax.cond(within, lambda matrix: matrix, lambda m: _clip(m, lowest, highest), symmetric)


def _is_positive(symmetric: Float[Array, "units units"]) -> Bool[Array, ""]:
    """Whether a symmetric matrix is positive definite."""
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(symmetric, symmetrize_input=False)))


def _clip(
    symmetric: Float[Array, "units units"],
    lowest: Float[Array, ""] | float,
    highest: Float[Array, ""] | float,
) -> Float[Array, "units units"]:
    values, vectors = jnp.linalg.eigh(symmetric)
    held = (vectors * jnp.clip(values, lowest, highest)[None, :]) @ vectors.T
    return 0.5 * (held + held.T)
