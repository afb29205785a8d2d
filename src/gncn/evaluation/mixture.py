"""`Mixture`: a Gaussian mixture over codes, its density and its samples.

    p(z) = Σ_k π_k N(z; μ_k, Σ_k)

The paper's prior over the top states (65 components, full covariance).  A mixture keeps
the matrices A_k that whiten its components, Σ_k^{-1} = A_k^T A_k.  Then

    log N(z; μ, Σ) = log|A| − ½ ‖A(z − μ)‖² − ½ J log 2π

is a matrix product, and so is its gradient.  A is lower triangular: the inverse of the
Cholesky factor C of Σ = C C^T.

Fitting is in `gncn.evaluation.mixture_fit`.
"""

from typing import Literal, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gncn.base.errors import DataError, unknown_choice
from gncn.base.extras import needs

Covariance = Literal["full", "diagonal"]
COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)

_HIGHEST = lax.Precision.HIGHEST
_BLOCK = 128
_NEAR = 8
"""Components that replace a mixture near a code."""
_AT_ONCE = 1 << 24
"""Whitened numbers held at once for densities of a few codes."""


class Mixture(eqx.Module):
    """A Gaussian mixture; a pytree of three arrays.

    ==========  ============  ====================================================
    symbol      field         shape
    ==========  ============  ====================================================
    log π_k     `logits`      (components,); up to a constant
    μ_k         `means`       (components, dim)
    A_k         `whitening`   by `covariance`: ``"full"`` (components, dim, dim),
                              lower triangular; ``"diagonal"`` (components, dim), 1/σ
    ==========  ============  ====================================================

    """

    logits: Float[Array, " components"]
    means: Float[Array, "components dim"]
    whitening: Float[Array, "..."]
    covariance: Covariance = eqx.field(static=True)

    @property
    def weights(self) -> Float[Array, " components"]:
        """π, adding up to 1."""
        return jax.nn.softmax(self.logits)

    @property
    def n_components(self) -> int:
        """Number of components, K."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """Size of a code."""
        return self.means.shape[1]

    @property
    def covariances(self) -> Float[Array, "components dim dim"]:
        """Σ_k as full matrices, whatever their kind."""
        if self.covariance == "diagonal":
            return jax.vmap(jnp.diag)(self.whitening**-2)
        factor = jnp.linalg.inv(self.whitening)
        return jnp.matmul(factor, jnp.swapaxes(factor, -1, -2), precision=_HIGHEST)

    @property
    def log_normaliser(self) -> Float[Array, " components"]:
        """log|A_k| − ½ J log 2π, the log density at each component's mean."""
        diagonal = self.whitening
        if self.covariance == "full":
            diagonal = jnp.diagonal(diagonal, axis1=-2, axis2=-1)
        return jnp.sum(jnp.log(diagonal), axis=-1) - 0.5 * self.dim * jnp.log(2 * jnp.pi)

    @eqx.filter_jit
    def component_log_prob(
        self, codes: Float[Array, "codes dim"]
    ) -> Float[Array, "codes components"]:
        """Densities log N(z; μ_k, Σ_k) of codes under components, in nats (without π)."""
        means, whitening = self.means, self.whitening
        if self.covariance == "full" and codes.size * self.n_components <= _AT_ONCE:
            return self.log_normaliser[None, :] - 0.5 * _distances(codes, means, whitening)
        distance = lax.map(
            lambda one: jnp.sum(_whiten(codes - one[0][None, :], one[1]) ** 2, axis=-1),
            (means, whitening),
        )
        return (self.log_normaliser[:, None] - 0.5 * distance).T

    @eqx.filter_jit
    def log_prob(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log density log p(z) of each code in nats; differentiable."""
        joint = self.component_log_prob(codes) + jax.nn.log_softmax(self.logits)[None, :]
        return jax.nn.logsumexp(joint, axis=-1)

    def near(self, code: Float[Array, " dim"]) -> "Mixture":
        """The mixture of the few components that most likely drew a code, if all are costly.

        Around the code its log density differs by a constant, up to what the components left
        out contribute.  In many dimensions that is next to nothing.
        """
        if self.covariance != "full" or self.n_components <= _NEAR:
            return self
        joint = self.component_log_prob(code[None])[0] + self.logits
        chosen = lax.top_k(joint, _NEAR)[1]
        parts = (self.logits[chosen], self.means[chosen], self.whitening[chosen])
        return Mixture(*parts, covariance=self.covariance)

    @eqx.filter_jit
    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes: a component k from π, then μ_k + A_k^{-1} ε with ε from N(0, I)."""
        component_key, noise_key = jax.random.split(key)
        chosen = jax.random.categorical(component_key, self.logits, shape=(n,))
        noise = jax.random.normal(noise_key, (n, self.dim))
        if self.covariance == "full":
            offset = _solve_by_component(self.whitening, noise, chosen)
        else:
            offset = noise / self.whitening[chosen]
        return self.means[chosen] + offset


def _whiten(
    deviations: Float[Array, "codes dim"], whitening: Float[Array, "..."]
) -> Float[Array, "codes dim"]:
    """A(z − μ) of each row, for A a matrix or a diagonal."""
    if whitening.ndim == 2:
        return jnp.matmul(deviations, whitening.T, precision=_HIGHEST)
    return deviations * whitening[None, :]


def _distances(
    codes: Float[Array, "codes dim"],
    means: Float[Array, "components dim"],
    whitening: Float[Array, "components dim dim"],
) -> Float[Array, "codes components"]:
    """‖A_k(z − μ_k)‖² of every code and component, by one product: for a few codes."""
    centre = jnp.mean(means, axis=0, keepdims=True)
    codes, means = codes - centre, means - centre
    flat = whitening.reshape(-1, codes.shape[1])
    white = jnp.matmul(codes, flat.T, precision=_HIGHEST)
    centres = jnp.sum(whitening * means[:, None, :], axis=-1)
    away = white.reshape(len(codes), *centres.shape) - centres[None]
    return jnp.sum(away**2, axis=-1)


def mixture_from_moments(
    weights: Float[Array | np.ndarray, " components"],
    means: Float[Array | np.ndarray, "components dim"],
    covariances: Float[Array | np.ndarray, "..."],
    covariance: Covariance | str = "full",
) -> Mixture:
    """Build a mixture, in single precision, from factors computed in double precision.

    Args:
        weights: π, positive; scaled to add up to 1.
        means: μ.
        covariances: Σ: (components, dim, dim) if full, variances (components, dim) if
            diagonal.
        covariance: ``"full"`` or ``"diagonal"``.

    Raises:
        ConfigError: `covariance` is unknown.
        DataError: shapes disagree, weights aren't positive, or a covariance is not
            positive definite.
    """
    if covariance not in COVARIANCES:
        raise unknown_choice("covariance", covariance, COVARIANCES)
    pi, centres, moments = (np.asarray(a, np.float64) for a in (weights, means, covariances))
    n, dim = centres.shape
    shape = {"full": (n, dim, dim), "diagonal": (n, dim)}
    if pi.shape != (n,) or moments.shape != shape[covariance]:
        raise DataError(
            f"A {covariance} mixture with means of shape {centres.shape} needs weights of shape "
            f"{(n,)} and covariances of shape {shape[covariance]}; received {pi.shape} and "
            f"{moments.shape}."
        )
    if not (pi > 0).all():
        raise DataError(f"Weights must be positive; the least received is {pi.min()}.")
    whitening = whiten_moments(moments, covariance)
    return Mixture(
        logits=jnp.asarray(np.log(pi / pi.sum()), jnp.float32),
        means=jnp.asarray(centres, jnp.float32),
        whitening=jnp.asarray(whitening, jnp.float32),
        covariance=covariance,
    )


def whiten_moments(
    covariances: Float[np.ndarray, "..."], covariance: Covariance
) -> Float[np.ndarray, "..."]:
    """A for each Σ, with Σ^{-1} = A^T A and A lower triangular, in double precision.

    Raises:
        DataError: a covariance is not positive definite.
    """
    needs("scipy", "evaluation")
    needs("threadpoolctl", "evaluation")
    from scipy.linalg import get_lapack_funcs
    from threadpoolctl import threadpool_limits

    try:
        if covariance == "diagonal":
            if not (covariances > 0).all():
                raise np.linalg.LinAlgError
            return 1 / np.sqrt(covariances)
        with threadpool_limits(1, user_api="blas"):  # small matrices: threads only wait
            factors = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        raise DataError(
            "A covariance is not positive definite. Increase the regularisation, or scale the "
            "codes."
        ) from None
    (invert,) = get_lapack_funcs(("trtri",), dtype=np.float64)
    inverses = np.empty_like(factors)
    with threadpool_limits(1, user_api="blas"):
        for index in np.ndindex(factors.shape[:-2]):
            inverses[index] = invert(factors[index], lower=True)[0]
    return inverses


def _solve_by_component(
    whitening: Float[Array, "components dim dim"],
    noise: Float[Array, "n dim"],
    chosen: Int[Array, " n"],
) -> Float[Array, "n dim"]:
    """A_k^{-1} ε of each row ε and its component k.

    Rows are sorted by component and cut into blocks that hold one component each, so
    that a block is one triangular system with many right-hand sides; or, where there are
    more rows than the inverses have columns, one product with an inverse.
    """
    n, (n_components, dim, _) = len(noise), whitening.shape
    invert = n > n_components * dim
    if invert:
        identity = jnp.eye(dim)
        whitening = lax.map(lambda a: solve_triangular(a, identity, lower=True), whitening)
    size = min(max(n // n_components, 1), _BLOCK)
    n_blocks = n if size == 1 else n // size + min(n, n_components)
    order = jnp.argsort(chosen)
    counts = jnp.bincount(chosen, length=n_components)
    ends, block_ends = jnp.cumsum(counts), jnp.cumsum(-(-counts // size))

    def solve(block: Int[Array, ""]) -> tuple[Int[Array, " block"], Float[Array, "block dim"]]:
        component = jnp.searchsorted(block_ends, block, side="right")
        component = jnp.minimum(component, n_components - 1)
        before = -(-counts[component] // size) - (block_ends[component] - block)
        start = ends[component] - counts[component] + before * size
        place = start + jnp.arange(size)
        own = (place < ends[component]) & (block < block_ends[-1])
        rows = jnp.where(own, order[jnp.minimum(place, n - 1)], n)
        right, matrix = noise[rows % n], whitening[component]
        if invert:
            return rows, jnp.matmul(right, matrix.T, precision=_HIGHEST)
        return rows, solve_triangular(matrix, right.T, lower=True).T

    rows, solved = lax.map(solve, jnp.arange(n_blocks))
    flat = solved.reshape(-1, noise.shape[1])
    return jnp.zeros_like(noise).at[rows.reshape(-1)].set(flat, mode="drop")
