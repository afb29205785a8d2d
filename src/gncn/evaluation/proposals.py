"""Proposals near the posterior of each image, for importance sampling and annealing.

A posterior has several peaks.  A proposal that sits on one of them misses the others: estimates
are then too low, and nothing shows it.  So a proposal is a sum of Gaussians, one for each peak
that a search found, and of the prior:

    q(z|x) = a p(z) + (1 − a) Σ_m w_m N(z; μ_m, C_m C_m^T)

The share a of prior samples bounds the weights: p(x, z) / q(z|x) ≤ p(x|z) / a.  Importance
sampling needs that; annealing does better without it (`Proposal.without_prior`).

`gncn.evaluation.peaks` searches the peaks.  The curvature at a peak gives the Gaussian's width, and
height and width its weight w_m (Laplace's approximation).
"""

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    check_counts,
    check_positive,
)
from gncn.base.hardware import refuse_too_large
from gncn.evaluation.mixture import inverses
from gncn.evaluation.peaks import Climbs, Search, climb, find_peaks
from gncn.evaluation.protocols import Codes, CodeSampler, Images, WithPrior

_WIDER = 0.2  # nats that inflation may cost: in many dimensions even 1.1 takes several
_EVEN = 0.2  # of the weight is shared out evenly, since Laplace's approximation can be wrong
_AT_ONCE = 1 << 28  # numbers of proposals' matrices held at once
_ROUNDING = 1e-6  # of a matrix's largest number: less than this is rounding in single precision
_HIGHEST = lax.Precision.HIGHEST

MOST_MODES = 64
"""The most Gaussians of a proposal: from no fewer places peaks are searched."""


class Proposal(eqx.Module):
    """q(z|x) of several images; an image's codes are neighbours.

    =========  ================  ======================================================
    symbol     field             shape
    =========  ================  ======================================================
    log w_m    `log_weights`     (images, modes)
    μ_m        `means`           (images, modes, dim)
    C_m        `factors`         (images, modes, dim, dim), triangular
    C_m^{-1}   `whitening`       (images, modes, dim, dim)
    b_m        `slopes`          (images, modes, dim)
    B_m        `curvatures`      (images, modes, dim, dim)
    a          `prior_share`     a number from 0 to below 1
    =========  ================  ======================================================

    Near a peak, in units of its Gaussian (z = μ + C u), log p(z) ≈ const + b·u − ½ u·B u.
    """

    log_weights: Float[Array, "images modes"]
    means: Float[Array, "images modes dim"]
    factors: Float[Array, "images modes dim dim"]
    whitening: Float[Array, "images modes dim dim"]
    slopes: Float[Array, "images modes dim"]
    curvatures: Float[Array, "images modes dim dim"]
    prior_share: float = eqx.field(static=True)

    @property
    def log_shares(self) -> Float[Array, "images terms"]:
        """Logarithms of the weights of all terms: the Gaussians, and at last the prior."""
        # log1p(−a) is log(1 − a) without the rounding of 1 − a.
        gaussians = self.log_weights + jnp.log1p(-self.prior_share)
        prior = jnp.full((len(gaussians), 1), jnp.log(self.prior_share))
        return jnp.concatenate([gaussians, prior], axis=1)

    def without_prior(self) -> "Proposal":
        """The Gaussians alone, to anneal from.

        Chains that go back from a code far from all Gaussians would go to the prior's term.  That
        takes far more temperatures than to the nearest Gaussian, and with a few the upper bound is
        many nats too high.
        """
        return replace(self, prior_share=0.0)

    def log_gaussians(self, codes: Float[Array, "images n dim"]) -> Float[Array, "images n modes"]:
        """Log N(z; μ_m, C_m C_m^T) of each image's own codes, in nats."""
        deviations = codes[:, None] - self.means[:, :, None]
        # Differences of nearby codes: rounded factors would cost the digits that matter.
        white = _products(self.whitening, deviations, precision=_HIGHEST)
        diagonals = jnp.diagonal(self.whitening, axis1=-2, axis2=-1)
        height = jnp.sum(jnp.log(jnp.abs(diagonals)), axis=-1)
        constant = 0.5 * codes.shape[-1] * jnp.log(2 * jnp.pi)
        return height[:, None] - constant - 0.5 * jnp.sum(white**2, axis=-1)

    def _mode(self, term: Int[Array, "images n"]) -> Int[Array, "images n"]:
        """The Gaussian of a term; the prior's has none, and borrows the likeliest."""
        best = jnp.argmax(self.log_weights, axis=1)[:, None]
        return jnp.where(term == self.means.shape[1], best, term)

    def _own(
        self, of_modes: Float[Array, "images n modes dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """Each term's vector, of vectors for every Gaussian.

        Products with the matrices of all Gaussians are faster than to collect each code's own.
        """
        return jnp.take_along_axis(of_modes, self._mode(term)[:, :, None, None], axis=2)[:, :, 0]

    def scaled(
        self,
        vectors: Float[Array, "images n dim"],
        term: Int[Array, "images n"],
        *,
        transposed: bool = False,
    ) -> Float[Array, "images n dim"]:
        """C v of each vector, or C^T v, with the factor of its term."""
        return self._own(_products(self.factors, vectors[:, None], transposed=transposed), term)

    def codes_at(
        self, places: Float[Array, "images n dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """Codes z = μ + C u at places u, by their terms' Gaussians."""
        means = jnp.take_along_axis(self.means, self._mode(term)[:, :, None], axis=1)
        return means + self.scaled(places, term)

    def places_of(
        self, codes: Float[Array, "images n dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """The places u of codes: the inverse of `codes_at`."""
        means = jnp.take_along_axis(self.means, self._mode(term)[:, :, None], axis=1)
        white = _products(self.whitening, (codes - means)[:, None], precision=_HIGHEST)
        return self._own(white, term)

    def prior_force(
        self, places: Float[Array, "images n dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """The gradient of log p(z) by u, nearly: b − B u."""
        straight = _products(self.curvatures, places[:, None])
        return self._own(self.slopes[:, None] - straight, term)

    def sample(
        self, prior: CodeSampler, keys: Shaped[PRNGKeyArray, " images"], n: int
    ) -> tuple[Float[Array, "images n dim"], Int[Array, "images n"]]:
        """Draw `n` codes for each image, and the number of the term that each comes from.

        Every code of the prior's term is a new sample of `prior`, however many are drawn.
        """
        n_modes, dim = self.means.shape[1:]

        def draw(
            key: PRNGKeyArray, shares: Float[Array, " terms"]
        ) -> tuple[Int[Array, " n"], Float[Array, "n dim"], Float[Array, "n dim"]]:
            by_term, by_noise, by_prior = jax.random.split(key, 3)
            # Categorical takes logarithms, so a prior share of 0 is −∞ and never drawn.
            term = jax.random.categorical(by_term, shares, shape=(n,))
            noise = jax.random.normal(by_noise, (n, dim), jnp.float32)
            return term, noise, prior.sample(by_prior, n)

        term, noise, from_prior = jax.vmap(draw)(keys, self.log_shares)
        codes = self.codes_at(noise, term)
        return jnp.where((term == n_modes)[:, :, None], from_prior, codes), term


class Proposer(eqx.Module):
    """Makes proposals for images under a model with a prior that has a density.

    Attributes:
        search: what finds the posteriors' peaks.
        n_modes: Gaussians for each image.
        prior_share: a.
        inflation: factor on the Gaussians' standard deviations.  A proposal should be wider than
            what it stands for, rather than narrower; by default 1 + √(0.2 / dim).

    Raises:
        ConfigError: a number is not allowed, or the Gaussians of an image don't fit into memory.
    """

    search: Search
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
        inflation: float | None = None,
    ) -> None:
        check_counts(MOST_MODES, n_modes=n_modes)
        if not 0 <= prior_share < 1:
            raise ConfigError(
                f"prior_share must be at least 0 and below 1; received {prior_share!r}."
            )
        self.search = Search(model, key)
        # Of one image's Gaussians, where most arrays are held at once.
        n_bytes = 80 * n_modes * self.dim**2
        refuse_too_large(f"n_modes={n_modes} with codes of {self.dim}", n_bytes, "Lower n_modes.")
        if inflation is None:
            # Widening by a factor s costs about dim (s − 1)² nats.
            inflation = 1 + float(np.sqrt(_WIDER / self.dim))
        check_positive(inflation=inflation)
        self.n_modes, self.prior_share, self.inflation = n_modes, prior_share, inflation

    @property
    def dim(self) -> int:
        """Size of a code."""
        return self.search.draws.shape[1]

    def __call__(self, x: Images, codes: Codes) -> Proposal:
        """Proposals for images `x`, with a code of each to climb from.

        Raises:
            DataError: `x` can't be data of the model, or there isn't one code for each image.
            DivergenceError: log p(x, z) is not finite.
        """
        return self.propose(x, self.climb(x, codes))

    def climb(self, x: Images, codes: Codes) -> Climbs:
        """The search's first half, which takes little memory: for many images at once.

        Raises:
            DataError: `x` can't be data of the model, or there isn't one code for each image.
        """
        images, codes = self._images(x), jnp.asarray(codes, jnp.float32)
        if codes.shape != (len(images), self.dim):
            raise DataError(
                f"Give {len(images)} images as many codes of {self.dim}; received codes of shape "
                f"{codes.shape}."
            )
        return climb(self.search, images, codes)

    def propose(self, x: Images, climbs: Climbs) -> Proposal:
        """Proposals for images from their climbs: the other half, for a few at once.

        Raises:
            DataError: `x` can't be data of the model.
            DivergenceError: log p(x, z) is not finite.
        """
        found = find_peaks(self.search, self._images(x), climbs, self.n_modes)
        # Image by image, since matrices in double precision take much memory.
        made = [self._of_image(*(part[row] for part in found)) for row in range(len(x))]
        return jax.tree.map(lambda *parts: jnp.concatenate(parts), *made)

    def _images(self, x: Images) -> Float[Array, "images pixels"]:
        return jnp.asarray(self.search.model.output.check(x), jnp.float32)

    def _of_image(
        self,
        peaks: Float[Array, "modes dim"],
        heights: Float[Array, " modes"],
        of_pixels: Float[Array, "modes dim dim"],
        of_prior: Float[Array, "modes dim dim"],
    ) -> Proposal:
        """The proposal for one image."""
        # Double precision from here: curvatures may be badly conditioned.
        precisions = np.asarray(of_pixels, np.float64) + np.asarray(of_prior, np.float64)
        if not (np.isfinite(precisions).all() and np.isfinite(heights).all()):
            raise DivergenceError(
                "log p(x, z) is not finite: the model's logits or log p(z) are not. Check its "
                "parameters."
            )
        # Σ⁻¹ = L L^T, so A = L^T whitens; wider Gaussians by `inflation` whiten less.
        whitening = np.stack([_lower(one).T for one in precisions]) / self.inflation
        factors = inverses(whitening.copy(), lower=False)
        widths = np.sum(np.log(np.diagonal(factors, axis1=-2, axis2=-1)), axis=-1)
        # Laplace: the integral of a peak is its height times the volume, |C|, up to a common
        # factor.
        evidence = np.asarray(heights, np.float64) + widths
        shares = np.exp(evidence - np.logaddexp.reduce(evidence))
        # Each Gaussian gets a part of the weight, in case Laplace's approximation missed its peak.
        weights = np.log((1 - _EVEN) * shares + _EVEN / self.n_modes)
        scales = jnp.asarray(factors, jnp.float32)
        near = expanded(self.search.model, peaks, scales, of_prior)
        arrays = weights, peaks, scales, whitening, *near
        return Proposal(
            *(jnp.asarray(one, jnp.float32)[None] for one in arrays), prior_share=self.prior_share
        )


def _products(
    matrices: Float[Array, "images modes dim dim"],
    vectors: Float[Array, "images #modes n dim"],
    *,
    transposed: bool = False,
    precision: lax.Precision | None = None,
) -> Float[Array, "images n modes dim"]:
    """A v of each image's matrices and vectors, or A^T v."""
    every = jnp.broadcast_to(vectors, (*matrices.shape[:2], *vectors.shape[2:]))
    # In these orders of the axes XLA needs no transposed copies of the matrices.  With the modes
    # behind the codes ("ine,imde->inmd") it takes ten times as long on a CPU.
    if transposed:
        product = jnp.einsum("imed,imne->imnd", matrices, every, precision=precision)
        return jnp.moveaxis(product, 2, 1)
    product = jnp.einsum("imde,imne->imdn", matrices, every, precision=precision)
    return jnp.moveaxis(product, 3, 1)


def _lower(precision: Float[np.ndarray, "dim dim"]) -> Float[np.ndarray, "dim dim"]:
    """The Cholesky factor of a precision, which single precision may have made indefinite."""
    floor = _ROUNDING * np.max(np.abs(precision))
    try:
        return np.linalg.cholesky(precision + floor * np.eye(len(precision)))
    except np.linalg.LinAlgError:
        # Wide rather than narrow, where nothing is known.
        values, vectors = np.linalg.eigh(precision)
        return np.linalg.cholesky((vectors * np.maximum(values, floor)[None, :]) @ vectors.T)


@eqx.filter_jit
def expanded(
    model: WithPrior,
    means: Float[Array, "modes dim"],
    factors: Float[Array, "modes dim dim"],
    precisions: Float[Array, "modes dim dim"],
) -> tuple[Float[Array, "modes dim"], Float[Array, "modes dim dim"]]:
    """Slope b and curvature B of log p(z), from minus its second derivative at each mean."""
    slopes = jax.grad(lambda z: jnp.sum(model.log_prior(z)))(means)
    half = jnp.matmul(precisions, factors, precision=_HIGHEST)
    return (
        jnp.einsum("med,me->md", factors, slopes, precision=_HIGHEST),
        jnp.einsum("med,mef->mdf", factors, half, precision=_HIGHEST),
    )


def images_at_once(n_modes: int, dim: int) -> int:
    """For how many images proposals take a gigabyte or two, found and kept."""
    return int(np.clip(_AT_ONCE // (8 * n_modes * dim**2), 1, 50))
