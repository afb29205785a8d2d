"""Proposals near the posterior of each image, for importance sampling and annealing.

A posterior has several peaks.  A proposal that sits on one of them misses the others: estimates
are then too low, and nothing shows it.  So a proposal is a sum of Gaussians, one for each peak
that a search found, and of the prior:

    q(z|x) = a p(z) + (1 − a) Σ_m w_m N(z; μ_m, C_m C_m^T)

The share a of prior samples bounds the weights: p(x, z) / q(z|x) ≤ p(x|z) / a.

A mixture prior of many dimensions makes a peak for each of its components k.  So the search climbs
log N(z; μ_k, Σ_k) + log p(x|z) for every k, from the component's sample that predicts the image
best, and keeps the highest peaks.  Other priors have samples of any kind to climb from.  The code
that the model itself gives the image is tried, too.  The curvature at a peak gives the Gaussian's
width, and height and width its weight w_m (Laplace's approximation).
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
from gncn.evaluation.protocols import Codes, CodeSampler, Images, WithPrior

_N_STEPS = 150
_LEARNING_RATE = 0.1
_N_STARTS = 64  # climbs for each image, or one for each component if these are more
_DRAWS = 4000  # prior samples among which starts are searched, and which tell the prior's widths
_SAME = 0.25  # of the mean square: peaks of one component that are nearer than this are one
_WIDER = 0.2  # nats that inflation may cost: in many dimensions even 1.1 takes several
_PRIOR_DRAWS = 500  # prior samples of each image, among which q's are drawn: few are drawn twice
_EVEN = 0.2  # of the weight is shared out evenly, since Laplace's approximation can be wrong
_AT_ONCE = 1 << 28  # numbers of matrices held at once
_HIGHEST = lax.Precision.HIGHEST

MOST_MODES = 1000
"""The most Gaussians of a proposal."""

_Climber = tuple[Float[Array, "images tries pieces dim"], PyTree]


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
    z ~ p(z)   `prior_draws`     (images, draws, dim)
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

    def _mode(self, term: Int[Array, "images n"]) -> Int[Array, "images n"]:
        """The Gaussian of a term; the prior's has none, and borrows the likeliest."""
        best = jnp.argmax(self.log_weights, axis=1)[:, None]
        return jnp.where(term == self.means.shape[1], best, term)

    def _own(
        self, of_modes: Float[Array, "images n modes dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """Of vectors for every Gaussian, each term's own.

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
        equation = "imed,ine->inmd" if transposed else "imde,ine->inmd"
        return self._own(jnp.einsum(equation, self.factors, vectors), term)

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
        equation = "imde,ine->inmd"
        white = jnp.einsum(equation, self.whitening, codes - means, precision=_HIGHEST)
        return self._own(white, term)

    def prior_force(
        self, places: Float[Array, "images n dim"], term: Int[Array, "images n"]
    ) -> Float[Array, "images n dim"]:
        """The gradient of log p(z) by u, nearly: b − B u."""
        straight = jnp.einsum("imde,ine->inmd", self.curvatures, places)
        return self._own(self.slopes[:, None] - straight, term)

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
        codes = self.codes_at(noise, term)
        return jnp.where((term == n_modes)[:, :, None], from_prior, codes), term


class Proposer(eqx.Module):
    """Makes proposals for images under a model with a prior that has a density.

    Attributes:
        model: p(z) and p(x|z).
        pieces: of the prior, in each of which peaks are searched.
        draws: prior samples, among which starts are searched.
        drives: what these predict.
        key: of the proposals' own prior samples.
        n_modes: Gaussians for each image.
        prior_share: a.
        inflation: factor on the Gaussians' standard deviations.  A proposal should be wider than
            what it stands for, rather than narrower; by default 1 + √(0.2 / dim).

    Raises:
        ConfigError: a number is not allowed.
    """

    model: WithPrior
    pieces: "Pieces"
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
        inflation: float | None = None,
    ) -> None:
        check_counts(MOST_MODES, n_modes=n_modes)
        if not 0 <= prior_share < 1:
            raise ConfigError(
                f"prior_share must be at least 0 and below 1; received {prior_share!r}."
            )
        by_draw, self.key = jax.random.split(key)
        self.model = model
        self.draws = model.prior.sample(by_draw, _DRAWS)
        self.drives = model.decode(self.draws)
        self.pieces = pieces_of(model.prior, self.draws)
        if inflation is None:
            # Widening by a factor s costs about dim (s − 1)² nats.
            inflation = 1 + float(np.sqrt(_WIDER / self.draws.shape[1]))
        check_positive(inflation=inflation)
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
        peaks, heights, of_pixels, of_prior = _search(self, x, codes)
        # Double precision from here: curvatures may be badly conditioned.
        precisions = np.asarray(of_pixels, np.float64) + np.asarray(of_prior, np.float64)
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
        scales = jnp.asarray(factors, jnp.float32)
        return Proposal(
            # Each Gaussian gets a part of the weight, in case Laplace's approximation missed its
            # peak.
            jnp.asarray(np.log((1 - _EVEN) * shares + _EVEN / self.n_modes), jnp.float32),
            peaks,
            scales,
            jnp.asarray(whitening, jnp.float32),
            *expanded(self.model, peaks, scales, of_prior),
            jnp.stack(pools),
            self.prior_share,
        )


@eqx.filter_jit
def expanded(
    model: WithPrior,
    means: Float[Array, "images modes dim"],
    factors: Float[Array, "images modes dim dim"],
    precisions: Float[Array, "images modes dim dim"],
) -> tuple[Float[Array, "images modes dim"], Float[Array, "images modes dim dim"]]:
    """Slope b and curvature B of log p(z), from minus its second derivative at each mean."""
    flat = means.reshape(-1, means.shape[-1])
    slopes = jax.grad(lambda z: jnp.sum(model.log_prior(z)))(flat).reshape(means.shape)
    half = jnp.einsum("imde,imef->imdf", precisions, factors, precision=_HIGHEST)
    return (
        jnp.einsum("imed,ime->imd", factors, slopes, precision=_HIGHEST),
        jnp.einsum("imed,imef->imdf", factors, half, precision=_HIGHEST),
    )


class Pieces(eqx.Module):
    """The Gaussians that a prior is made of, in whose units peaks are searched: z = μ_k + F_k v.

    A prior that is no mixture is one piece with its own density, in units of its widths.
    `log_shares` are None then, and F is a diagonal.
    """

    log_shares: Float[Array, " pieces"] | None
    means: Float[Array, "pieces dim"]
    factors: Float[Array, "pieces dim ..."]

    def codes(
        self, places: Float[Array, "images tries pieces dim"]
    ) -> Float[Array, "images tries pieces dim"]:
        """The codes z at places v."""
        if self.factors.ndim == 2:
            return self.means[None, None] + self.factors[None, None] * places
        return self.means[None, None] + jnp.einsum("kde,itke->itkd", self.factors, places)


def pieces_of(prior: CodeSampler, draws: Float[Array, "draws dim"]) -> Pieces:
    """The pieces of a prior, of which some samples are known."""
    if not isinstance(prior, Mixture):
        return Pieces(None, jnp.zeros((1, draws.shape[1])), jnp.std(draws, axis=0)[None])
    return Pieces(jax.nn.log_softmax(prior.logits), prior.means, prior.factors)


def images_at_once(n_modes: int, dim: int) -> int:
    """For how many images proposals fit into a gigabyte or two."""
    return int(np.clip(_AT_ONCE // (4 * n_modes * dim**2), 1, 50))


@eqx.filter_jit
def _search(
    proposer: Proposer, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"]
) -> tuple[
    Float[Array, "images modes dim"],
    Float[Array, "images modes"],
    Float[Array, "images modes dim dim"],
    Float[Array, "images modes dim dim"],
]:
    """Peaks of log p(x, z), log p(x, z) there, and minus its second derivatives, or nearly.

    The latter are of log p(x|z) and of log p(z).  Adam climbs, with a rate that decays to 0.
    """
    model, pieces = proposer.model, proposer.pieces
    n_images, dim = codes.shape
    start = _starts(proposer, x, codes)

    def height(places: Float[Array, "images tries pieces dim"]) -> Float[Array, "..."]:
        """Log p(x, z) in a piece, but for a constant that is the same for all of its places."""
        flat = pieces.codes(places).reshape(-1, dim)
        repeated = jnp.repeat(x, len(flat) // n_images, axis=0)
        if pieces.log_shares is None:
            return model.log_joint(repeated, flat).reshape(places.shape[:-1])
        found = model.output.log_prob(repeated, model.decode(flat)).reshape(places.shape[:-1])
        return found + pieces.log_shares[None, None] - 0.5 * jnp.sum(places**2, axis=-1)

    optimiser = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, _N_STEPS))

    def step(carry: _Climber, _: None) -> tuple[_Climber, None]:
        places, state = carry
        # Of the sum, since each climb's gradient depends on its own code alone.
        update, state = optimiser.update(jax.grad(lambda v: -jnp.sum(height(v)))(places), state)
        return (places + jnp.asarray(update), state), None

    (places, _), _ = lax.scan(step, (start, optimiser.init(start)), None, length=_N_STEPS)
    peaks = _distinct(pieces.codes(places), places, height(places), proposer.n_modes)
    flat = peaks.reshape(-1, dim)
    heights = model.log_joint(jnp.repeat(x, proposer.n_modes, axis=0), flat)
    # One code after the other: each Jacobian has pixels x dim numbers.
    of_pixels, of_prior = lax.map(lambda code: _curvatures(model, code), flat)
    shape = n_images, proposer.n_modes
    return (
        peaks,
        heights.reshape(shape),
        of_pixels.reshape(*shape, dim, dim),
        of_prior.reshape(*shape, dim, dim),
    )


def _starts(
    proposer: Proposer, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"]
) -> Float[Array, "images tries pieces dim"]:
    """The places from which to climb, in every piece some."""
    pieces, draws = proposer.pieces, proposer.draws
    n_pieces = len(pieces.means)
    n_tries = -(-_N_STARTS // n_pieces)
    fit = proposer.model.output.table(x, proposer.drives)
    prior = proposer.model.prior

    def placed(z: Float[Array, "n dim"]) -> tuple[Int[Array, " n"], Float[Array, "n dim"]]:
        """The likeliest piece of codes, and their places in it."""
        if not isinstance(prior, Mixture):
            return jnp.zeros(len(z), int), (z - pieces.means) / pieces.factors
        piece = jnp.argmax(prior.component_log_prob(z) + prior.logits[None], axis=1)
        return piece, prior.places_in(z, piece)

    piece, places = placed(draws)
    # The best sample of each share of each piece, so that they differ.
    group = piece * n_tries + jnp.arange(len(draws)) % n_tries

    def best(number: Int[Array, ""]) -> Float[Array, "images dim"]:
        among = jnp.where(group == number, fit, -jnp.inf)
        # A piece of which there is no sample begins at its mean.
        found = places[jnp.argmax(among, axis=1)]
        return jnp.where(jnp.any(group == number), found, 0.0)

    numbers = jnp.arange(n_pieces * n_tries).reshape(n_pieces, n_tries)
    start = jnp.transpose(lax.map(jax.vmap(best), numbers), (2, 1, 0, 3))
    # The model's own code takes the first place of its piece.
    own, place = placed(codes)
    return start.at[jnp.arange(len(x)), 0, own].set(place)


def _distinct(
    codes: Float[Array, "images tries pieces dim"],
    places: Float[Array, "images tries pieces dim"],
    height: Float[Array, "images tries pieces"],
    n: int,
) -> Float[Array, "images n dim"]:
    """The codes of the `n` highest peaks; of those that climbs reached twice one each.

    If there are fewer peaks than `n`, some are taken again.
    """
    shape = height.shape

    def choose(height: Float[Array, "..."], _: None) -> tuple[Float[Array, "..."], Array]:
        best = jnp.argmax(height.reshape(len(height), -1), axis=1)
        tries, piece = jnp.unravel_index(best, shape[1:])
        rows = jnp.arange(len(height))
        away = jnp.mean((places - places[rows, tries, piece][:, None, None]) ** 2, axis=-1)
        same = (away < _SAME) & (jnp.arange(shape[2])[None, None] == piece[:, None, None])
        # Far below all others, but in the same order.
        return height - 1e6 * same, codes[rows, tries, piece]

    return jnp.moveaxis(lax.scan(choose, height, None, length=n)[1], 0, 1)


def _curvatures(
    model: WithPrior, code: Float[Array, " dim"]
) -> tuple[Float[Array, "dim dim"], Float[Array, "dim dim"]]:
    """J^T F J and Σ_k r_k Σ_k^{-1}: their sum is positive definite, and so a Gaussian's.

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
    return model.output.information(drive, jacobian), own


def _precision(model: WithPrior, code: Float[Array, " dim"]) -> Float[Array, "dim dim"]:
    """Minus the second derivative of log p(z), made positive."""
    found = -jax.hessian(lambda z: model.log_prior(z[None])[0])(code)
    values, vectors = jnp.linalg.eigh(found)
    # A saddle between components would have no Gaussian: negative curvatures become small positive
    # ones.
    floor = 1e-3 * jnp.max(jnp.abs(values))
    return (vectors * jnp.maximum(values, floor)[None, :]) @ vectors.T
