"""The peaks of each image's posterior, for proposals; see `gncn.evaluation.proposals`.

A prior that is a mixture may make a peak for each of its components k.  So the search climbs

    log π_k + log N(z; μ_k, Σ_k) + log p(x|z)

in every component, from the component's sample that predicts the image best.  Any other prior is
climbed as it is, from samples that predict the image well.  The code that the model itself gives
the image takes the place of one of these samples.

A peak counts by its mass: its height times its volume (Laplace's approximation).  Volumes cost a
decoder's Jacobian each, so only some climbs become candidates.  A candidate is polished by
Newton's steps up log p(x, z), and claims all other climbs that lead to its peak.
"""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from gncn.evaluation.mixture import Mixture
from gncn.evaluation.protocols import WithPrior

_N_STEPS = 150
_LEARNING_RATE = 0.1
_N_STARTS = 64  # for each image; one for each component, if these are more
_DRAWS = 4000  # prior samples among which starts are searched, and which tell the prior's widths
_CANDIDATES = 3  # times as many candidates as peaks that are wanted
_N_POLISH = 5  # Newton's steps from the end of a climb
_SAME = 1.0  # squared distance, in widths of the posterior, below which two places are one peak
_ROUNDING = (1e-6, 1e-3)  # of the largest number on a matrix's diagonal, added to all of them

_HIGHEST = lax.Precision.HIGHEST

Places = Float[Array, "images tries pieces dim"]
"""Codes in units of their pieces' Gaussians: z = μ_k + F_k v."""


class Nearby(NamedTuple):
    """A model as it is near a place: of a mixture, the components that count there.

    All of them would be hundreds of megabytes to read, many times for each candidate.

    Attributes:
        model: p(z), as far as these components go but scaled to be a density, and p(x|z).
        share: the logarithm of their weight in the whole mixture.
        precisions: theirs.
    """

    model: WithPrior
    share: Float[Array, ""]
    precisions: Float[Array, "near dim ..."] | None


class Search(eqx.Module):
    """A model, and the samples of its prior from which peaks are searched.

    A piece is a component of a mixture.  Another prior is one piece, in units of its widths.

    Attributes:
        model: p(z) and p(x|z).
        means: μ_k of each piece.
        factors: F_k, as matrices or as diagonals.
        precisions: Σ_k^{-1} of a mixture's components, also as matrices or as diagonals.
        draws: prior samples.
        drives: the logits that the samples predict.
        piece: the likeliest piece of each sample.
        places: where the samples lie in their pieces.
    """

    model: WithPrior
    means: Float[Array, "pieces dim"]
    factors: Float[Array, "pieces dim ..."]
    precisions: Float[Array, "pieces dim ..."] | None
    draws: Float[Array, "draws dim"]
    drives: Float[Array, "draws pixels"]
    piece: Int[Array, " draws"]
    places: Float[Array, "draws dim"]

    def __init__(self, model: WithPrior, key: PRNGKeyArray) -> None:
        self.model = model
        self.draws = model.prior.sample(key, _DRAWS)
        self.drives = model.decode(self.draws)
        if (mixture := self.mixture) is not None:
            self.means, self.factors = mixture.means, mixture.factors
            # Made once: each peak needs some of them, many times.
            self.precisions = mixture.precisions
        else:
            self.precisions = None
            self.means = jnp.zeros((1, self.draws.shape[1]))
            self.factors = jnp.std(self.draws, axis=0)[None]
        self.piece, self.places = self.placed(self.draws)

    @property
    def n_climbs(self) -> int:
        """Climbs for each image; no more peaks can be found."""
        return self.n_tries * len(self.means)

    @property
    def n_tries(self) -> int:
        """Climbs in each piece."""
        return -(-_N_STARTS // len(self.means))

    @property
    def mixture(self) -> Mixture | None:
        """The prior, if it is a mixture."""
        return self.model.prior if isinstance(self.model.prior, Mixture) else None

    def around(self, near: Int[Array, " near"] | None) -> Nearby:
        """The model with the components `near` of its mixture alone, or as it is."""
        if self.mixture is None or self.precisions is None or near is None:
            return Nearby(self.model, jnp.zeros(()), None)
        share = jax.nn.logsumexp(jax.nn.log_softmax(self.mixture.logits)[near])
        model = WithPrior(self.model.decoder, self.mixture.part(near))
        return Nearby(model, share, self.precisions[near])

    def placed(
        self, codes: Float[Array, "codes dim"]
    ) -> tuple[Int[Array, " codes"], Float[Array, "codes dim"]]:
        """The likeliest piece of each code, and its place there."""
        if self.mixture is None:
            return jnp.zeros(len(codes), int), (codes - self.means) / self.factors
        joint = self.mixture.component_log_prob(codes) + self.mixture.logits[None]
        piece = jnp.argmax(joint, axis=1)
        return piece, self.mixture.places_in(codes, piece)

    def codes(self, places: Places) -> Places:
        """The codes at places."""
        if self.factors.ndim == 2:
            return self.means[None, None] + self.factors[None, None] * places
        return self.means[None, None] + jnp.einsum("kde,itke->itkd", self.factors, places)

    def starts(self, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"]) -> Places:
        """The places from which to climb, in every piece some."""
        n_pieces, n_tries = len(self.means), self.n_tries
        fit = self.model.output.table(x, self.drives)
        # The best sample of each share of each piece, so that they differ.
        group = self.piece * n_tries + jnp.arange(len(self.draws)) % n_tries

        def best(number: Int[Array, ""]) -> Float[Array, "images dim"]:
            own = group == number
            found = self.places[jnp.argmax(jnp.where(own[None], fit, -jnp.inf), axis=1)]
            # A piece of which there is no sample begins at its mean.
            return jnp.where(jnp.any(own), found, 0.0)

        numbers = jnp.arange(n_pieces * n_tries).reshape(n_pieces, n_tries)
        start = jnp.transpose(lax.map(jax.vmap(best), numbers), (2, 1, 0, 3))
        # The model's own code is most likely a better start than the sample that it replaces.
        piece, place = self.placed(codes)
        return start.at[jnp.arange(len(x)), 0, piece].set(place)

    def height(
        self, x: Float[Array, "images pixels"], places: Places
    ) -> Float[Array, "images tries pieces"]:
        """How high log p(x, z) is, as if all pieces were equally wide."""
        flat = self.codes(places).reshape(-1, places.shape[-1])
        repeated = jnp.repeat(x, len(flat) // len(x), axis=0)
        if self.mixture is None:
            return self.model.log_joint(repeated, flat).reshape(places.shape[:-1])
        fit = self.model.output.log_prob(repeated, self.model.decode(flat))
        prior = jax.nn.log_softmax(self.mixture.logits)[None, None] - 0.5 * jnp.sum(places**2, -1)
        return fit.reshape(places.shape[:-1]) + prior


class Peaks(NamedTuple):
    """Peaks of the posteriors of some images, or of one image without the first axis.

    Attributes:
        codes: where they are.
        heights: log p(x, z) there.
        of_pixels: minus the second derivative of log p(x|z) there, nearly.
        of_prior: the same of log p(z); see `curvatures`.
    """

    codes: Float[Array, "*images n dim"]
    heights: Float[Array, "*images n"]
    of_pixels: Float[Array, "*images n dim dim"]
    of_prior: Float[Array, "*images n dim dim"]


class Candidate(NamedTuple):
    """A place, log p(x, z) nearly, both parts of P = −∂²log p(x, z), and L with P = L L^T."""

    code: Float[Array, "*n dim"]
    height: Float[Array, "*n"]
    of_pixels: Float[Array, "*n dim dim"]
    of_prior: Float[Array, "*n dim dim"]
    lower: Float[Array, "*n dim dim"]


class Climbs(NamedTuple):
    """Where the climbs of some images ended, or those of one image without the first axis.

    Attributes:
        codes: the places.
        height: see `Search.height`.
        joint: log p(x, z).
        slopes: its gradient.
        near: the components of a mixture that count there.
    """

    codes: Float[Array, "*images climbs dim"]
    height: Float[Array, "*images climbs"]
    joint: Float[Array, "*images climbs"]
    slopes: Float[Array, "*images climbs dim"]
    near: Int[Array, "*images climbs near"] | None


@eqx.filter_jit
def climb(
    search: Search, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"]
) -> Climbs:
    """Climb from `Search.starts` by Adam, with a rate that decays to 0.

    Every step reads the factors of all components, so many images at once take far less time than
    one by one.

    Args:
        search: the model, and where to begin.
        x: images.
        codes: one of each image, to climb from as well.
    """
    optimiser = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, _N_STEPS))

    def step(carry: tuple[Places, Any], _: None) -> tuple[tuple[Places, Any], None]:
        places, state = carry
        # Of the sum, since each climb's gradient depends on its own code alone.
        slope = jax.grad(lambda v: -jnp.sum(search.height(x, v)))(places)
        update, state = optimiser.update(slope, state)
        return (places + jnp.asarray(update), state), None

    start = search.starts(x, codes)
    (places, _), _ = lax.scan(step, (start, optimiser.init(start)), None, length=_N_STEPS)
    reached = search.codes(places).reshape(-1, places.shape[-1])
    repeated = jnp.repeat(x, search.n_climbs, axis=0)

    def total(z: Float[Array, "climbs dim"]) -> tuple[Float[Array, ""], tuple[Any, Any]]:
        if (mixture := search.mixture) is None:
            joint, near = search.model.log_joint(repeated, z), None
        else:
            prior, near = mixture.near(z)
            joint = search.model.output.log_prob(repeated, search.model.decode(z)) + prior
        return jnp.sum(joint), (joint, near)

    (_, (joint, near)), slopes = jax.value_and_grad(total, has_aux=True)(reached)
    return jax.tree.map(
        lambda one: one.reshape(len(x), search.n_climbs, *one.shape[1:]),
        Climbs(reached, search.height(x, places).reshape(-1), joint, slopes, near),
    )


@eqx.filter_jit
def find_peaks(search: Search, x: Float[Array, "images pixels"], ends: Climbs, n: int) -> Peaks:
    """The `n` peaks of largest mass of each image, of those that climbs led to.

    A climb that left the finite numbers is left out unless all did.  If there are fewer peaks than
    `n`, some are taken again.
    """
    # Image by image, since each candidate has three matrices.
    return lax.map(lambda one: heaviest(search, one[0], one[1], n), (x, ends))


def heaviest(search: Search, x: Float[Array, " pixels"], ends: Climbs, n: int) -> Peaks:
    """The `n` peaks of largest mass of one image.

    Candidates are taken one after the other, by turns the highest place as `Search.height` has it
    and the highest log p(x, z).  Neither is the mass: the first is too kind to peaks that are
    narrower than their pieces, the second to narrow peaks of whatever piece.
    """
    height, joint = (jnp.where(jnp.isnan(one), -jnp.inf, one) for one in ends[1:3])

    def claim(
        free: Bool[Array, " climbs"], number: Int[Array, ""]
    ) -> tuple[Bool[Array, " climbs"], tuple[Candidate, Float[Array, ""]]]:
        measure = jnp.where(free, jnp.where(number % 2 == 0, height, joint), -jnp.inf)
        best = jnp.argmax(measure)
        near = search.around(None if ends.near is None else ends.near[best])
        found = polished(near, x, ends.codes[best])
        # Near a peak z* the gradient is −P (z − z*), however far a climb still had to go.  So the
        # sum of the two is 0 at all places from which Newton's step leads there.
        bent = found.of_pixels + found.of_prior
        rest = ends.slopes + jnp.matmul(ends.codes - found.code[None], bent, precision=_HIGHEST)
        away = jnp.sum(solve_triangular(found.lower, rest.T, lower=True) ** 2, axis=0)
        mass = found.height - jnp.sum(jnp.log(jnp.diagonal(found.lower)))
        # Where no climb is left, the candidate is one that was there before.
        mass = jnp.where(jnp.isfinite(measure[best]) & jnp.isfinite(mass), mass, -jnp.inf)
        return free & (away >= _SAME) & (jnp.arange(len(free)) != best), (found, mass)

    n_candidates = min(_CANDIDATES * n, len(joint))
    free = jnp.ones(len(joint), bool)
    found, mass = lax.scan(claim, free, jnp.arange(n_candidates))[1]

    def choose(mass: Float[Array, " most"], _: None) -> tuple[Float[Array, " most"], Array]:
        best = jnp.argmax(mass)
        # Two candidates may have been polished to one peak.
        white = (found.code - found.code[best][None]) @ found.lower[best]
        same = jnp.sum(white**2, axis=1) < _SAME
        # Far below all others, but in the same order.
        return mass - 1e6 * same, best

    rows = lax.scan(choose, mass, None, length=n)[1]
    codes = found.code[rows]
    heights = search.model.log_joint(jnp.broadcast_to(x, (n, *x.shape)), codes)
    return Peaks(codes, heights, found.of_pixels[rows], found.of_prior[rows])


def polished(near: Nearby, x: Float[Array, " pixels"], code: Float[Array, " dim"]) -> Candidate:
    """The peak near a place, by Newton's steps that are taken only if log p(x, z) rises."""
    begun = candidate(near, x, code)

    def joint(z: Float[Array, " dim"]) -> Float[Array, ""]:
        return near.model.log_joint(x[None], z[None])[0]

    def step(
        carry: tuple[Float[Array, " dim"], Float[Array, ""], Float[Array, ""]], _: None
    ) -> tuple[tuple[Float[Array, " dim"], Float[Array, ""], Float[Array, ""]], None]:
        code, height, size = carry
        # One P serves all steps: its Jacobian costs far more than a gradient.
        new = code + size * cho_solve((begun.lower, True), jax.grad(joint)(code))
        reached = joint(new)
        higher = reached > height
        kept = jnp.where(higher, new, code), jnp.where(higher, reached, height)
        return (*kept, jnp.where(higher, size, 0.5 * size)), None

    start = code, joint(code), jnp.ones(())
    reached = lax.scan(step, start, None, length=_N_POLISH)[0][0]
    return candidate(near, x, reached)


def candidate(near: Nearby, x: Float[Array, " pixels"], code: Float[Array, " dim"]) -> Candidate:
    """Height and curvature at a place."""
    of_pixels, of_prior = curvatures(near, code)
    bent = of_pixels + of_prior
    eye = jnp.max(jnp.diagonal(bent)) * jnp.eye(len(code))
    # Rounding may leave a matrix that is not positive definite; the factor is then NaN.
    usual, more = (
        lambda share=share: jnp.linalg.cholesky(bent + share * eye) for share in _ROUNDING
    )
    lower = usual()
    lower = lax.cond(jnp.isnan(lower).any(), more, lambda: lower)
    height = near.model.log_joint(x[None], code[None])[0] + near.share
    return Candidate(code, height, of_pixels, of_prior, lower)


def curvatures(
    near: Nearby, code: Float[Array, " dim"]
) -> tuple[Float[Array, "dim dim"], Float[Array, "dim dim"]]:
    """J^T F J and Σ_k r_k Σ_k^{-1}: their sum is positive definite, and so a Gaussian's.

    J is the decoder's Jacobian and F the information of pixels about their drive (Gauss and
    Newton).  Where logits are linear in codes, as with rectifiers piece by piece, the
    first term is exact.  The second is the curvature of a mixture's likeliest components, with
    their responsibilities r.  It leaves out how components differ, which would make it indefinite
    between them.
    """
    model, mixture = near.model, near.model.prior
    decode = lambda z: model.decode(z[None])[0]  # noqa: E731
    drive = decode(code)
    # Forward mode costs one pass for each number of the code, reverse mode one for each pixel.
    jacobian = (jax.jacfwd if len(code) < len(drive) else jax.jacrev)(decode)(code)
    if not isinstance(mixture, Mixture) or near.precisions is None:
        own = _precision(model, code)
    else:
        shares = jax.nn.softmax(mixture.component_log_prob(code[None])[0] + mixture.logits)
        own = jnp.tensordot(shares, near.precisions, 1, precision=_HIGHEST)
        own = jnp.diag(own) if own.ndim == 1 else own
    return model.output.information(drive, jacobian), own


def _precision(model: WithPrior, code: Float[Array, " dim"]) -> Float[Array, "dim dim"]:
    """Minus the second derivative of log p(z), made positive."""
    found = -jax.hessian(lambda z: model.log_prior(z[None])[0])(code)
    values, vectors = jnp.linalg.eigh(found)
    # Where log p(z) is not concave there is no Gaussian: negative curvatures become small positive
    # ones.
    floor = 1e-3 * jnp.max(jnp.abs(values))
    return (vectors * jnp.maximum(values, floor)[None, :]) @ vectors.T
