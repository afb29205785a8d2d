"""The peaks of each image's posterior, for proposals; see `gncn.evaluation.proposals`.

A prior that is a mixture makes a peak for each of its components k, since in many dimensions these
hardly overlap.  So the search climbs

    log π_k + log N(z; μ_k, Σ_k) + log p(x|z)

in every component, from the component's sample that predicts the image best, and keeps the
highest peaks.  Heights are compared as if all components were equally wide: a posterior in a
narrow component is narrow, too, and the mass of a peak is what counts.  Any other prior is
climbed as it is, from samples that predict the image well.  The code that the model itself gives
the image is one of the starts.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from gncn.evaluation.mixture import Mixture
from gncn.evaluation.protocols import WithPrior

_N_STEPS = 150
_LEARNING_RATE = 0.1
_N_STARTS = 64  # for each image; one for each component, if these are more
_DRAWS = 4000  # prior samples among which starts are searched, and which tell the prior's widths
_SAME = 0.25  # mean square below which two places in a piece belong to one peak

Places = Float[Array, "images tries pieces dim"]
"""Codes in units of their pieces' Gaussians: z = μ_k + F_k v."""


class Search(eqx.Module):
    """What a search of peaks needs to know of a model.

    A piece is a component of a mixture.  Another prior is one piece, in units of its widths.

    Attributes:
        model: p(z) and p(x|z).
        means: μ_k of each piece.
        factors: F_k, as matrices or as diagonals.
        draws: prior samples.
        drives: what these predict.
        piece: of each of these.
        places: of these in their pieces.
    """

    model: WithPrior
    means: Float[Array, "pieces dim"]
    factors: Float[Array, "pieces dim ..."]
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
        else:
            self.means = jnp.zeros((1, self.draws.shape[1]))
            self.factors = jnp.std(self.draws, axis=0)[None]
        self.piece, self.places = self.placed(self.draws)

    @property
    def mixture(self) -> Mixture | None:
        """The prior, if it is a mixture."""
        return self.model.prior if isinstance(self.model.prior, Mixture) else None

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
        n_pieces = len(self.means)
        n_tries = -(-_N_STARTS // n_pieces)
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
        # The model's own code takes the first place of its piece.
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


@eqx.filter_jit
def find_peaks(
    search: Search, x: Float[Array, "images pixels"], codes: Float[Array, "images dim"], n: int
) -> tuple[
    Float[Array, "images n dim"],
    Float[Array, "images n"],
    Float[Array, "images n dim dim"],
    Float[Array, "images n dim dim"],
]:
    """The `n` highest peaks of each image, log p(x, z) there, and how it curves.

    Adam climbs, with a rate that decays to 0.

    Args:
        search: of the model.
        x: images.
        codes: one of each image, to climb from as well.
        n: number of peaks.

    Returns:
        Peaks, heights, and minus the second derivatives, nearly, of log p(x|z) and of log p(z).
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
    peaks = distinct(search.codes(places), places, search.height(x, places), n)
    flat, shape = peaks.reshape(-1, peaks.shape[-1]), peaks.shape[:2]
    heights = search.model.log_joint(jnp.repeat(x, n, axis=0), flat).reshape(shape)
    # One code after the other: each Jacobian has pixels x dim numbers.
    curved = lax.map(lambda code: curvatures(search, code), flat)
    of_pixels, of_prior = (one.reshape(*shape, *one.shape[1:]) for one in curved)
    return peaks, heights, of_pixels, of_prior


def distinct(
    codes: Places, places: Places, height: Float[Array, "images tries pieces"], n: int
) -> Float[Array, "images n dim"]:
    """The codes of the `n` highest peaks; one of each peak that several climbs reached.

    If there are fewer peaks than `n`, some are taken again.
    """
    rows, n_pieces = jnp.arange(len(height)), height.shape[2]

    def choose(
        height: Float[Array, "images tries pieces"], _: None
    ) -> tuple[Float[Array, "images tries pieces"], Float[Array, "images dim"]]:
        best = jnp.argmax(height.reshape(len(height), -1), axis=1)
        tries, piece = best // n_pieces, best % n_pieces
        away = jnp.mean((places - places[rows, tries, piece][:, None, None]) ** 2, axis=-1)
        same = (away < _SAME) & (jnp.arange(n_pieces)[None, None] == piece[:, None, None])
        # Far below all others, but in the same order.
        return height - 1e6 * same, codes[rows, tries, piece]

    return jnp.moveaxis(lax.scan(choose, height, None, length=n)[1], 0, 1)


def curvatures(
    search: Search, code: Float[Array, " dim"]
) -> tuple[Float[Array, "dim dim"], Float[Array, "dim dim"]]:
    """J^T F J and Σ_k r_k Σ_k^{-1}: their sum is positive definite, and so a Gaussian's.

    J is the decoder's Jacobian and F the information of pixels about their drive (Gauss and
    Newton).  Where logits are linear in codes, as with rectifiers piece by piece, the
    first term is exact.  The second is the curvature of a mixture's likeliest components, with
    their responsibilities r.
    """
    model, mixture = search.model, search.mixture
    decode = lambda z: model.decode(z[None])[0]  # noqa: E731
    drive = decode(code)
    # Forward mode costs one pass for each number of the code, reverse mode one for each pixel.
    jacobian = (jax.jacfwd if len(code) < len(drive) else jax.jacrev)(decode)(code)
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
