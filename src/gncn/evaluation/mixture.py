"""`Mixture`: a Gaussian mixture over codes, its density and its samples.

    p(z) = Σ_k π_k N(z; μ_k, Σ_k)

The paper's prior over the top states (65 components, full covariance).  A mixture keeps
the matrices A_k that whiten its components, Σ_k^{-1} = A_k^T A_k.  Then

    log N(z; μ, Σ) = log|A| − ½ ‖A(z − μ)‖² − ½ J log 2π

is a matrix product, and so is its gradient.  A is lower triangular: the inverse of the
Cholesky factor C of Σ = C C^T.

Fitting is in `gncn.evaluation.mixture_fit`.
"""

from typing import Literal, NamedTuple, get_args

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gncn.base.errors import DataError
from gncn.base.extras import needs

Covariance = Literal["full", "diagonal"]
COVARIANCES: tuple[Covariance, ...] = get_args(Covariance)

_HIGHEST = lax.Precision.HIGHEST
_BLOCK = 128
# Components far away have responsibilities near 0, and would only cost memory.
_NEAR = 4  # components that count near a code
_AT_ONCE = 1 << 24  # whitened numbers held at once for densities of a few codes


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
    def n_components(self) -> int:
        """Number of components, K."""
        return self.means.shape[0]

    @property
    def dim(self) -> int:
        """Size of a code."""
        return self.means.shape[1]

    @property
    def log_normaliser(self) -> Float[Array, " components"]:
        """log|A_k| − ½ J log 2π, the log density at each component's mean."""
        diagonal = self.whitening
        if self.covariance == "full":
            diagonal = jnp.diagonal(diagonal, axis1=-2, axis2=-1)
        return jnp.sum(jnp.log(diagonal), axis=-1) - 0.5 * self.dim * jnp.log(2 * jnp.pi)

    @property
    def factors(self) -> Float[Array, "..."]:
        """A_k^{-1}, shaped like `whitening`."""
        if self.covariance == "diagonal":
            return 1 / self.whitening
        eye = jnp.eye(self.dim)
        return lax.map(lambda white: solve_triangular(white, eye, lower=True), self.whitening)

    def places_in(
        self, codes: Float[Array, "codes dim"], component: Int[Array, " codes"]
    ) -> Float[Array, "codes dim"]:
        """A_k (z − μ_k) of every code, with its own component k."""

        def place(one: tuple[Float[Array, " dim"], Int[Array, ""]]) -> Float[Array, " dim"]:
            code, k = one
            white, away = self.whitening[k], code - self.means[k]
            return white * away if white.ndim == 1 else jnp.matmul(white, away, precision=_HIGHEST)

        return lax.map(place, (codes, component), batch_size=16)  # matrices held at once

    @eqx.filter_jit
    def component_log_prob(
        self, codes: Float[Array, "codes dim"]
    ) -> Float[Array, "codes components"]:
        """Densities log N(z; μ_k, Σ_k) of codes under components, in nats (without π)."""
        # One product for all pairs if it fits; else component by component.
        if self.covariance == "full" and codes.size * self.n_components <= _AT_ONCE:
            distance = _distances(codes, self.means, self.whitening)
        else:
            components = self.means, self.whitening
            distance = lax.map(lambda one: _distance(codes, *one), components).T
        return self.log_normaliser[None, :] - 0.5 * distance

    @eqx.filter_jit
    def log_prob(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log density log p(z) of each code in nats; differentiable."""
        joint = self.component_log_prob(codes) + jax.nn.log_softmax(self.logits)[None, :]
        return jax.nn.logsumexp(joint, axis=-1)

    @property
    def precisions(self) -> Float[Array, "..."]:
        """Σ_k^{-1}, shaped like `whitening`."""
        if self.covariance == "diagonal":
            return self.whitening**2
        return lax.map(lambda a: jnp.matmul(a.T, a, precision=_HIGHEST), self.whitening)

    def near(
        self, codes: Float[Array, "codes dim"]
    ) -> tuple[Float[Array, " codes"], Int[Array, "codes near"]]:
        """The densities log p(z) of codes, and their likeliest components."""
        joint = self.component_log_prob(codes) + jax.nn.log_softmax(self.logits)[None]
        chosen = lax.top_k(joint, min(_NEAR, self.n_components))[1]
        return jax.nn.logsumexp(joint, axis=-1), chosen

    def part(self, chosen: Int[Array, " near"]) -> "Mixture":
        """The mixture of some of the components."""
        arrays = (self.logits[chosen], self.means[chosen], self.whitening[chosen])
        return Mixture(*arrays, covariance=self.covariance)

    @eqx.filter_jit
    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes: a component k from π, then μ_k + A_k^{-1} ε with ε from N(0, I)."""
        # One key for each draw: components and noise must be independent.
        component_key, noise_key = jax.random.split(key)
        chosen = jax.random.categorical(component_key, self.logits, shape=(n,))
        noise = jax.random.normal(noise_key, (n, self.dim), jnp.float32)
        if self.covariance == "full":
            offset = _solve_by_component(self.whitening, noise, chosen)
        else:
            offset = noise / self.whitening[chosen]
        return self.means[chosen] + offset


def _distance(
    codes: Float[Array, "codes dim"], mean: Float[Array, " dim"], whitening: Float[Array, "..."]
) -> Float[Array, " codes"]:
    """‖A(z − μ)‖² of every code, for A a matrix or a diagonal."""
    deviations = codes - mean[None, :]
    if whitening.ndim == 2:
        white = jnp.matmul(deviations, whitening.T, precision=_HIGHEST)
    else:
        white = deviations * whitening[None, :]
    return jnp.sum(white**2, axis=-1)


def _distances(
    codes: Float[Array, "codes dim"],
    means: Float[Array, "components dim"],
    whitening: Float[Array, "components dim dim"],
) -> Float[Array, "codes components"]:
    """‖A_k(z − μ_k)‖² of every code and component, by one product: for a few codes."""
    # Centred first, since squares of large numbers would lose the digits of small distances.
    centre = jnp.mean(means, axis=0, keepdims=True)
    codes, means = codes - centre, means - centre
    flat = whitening.reshape(-1, codes.shape[1])
    # A(z − μ) = Az − Aμ: the product with all A at once needs the codes only once.
    white = jnp.matmul(codes, flat.T, precision=_HIGHEST)
    centres = jnp.sum(whitening * means[:, None, :], axis=-1)
    away = white.reshape(len(codes), *centres.shape) - centres[None]
    return jnp.sum(away**2, axis=-1)


def _solve_by_component(
    whitening: Float[Array, "components dim dim"],
    noise: Float[Array, "n dim"],
    chosen: Int[Array, " n"],
) -> Float[Array, "n dim"]:
    """A_k^{-1} ε of each row ε and its component k.

    Rows are laid out in blocks that hold one component each, so that a block is one triangular
    system with many right-hand sides.
    """
    (n, dim), n_components = noise.shape, len(whitening)
    # About an average component's rows, so that few zeros fill up the last blocks.
    size = min(max(n // n_components, 1), _BLOCK)
    # As many as can ever be needed: JAX must know the number before the draw.
    n_blocks = n // size + min(n, n_components)
    counts = jnp.bincount(chosen, length=n_components)
    # Rows sorted by component; the rank is a row's place among those with the same component.
    sorted_place = jnp.zeros_like(chosen).at[jnp.argsort(chosen)].set(jnp.arange(n))
    rank = sorted_place - (jnp.cumsum(counts) - counts)[chosen]
    n_own = -(-counts // size)
    ends = jnp.cumsum(n_own)
    slot = (ends - n_own)[chosen] * size + rank
    # Row i goes to its own slot; what is left over in a component's last block stays 0.
    blocks = jnp.zeros((n_blocks * size, dim)).at[slot].set(noise).reshape(n_blocks, size, dim)
    component = jnp.searchsorted(ends, jnp.arange(n_blocks), side="right")
    solved = lax.map(
        lambda one: solve_triangular(whitening[one[0]], one[1].T, lower=True).T,
        # Blocks beyond the last used one are solved too, for nothing: their zeros are never read.
        (jnp.minimum(component, n_components - 1), blocks),
    )
    return solved.reshape(-1, dim)[slot]


def mixture_from_moments(
    weights: Float[np.ndarray, " components"],
    means: Float[np.ndarray, "components dim"],
    covariances: Float[np.ndarray, "components dim dim"] | Float[np.ndarray, "components dim"],
) -> Mixture:
    """Build a mixture, in single precision, from factors computed in double precision.

    `weights` are scaled to add up to 1.  Diagonal covariances are given by their diagonals.

    Raises:
        DataError: a weight is not above 0, or a covariance is not positive definite.
    """
    pi = np.asarray(weights, np.float64)
    if not (pi > 0).all():
        raise DataError(f"Weights of a mixture must be above 0; received {pi.min()}.")
    return Mixture(
        logits=jnp.asarray(np.log(pi / pi.sum()), jnp.float32),
        means=jnp.asarray(means, jnp.float32),
        whitening=jnp.asarray(_whitening(np.asarray(covariances, np.float64)), jnp.float32),
        covariance="full" if covariances.ndim == 3 else "diagonal",
    )


class Moments(NamedTuple):
    """What `mixture_from_moments` takes, in double precision: π, μ, and Σ or its diagonals."""

    weights: Float[np.ndarray, " components"]
    means: Float[np.ndarray, "components dim"]
    covariances: Float[np.ndarray, "..."]

    @classmethod
    def of(cls, mixture: Mixture) -> "Moments":
        """The moments of a mixture; with full covariances it inverts a matrix for each."""
        logits, means, white = (np.asarray(one, np.float64) for one in jax.tree.leaves(mixture))
        if mixture.covariance == "diagonal":
            covariances = 1 / white**2
        else:
            factors = np.linalg.inv(white)
            covariances = factors @ np.swapaxes(factors, 1, 2)
        return cls(np.exp(logits), means, covariances)

    def widened(self, by: float) -> Mixture:
        """The mixture with a number added to all variances; below 0 it becomes narrower.

        Raises:
            DataError: a covariance would not be positive definite.
        """
        more = by if self.covariances.ndim == 2 else by * np.eye(self.means.shape[1])
        return mixture_from_moments(self.weights, self.means, self.covariances + more)


def _whitening(covariances: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """A for each Σ, or the diagonals of both, in double precision."""
    needs("threadpoolctl", "evaluation")
    from threadpoolctl import threadpool_limits

    try:
        if covariances.ndim == 2:
            if not (covariances > 0).all():
                raise np.linalg.LinAlgError
            return 1 / np.sqrt(covariances)
        with threadpool_limits(1, user_api="blas"):  # small matrices: threads only wait
            return inverses(np.linalg.cholesky(covariances), lower=True)
    except np.linalg.LinAlgError:
        raise DataError(
            "A covariance is not positive definite. Increase the regularisation, or scale the "
            "codes."
        ) from None


def inverses(
    triangular: Float[np.ndarray, "n dim dim"], *, lower: bool
) -> Float[np.ndarray, "n dim dim"]:
    """Invert triangular matrices in their place; a general inverse would read the zeros, too."""
    needs("scipy", "evaluation")
    from scipy.linalg import get_lapack_funcs

    (invert,) = get_lapack_funcs(("trtri",), dtype=np.float64)
    for one in triangular:
        one[...] = invert(one, lower=lower)[0]
    return triangular
