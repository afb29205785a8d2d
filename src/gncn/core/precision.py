"""Precision Σ⁻¹ of error neurons, and how it is learned (Eq 7).

    ΔΣ⁻¹ = ½ Σ − ½ E[d d^T],    d = z − z̄

The precision grows where the deviations d are smaller than it expects and shrinks where
they are larger, until Σ is their covariance.  After every update it is made symmetric and
its eigenvalues are held within bounds.  So it stays positive definite, its determinant has
a logarithm, and settling can't blow up.
"""

import abc
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.custom_batching import sequential_vmap
from jaxtyping import Array, Bool, Float, PRNGKeyArray

Units = Float[Array, "#batch units"]
Shares = Float[Array, " batch"]
"""Each image's weight in a mean; they sum to 1."""
Nats = Float[Array, " batch"]
Sharpness = Float[Array, "*units"]
Rate = Float[Array, ""]
Bounds = tuple[float, float]
Square = Float[Array, "units units"]


class Precision(eqx.Module):
    """Σ⁻¹ of one layer; deviations d are not weighted by it."""

    @abc.abstractmethod
    def weigh(self, deviations: Units) -> Units:
        """Σ⁻¹ d: what error neurons send (Eq 1)."""

    @abc.abstractmethod
    def log_determinant(self) -> Float[Array, "*rows"]:
        """Log |Σ⁻¹|: one number, or one for each image that the precision is laid out for."""

    @abc.abstractmethod
    def sharpness(self) -> Sharpness:
        """Σ⁻¹ as a number, a diagonal or a matrix."""

    @abc.abstractmethod
    def noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Units:
        """Samples of N(0, Σ)."""

    def update(self, deviations: Units, shares: Shares) -> Any:
        """ΔΣ⁻¹ of Eq 7; by default nothing is learned."""
        return ()

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "Precision":
        """The precision after a step along `update`, its eigenvalues within `bounds`."""
        return self

    def for_batch(self, n_images: int) -> "Precision":
        """The same laid out for so many images."""
        return self


class Unit(Precision):
    """Σ⁻¹ = I, not learned."""

    def weigh(self, deviations: Units) -> Units:
        return deviations

    def log_determinant(self) -> Float[Array, ""]:
        return jnp.zeros(())

    def sharpness(self) -> Sharpness:
        return jnp.ones(())

    def noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Units:
        return jax.random.normal(key, shape, jnp.float32)


class Diagonal(Precision):
    """A diagonal Σ⁻¹; while states settle, its values stand once for each image."""

    values: Float[Array, "*rows units"]

    def weigh(self, deviations: Units) -> Units:
        rows = self.values[None, :] if self.values.ndim == 1 else self.values
        return deviations * rows

    def log_determinant(self) -> Float[Array, "*rows"]:
        """Σ log p."""
        return jnp.sum(jnp.log(self.values), axis=-1)

    def update(self, deviations: Units, shares: Shares) -> Any:
        """½ σ² − ½ E[d²]."""
        weighted = deviations * shares[:, None]
        return 0.5 / self.values - 0.5 * jnp.sum(weighted * deviations, axis=0)

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "Diagonal":
        # The entries of a diagonal are its eigenvalues, so clipping holds the bounds.
        return Diagonal(jnp.clip(self.values + rate * update, *bounds))

    def sharpness(self) -> Sharpness:
        return self.values

    def noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Units:
        return jax.random.normal(key, shape, jnp.float32) / jnp.sqrt(self.values)[None, :]

    def for_batch(self, n_images: int) -> "Diagonal":
        """The diagonal repeated for every image.

        A CPU multiplies two arrays of one shape at full speed, but not an array by a row.
        """
        return Diagonal(jnp.broadcast_to(self.values, (n_images, len(self.values))))


class Full(Precision):
    """A full Σ⁻¹, symmetric and positive definite."""

    matrix: Float[Array, "*trials units units"]

    def weigh(self, deviations: Units) -> Units:
        return deviations @ self.matrix.T

    def log_determinant(self) -> Float[Array, ""]:
        """2 Σ log of the Cholesky factor's diagonal."""
        return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(self.matrix))))

    def update(self, deviations: Units, shares: Shares) -> Any:
        """½ Σ − ½ E[d d^T]."""
        weighted = deviations * shares[:, None]
        return 0.5 * _inverse(self.matrix) - 0.5 * (weighted.T @ deviations)

    def learned(self, update: Any, rate: Rate, bounds: Bounds) -> "Full":
        return Full(hold_eigenvalues(self.matrix + rate * update, *bounds))

    def sharpness(self) -> Sharpness:
        return self.matrix

    def noise(self, key: PRNGKeyArray, shape: tuple[int, ...]) -> Units:
        """L^-T ε with Σ⁻¹ = L L^T, whose covariance is Σ."""
        factor = jnp.linalg.cholesky(self.matrix)
        normal = jax.random.normal(key, shape, jnp.float32)
        return jax.scipy.linalg.solve_triangular(factor.T, normal.T, lower=False).T


@sequential_vmap
def _inverse(matrix: Square) -> Square:
    """The inverse; of several trials one after another.

    On a CPU, JAX's solver of batched triangular systems waits for threads that other such
    solvers may hold, and is many times slower.
    """
    return jnp.linalg.inv(matrix)


def hold_eigenvalues(precision: Square, lowest: float, highest: float) -> Square:
    """The symmetric matrix nearest to `precision` with eigenvalues in [lowest, highest].

    Two Cholesky factorisations tell whether a bound is broken, at a tenth of the cost of the
    eigenvalues.  These are computed only where one is.
    """
    # Rounding makes updates slightly asymmetric, and the asymmetry would add up.
    symmetric = 0.5 * (precision + precision.T)
    identity = jnp.eye(len(precision), dtype=precision.dtype)
    within = _is_positive(symmetric - lowest * identity) & _is_positive(
        highest * identity - symmetric
    )
    # Under vmap a `cond` computes both branches; then the eigenvalues are always paid for.
    return lax.cond(within, lambda matrix: matrix, lambda m: _clip(m, lowest, highest), symmetric)


def _is_positive(symmetric: Square) -> Bool[Array, ""]:
    """Whether a symmetric matrix is positive definite."""
    # JAX raises nothing where a factorisation fails, but returns NaN.
    return jnp.all(jnp.isfinite(jnp.linalg.cholesky(symmetric, symmetrize_input=False)))


def _clip(symmetric: Square, lowest: float, highest: float) -> Square:
    values, vectors = jnp.linalg.eigh(symmetric)
    held = (vectors * jnp.clip(values, lowest, highest)[None, :]) @ vectors.T
    # Symmetric in theory, but not after rounding.
    return 0.5 * (held + held.T)
