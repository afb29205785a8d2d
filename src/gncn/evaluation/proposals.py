"""Gaussian proposals for importance sampling, one for each image.

From an encoder: ``GaussianProposal(means, stds)``.  For models without one, such as
those that settle, `laplace_proposal` climbs from a given code to the posterior's peak and
takes the curvature of log p(x, z) there.
"""

from typing import Protocol, TypeVar, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import DataError
from gncn.evaluation.bernoulli import binary_images, log_likelihood
from gncn.evaluation.blocks import blocks, check_positive
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.protocols import Images, LatentModel, WithPrior

_PRIOR_DRAWS = 2000


@runtime_checkable
class Proposal(Protocol):
    """A distribution q(z|x) over codes for each image.

    A pytree whose arrays all have a leading axis of images.  Its methods are written
    for one image, that is, for arrays without that axis.
    """

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        """Draw `n` codes."""
        ...

    def log_prob(self, codes: Float[Array, "n dim"]) -> Float[Array, " n"]:
        """Log density log q(z|x) of each code, in nats."""
        ...


P = TypeVar("P", bound=Proposal)
_Climber = tuple[Float[Array, "images dim"], optax.OptState]
_Factor = Float[Array, "*images dim dim"] | Float[Array, "*images dim"]


class GaussianProposal(eqx.Module):
    """q(z|x) = N(z; m, C C^T), of one image, or of several with a leading axis.

    Attributes:
        mean: m.
        factor: C, lower triangular, or its diagonal alone (standard deviations).
        whitening: C^{-1}, of the same shape.
    """

    mean: Float[Array, "*images dim"]
    factor: _Factor
    whitening: _Factor

    def __init__(self, mean: Float[Array, "*images dim"], factor: _Factor) -> None:
        """Invert the factor once, outside of compiled programs if it is a matrix.

        Two batches of triangular systems in one program can wait for each other without end:
        on a CPU, JAX's solver shares the threads that it waits for.  So densities are products
        with the inverse.
        """
        self.mean = mean
        self.factor = factor
        if factor.ndim == mean.ndim:
            self.whitening = 1 / factor
        else:
            inverse = np.linalg.inv(np.asarray(factor, np.float64))
            self.whitening = jnp.asarray(np.tril(inverse), jnp.float32)

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        noise = jax.random.normal(key, (n, self.mean.shape[-1]))
        if self.factor.ndim == 1:
            return self.mean[None, :] + self.factor[None, :] * noise
        return self.mean[None, :] + noise @ self.factor.T

    def log_prob(self, codes: Float[Array, "n dim"]) -> Float[Array, " n"]:
        deviations = codes - self.mean[None, :]
        if self.whitening.ndim == 1:
            white, diagonal = deviations * self.whitening[None, :], self.whitening
        else:
            white = jnp.matmul(deviations, self.whitening.T, precision=lax.Precision.HIGHEST)
            diagonal = jnp.diagonal(self.whitening)
        constant = 0.5 * len(diagonal) * jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(diagonal))
        return -0.5 * jnp.sum(white**2, axis=-1) - constant


def of_images(proposal: P, rows: Int[np.ndarray, " images"], n_images: int) -> P:
    """The proposals of some of `n_images` images.

    Raises:
        DataError: there isn't one proposal for each image.
    """
    sizes = {len(leaf) for leaf in jax.tree.leaves(eqx.filter(proposal, eqx.is_array))}
    if sizes != {n_images}:
        raise DataError(
            f"Each array of the proposal must have a leading axis of {n_images} images; "
            f"received leading axes of {sorted(sizes)}."
        )
    return jax.tree.map(lambda leaf: leaf[rows] if eqx.is_array(leaf) else leaf, proposal)


def laplace_proposal(
    model: LatentModel,
    x: Images,
    codes: Float[Array | np.ndarray, "images dim"],
    *,
    key: PRNGKeyArray,
    n_steps: int = 200,
    learning_rate: float = 0.05,
    inflation: float = 1.1,
    image_block: int = 16,
) -> GaussianProposal:
    """Fit a Gaussian to each image's posterior: its peak, and the curvature there.

    Adam climbs log p(x, z) from `codes`, in units of the prior's standard deviations and
    with a rate that decays to 0; then Σ^{-1} = −∂² log p(x, z).  Directions in which that
    is flatter than the prior's widest get the prior's width.  Any proposal is valid, so the
    curvature may use a prior that is only right near the peak: of a mixture, its likeliest
    components.

    Args:
        model: p(z) and p(x|z).
        x: binary images.
        codes: where to start: settled or encoded codes.
        key: of the samples by which the prior's widths are known.
        n_steps: steps up.
        learning_rate: the first step size, in standard deviations of the prior.
        inflation: factor on the Gaussian's standard deviations; above 1, since a
            proposal should be wider than its target rather than narrower.
        image_block: images whose curvature, dim x dim numbers each, is held at once.

    Raises:
        ConfigError: a number is not positive.
        DataError: `x` is not binary, or there isn't one code for each image.
    """
    check_positive(n_steps=n_steps, learning_rate=learning_rate, inflation=inflation)
    check_positive(image_block=image_block)
    images, start = binary_images(x), jnp.asarray(codes)
    if len(start) != len(images):
        raise DataError(f"Give one code an image; received {len(start)} for {len(images)} images.")
    drawn = np.asarray(model.sample_prior(key, _PRIOR_DRAWS), np.float64)
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    widths = jnp.asarray(np.sqrt(np.diag(covariance)), jnp.float32)
    flattest = 1 / np.linalg.eigvalsh(covariance)[-1]
    peaks, factors = [], []
    for rows, n in blocks(len(images), image_block):
        block = jnp.asarray(images[rows], jnp.float32)
        peak, curvature = _climb(model, block, start[rows], widths, n_steps, learning_rate)
        values, vectors = np.linalg.eigh(np.asarray(curvature, np.float64))
        values = np.maximum(values, flattest)
        spread = (vectors / values[:, None, :]) @ np.swapaxes(vectors, 1, 2)
        peaks.append(np.asarray(peak)[:n])
        factors.append(inflation * np.linalg.cholesky(spread)[:n])
    return GaussianProposal(
        jnp.asarray(np.concatenate(peaks)), jnp.asarray(np.concatenate(factors), jnp.float32)
    )


@eqx.filter_jit
def _climb(
    model: LatentModel,
    x: Float[Array, "images pixels"],
    start: Float[Array, "images dim"],
    widths: Float[Array, " dim"],
    n_steps: int,
    learning_rate: float,
) -> tuple[Float[Array, "images dim"], Float[Array, "images dim dim"]]:
    """The codes at the posteriors' peaks, and minus the second derivative there."""

    def joint(
        model: LatentModel, images: Float[Array, "images pixels"], codes: Float[Array, "images dim"]
    ) -> Float[Array, ""]:
        return jnp.sum(model.log_prior(codes) + log_likelihood(images, model.decode(codes)))

    optimiser = optax.adam(optax.cosine_decay_schedule(learning_rate, n_steps))

    def step(carry: _Climber, _: None) -> tuple[_Climber, None]:
        moved, state = carry
        downhill = jax.grad(lambda u: -joint(model, x, start + widths[None, :] * u))(moved)
        update, state = optimiser.update(downhill, state)
        return (moved + jnp.asarray(update), state), None

    zero = jnp.zeros_like(start)
    (moved, _), _ = lax.scan(step, (zero, optimiser.init(zero)), None, length=n_steps)
    peak = start + widths[None, :] * moved

    def curvature(
        one: tuple[Float[Array, " pixels"], Float[Array, " dim"]],
    ) -> Shaped[Array, "dim dim"]:
        image, code = one
        local = model
        if isinstance(model, WithPrior) and isinstance(model.prior, Mixture):
            local = WithPrior(model.decoder, model.prior.near(code))
        return -jax.hessian(lambda z: joint(local, image[None], z[None]))(code)

    return peak, lax.map(curvature, (x, peak))
