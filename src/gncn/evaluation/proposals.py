"""Proposals near the posterior of each image, for importance sampling and annealing.

A posterior has several peaks.  A proposal that sits on one of them misses the others: estimates
are then too low, and nothing shows it.  So a proposal is a sum of Gaussians, one for each peak
that a search found, and of the prior:

    q(z|x) = a p(z) + (1 − a) Σ_m w_m N(z; μ_m, C_m C_m^T)

The share a of prior samples bounds the weights: p(x, z) / q(z|x) ≤ p(x|z) / a.

The search climbs log p(x, z) from several codes: the one that the model itself gives the image,
and prior samples that predict it best.  The curvature at a peak gives the Gaussian's width, and
height and width its weight w_m (Laplace's approximation).
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree, Shaped

from gncn.base.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    check_counts,
    check_positive,
)
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.protocols import Codes, Images, WithPrior

_N_STEPS = 200
_LEARNING_RATE = 0.05
_DRAWS = 2000  # prior samples among which starts are searched, and which tell the prior's widths
_PRIOR_DRAWS = 500  # prior samples of each image, among which q's are drawn: few are drawn twice
_EVEN = 0.2  # of the weight is shared out evenly, since Laplace's approximation can be wrong
_AT_ONCE = 1 << 28  # numbers of matrices held at once
_HIGHEST = lax.Precision.HIGHEST

MOST_MODES = 1000
"""The most Gaussians of a proposal."""

_Climber = tuple[Float[Array, "codes dim"], PyTree]


class Proposal(eqx.Module):
    """q(z|x) of several images; an image's codes are neighbours.

    =========  ================  ======================================================
    symbol     field             shape
    =========  ================  ======================================================
    log w_m    `log_weights`     (images, modes)
    μ_m        `means`           (images, modes, dim)
    C_m        `factors`         (images, modes, dim, dim), triangular
    C_m^{-1}   `whitening`       (images, modes, dim, dim)
    z ~ p(z)   `prior_draws`     (images, draws, dim)
    a          `prior_share`     a number from 0 to below 1
    =========  ================  ======================================================

    """

    log_weights: Float[Array, "images modes"]
    means: Float[Array, "images modes dim"]
    factors: Float[Array, "images modes dim dim"]
    whitening: Float[Array, "images modes dim dim"]
    prior_draws: Float[Array, "images draws dim"]
    prior_share: float = eqx.field(static=True)

    @property
    def log_shares(self) -> Float[Array, "images terms"]:
        """Logarithms of the weights of all terms: the Gaussians, and at last the prior."""
        # log1p(−a) is log(1 − a) without the rounding of 1 − a.
        gaussians = self.log_weights + jnp.log1p(-self.prior_share)
        prior = jnp.full((len(gaussians), 1), jnp.log(self.prior_share))
        return jnp.concatenate([gaussians, prior], axis=1)

    def log_gaussians(self, codes: Float[Array, "images n dim"]) -> Float[Array, "images n modes"]:
        """Log N(z; μ_m, C_m C_m^T) of each image's own codes, in nats."""
        deviations = codes[:, :, None] - self.means[:, None]
        # Differences of nearby codes: rounded factors would cost the digits that matter.
        white = jnp.einsum("imde,inme->inmd", self.whitening, deviations, precision=_HIGHEST)
        diagonals = jnp.diagonal(self.whitening, axis1=-2, axis2=-1)
        height = jnp.sum(jnp.log(jnp.abs(diagonals)), axis=-1)
        constant = 0.5 * codes.shape[-1] * jnp.log(2 * jnp.pi)
        return height[:, None] - constant - 0.5 * jnp.sum(white**2, axis=-1)

    def scaled(
        self,
        vectors: Float[Array, "images n dim"],
        term: Int[Array, "images n"],
        *,
        transposed: bool = False,
    ) -> Float[Array, "images n dim"]:
        """C v of each vector, or C^T v, with the factor of its term.

        The prior's term has no factor, and takes the one of the likeliest Gaussian.
        """
        n_modes = self.means.shape[1]
        equation = "imed,ine->inmd" if transposed else "imde,ine->inmd"
        # Without a factor of its own, the prior's term borrows the scale of the likeliest peak.
        best = jnp.argmax(self.log_weights, axis=1)[:, None]
        mode = jnp.where(term == n_modes, best, term)
        products = jnp.einsum(equation, self.factors, vectors)
        return jnp.take_along_axis(products, mode[:, :, None, None], axis=2)[:, :, 0]

    def sample(
        self, keys: Shaped[PRNGKeyArray, " images"], n: int
    ) -> tuple[Float[Array, "images n dim"], Int[Array, "images n"]]:
        """Draw `n` codes for each image, and the number of the term that each comes from."""
        n_modes, dim = self.means.shape[1:]

        def draw(
            key: PRNGKeyArray, shares: Float[Array, " terms"], pool: Float[Array, "draws dim"]
        ) -> tuple[Int[Array, " n"], Float[Array, "n dim"], Float[Array, "n dim"]]:
            by_term, by_noise, by_row = jax.random.split(key, 3)
            # Categorical takes logarithms, so a prior share of 0 is −∞ and never drawn.
            term = jax.random.categorical(by_term, shares, shape=(n,))
            noise = jax.random.normal(by_noise, (n, dim), jnp.float32)
            row = jax.random.randint(by_row, (n,), 0, len(pool), jnp.int32)
            return term, noise, pool[row]

        term, noise, from_prior = jax.vmap(draw)(keys, self.log_shares, self.prior_draws)
        # Samples of the prior get any Gaussian's number here; the last line replaces them.
        mode = jnp.minimum(term, n_modes - 1)[:, :, None]
        codes = jnp.take_along_axis(self.means, mode, axis=1)
        codes = codes + self.scaled(noise, term)
        return jnp.where((term == n_modes)[:, :, None], from_prior, codes), term


class Proposer(eqx.Module):
    """Makes proposals for images under a model with a prior that has a density.

    Attributes:
        model: p(z) and p(x|z).
        draws: prior samples, among which starts are searched.
        key: of the proposals' own prior samples.
        n_modes: Gaussians for each image.
        prior_share: a.
        inflation: factor on the Gaussians' standard deviations; above 1, since a proposal should
            be wider than what it stands for, rather than narrower.

    Raises:
        ConfigError: a number is not allowed.
    """

    model: WithPrior
    draws: Float[Array, "draws dim"]
    drives: Float[Array, "draws pixels"]
    key: PRNGKeyArray
    n_modes: int = eqx.field(static=True)
    prior_share: float = eqx.field(static=True)
    inflation: float = eqx.field(static=True)

    def __init__(
        self,
        model: WithPrior,
        key: PRNGKeyArray,
        *,
        n_modes: int = 4,
        prior_share: float = 0.05,
        inflation: float = 1.1,
    ) -> None:
        check_counts(MOST_MODES, n_modes=n_modes)
        check_positive(inflation=inflation)
        if not 0 <= prior_share < 1:
            raise ConfigError(
                f"prior_share must be at least 0 and below 1; received {prior_share!r}."
            )
        by_draw, self.key = jax.random.split(key)
        self.model = model
        self.draws = model.prior.sample(by_draw, _DRAWS)
        self.drives = model.decode(self.draws)
        self.n_modes, self.prior_share, self.inflation = n_modes, prior_share, inflation

    def __call__(self, x: Images, codes: Codes, first: int = 0) -> Proposal:
        """Proposals for images `x`, with a code of each to climb from.

        Random numbers depend on an image's number alone, and `first` is the number of the first.

        Raises:
            DataError: `x` can't be data of the model, or there isn't one code for each image.
            DivergenceError: log p(x, z) is not finite.
        """
        images, codes = self.model.output.check(x), jnp.asarray(codes, jnp.float32)
        if len(codes) != len(images):
            raise DataError(
                f"Give one code an image; received {len(codes)} for {len(images)} images."
            )
        x = jnp.asarray(images, jnp.float32)
        peaks, heights, curvatures = _search(self, x, codes)
        # Double precision from here: curvatures may be badly conditioned.
        precisions = np.asarray(curvatures, np.float64)
        if not (np.isfinite(precisions).all() and np.isfinite(heights).all()):
            raise DivergenceError(
                "log p(x, z) is not finite: the model's logits or log p(z) are not. Check its "
                "parameters."
            )
        # What single precision rounds off may leave it a little below positive definite.
        rounding = 1e-6 * np.max(np.diagonal(precisions, axis1=-2, axis2=-1), axis=-1)
        lower = np.linalg.cholesky(
            precisions + rounding[..., None, None] * np.eye(precisions.shape[-1])
        )
        # Σ⁻¹ = L L^T, so A = L^T whitens; wider Gaussians by `inflation` whiten less.
        whitening = np.swapaxes(lower, -1, -2) / self.inflation
        # `inv` leaves rounding below the diagonal.
        factors = np.triu(np.linalg.inv(whitening))
        widths = np.sum(np.log(np.diagonal(factors, axis1=-2, axis2=-1)), axis=-1)
        # Laplace: the integral of a peak is its height times the volume, |C|, up to a common
        # factor.
        evidence = np.asarray(heights, np.float64) + widths
        shares = np.exp(evidence - np.logaddexp.reduce(evidence, axis=1, keepdims=True))
        # A key for each image's number, so proposals don't depend on blocks.
        keys = (jax.random.fold_in(self.key, first + row) for row in range(len(x)))
        pools = [self.model.prior.sample(key, _PRIOR_DRAWS) for key in keys]
        return Proposal(
            # Each Gaussian gets a part of the weight, in case Laplace's approximation missed its
            # peak.
            jnp.asarray(np.log((1 - _EVEN) * shares + _EVEN / self.n_modes), jnp.float32),
            peaks,
            jnp.asarray(factors, jnp.float32),
            jnp.asarray(whitening, jnp.float32),
            jnp.stack(pools),
            self.prior_share,
        )


def images_at_once(n_modes: int, dim: int) -> int:
    """For how many images proposals fit into a gigabyte or two."""
    return int(np.clip(_AT_ONCE // (3 * n_modes * dim**2), 1, 50))


@eqx.filter_jit
def _search(
    proposer: Proposer, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"]
) -> tuple[
    Float[Array, "images modes dim"],
    Float[Array, "images modes"],
    Float[Array, "images modes dim dim"],
]:
    """Peaks of log p(x, z), log p(x, z) there, and minus its second derivative, or nearly.

    Adam climbs in units of the prior's standard deviations, with a rate that decays to 0.
    """
    model, draws, n_modes = proposer.model, proposer.draws, proposer.n_modes
    fit = model.output.table(x, proposer.drives)
    starts = [codes]
    for number in range(1, n_modes):  # the best of each share of the draws, so that they differ
        rows = slice(number - 1, None, n_modes - 1)
        starts.append(draws[rows][jnp.argmax(fit[:, rows], axis=1)])
    # All climbs of all images in one batch: an image's climbs are neighbours.
    start = jnp.stack(starts, axis=1).reshape(-1, draws.shape[1])
    repeated = jnp.repeat(x, n_modes, axis=0)
    widths = jnp.std(draws, axis=0)[None]
    optimiser = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, _N_STEPS))

    def step(carry: _Climber, _: None) -> tuple[_Climber, None]:
        moved, state = carry
        # Of the sum, since each climb's gradient depends on its own code alone.
        depth = lambda u: -jnp.sum(model.log_joint(repeated, start + widths * u))  # noqa: E731
        update, state = optimiser.update(jax.grad(depth)(moved), state)
        return (moved + jnp.asarray(update), state), None

    zero = jnp.zeros_like(start)
    (moved, _), _ = lax.scan(step, (zero, optimiser.init(zero)), None, length=_N_STEPS)
    peaks = start + widths * moved
    heights = model.log_joint(repeated, peaks)
    # One code after the other: each Jacobian has pixels x dim numbers.
    curvatures = lax.map(lambda code: _curvature(model, code), peaks)
    shape = len(x), n_modes
    return (
        peaks.reshape(*shape, -1),
        heights.reshape(shape),
        curvatures.reshape(*shape, *curvatures.shape[1:]),
    )


def _curvature(model: WithPrior, code: Float[Array, " dim"]) -> Float[Array, "dim dim"]:
    """J^T F J + Σ_k r_k Σ_k^{-1}: positive definite, and so a Gaussian's.

    J is the decoder's Jacobian and F the information of pixels about their drive (Gauss and
    Newton).  Where logits are linear in codes, as with rectifiers piece by piece, the
    first term is exact.  The second is the curvature of a mixture's likeliest components, with
    their responsibilities r.
    """
    decode = lambda z: model.decode(z[None])[0]  # noqa: E731
    drive = decode(code)
    # Forward mode costs one pass for each number of the code, reverse mode one for each pixel.
    jacobian = (jax.jacfwd if len(code) < len(drive) else jax.jacrev)(decode)(code)
    mixture = model.prior if isinstance(model.prior, Mixture) else None
    own = _precision(model, code) if mixture is None else mixture.precision_near(code)
    return model.output.information(drive, jacobian) + own


def _precision(model: WithPrior, code: Float[Array, " dim"]) -> Float[Array, "dim dim"]:
    """Minus the second derivative of log p(z), made positive."""
    found = -jax.hessian(lambda z: model.log_prior(z[None])[0])(code)
    values, vectors = jnp.linalg.eigh(found)
    # A saddle between components would have no Gaussian: negative curvatures become small positive
    # ones.
    floor = 1e-3 * jnp.max(jnp.abs(values))
    return (vectors * jnp.maximum(values, floor)[None, :]) @ vectors.T
