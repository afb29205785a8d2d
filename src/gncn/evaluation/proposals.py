"""Gaussian proposals for importance sampling and annealing, one for each image.

From an encoder: ``GaussianProposal(means, stds)``.  For models without one, such as
those that settle, `laplace_proposal` climbs from a given code to the posterior's peak and
takes the curvature of log p(x, z) there.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.errors import DataError, check_positive
from gncn.evaluation.images import blocks
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.protocols import Images, WithPrior

_PRIOR_DRAWS = 2000
_N_STEPS = 200
_LEARNING_RATE = 0.05
_AT_ONCE = 16  # images whose curvature, dim x dim numbers each, is held at once

_Climber = tuple[Float[Array, "images dim"], optax.OptState]
_Factor = Float[Array, "*images dim dim"] | Float[Array, "*images dim"]


class GaussianProposal(eqx.Module):
    """q(z|x) = N(z; m, C C^T), of one image, or of several with a leading axis.

    C is `factor`, lower triangular, or its diagonal alone (standard deviations), and C^{-1} is
    `whitening`.  Methods are written for one image, that is, without the leading axis.
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
        """Draw `n` codes."""
        noise = jax.random.normal(key, (n, self.mean.shape[-1]), jnp.float32)
        if self.factor.ndim == 1:
            return self.mean[None, :] + self.factor[None, :] * noise
        return self.mean[None, :] + noise @ self.factor.T

    def log_prob(self, codes: Float[Array, "n dim"]) -> Float[Array, " n"]:
        """Log density log q(z|x) of each code, in nats."""
        deviations = codes - self.mean[None, :]
        if self.whitening.ndim == 1:
            white, diagonal = deviations * self.whitening[None, :], self.whitening
        else:
            white = jnp.matmul(deviations, self.whitening.T, precision=lax.Precision.HIGHEST)
            diagonal = jnp.diagonal(self.whitening)
        constant = 0.5 * len(diagonal) * jnp.log(2 * jnp.pi) - jnp.sum(jnp.log(diagonal))
        return -0.5 * jnp.sum(white**2, axis=-1) - constant


def laplace_proposal(
    model: WithPrior,
    x: Images,
    codes: Float[Array | np.ndarray, "images dim"],
    *,
    key: PRNGKeyArray,
    inflation: float = 1.1,
) -> GaussianProposal:
    """Fit a Gaussian to each image's posterior: its peak, and the curvature there.

    Adam climbs log p(x, z) from `codes`, in units of the prior's standard deviations and
    with a rate that decays to 0; then Σ^{-1} = −∂² log p(x, z).  Directions in which that
    is flatter than the prior's widest get the prior's width.  Any proposal is valid, so the
    curvature may use a prior that is only right near the peak: of a mixture, its likeliest
    components.

    The `key` is of samples by which the prior's widths are known.  `inflation` multiplies the
    Gaussian's standard deviations, by more than 1 since a proposal should be wider than its target
    rather than narrower.

    Raises:
        ConfigError: `inflation` is not positive.
        DataError: `x` can't be data of the model, or there isn't one code for each image.
    """
    check_positive(inflation=inflation)
    images, start = model.output.check(x), jnp.asarray(codes)
    if len(start) != len(images):
        raise DataError(f"Give one code an image; received {len(start)} for {len(images)} images.")
    drawn = np.asarray(model.prior.sample(key, _PRIOR_DRAWS), np.float64)
    covariance = np.atleast_2d(np.cov(drawn, rowvar=False))
    widths = jnp.asarray(np.sqrt(np.diag(covariance)), jnp.float32)
    flattest = 1 / np.linalg.eigvalsh(covariance)[-1]
    peaks, factors = [], []
    for rows, n in blocks(len(images), _AT_ONCE):
        peak, curvature = _climb(model, jnp.asarray(images[rows], jnp.float32), start[rows], widths)
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
    model: WithPrior,
    x: Float[Array, "images pixels"],
    start: Float[Array, "images dim"],
    widths: Float[Array, " dim"],
) -> tuple[Float[Array, "images dim"], Float[Array, "images dim dim"]]:
    """The codes at the posteriors' peaks, and minus the second derivative there."""
    optimiser = optax.adam(optax.cosine_decay_schedule(_LEARNING_RATE, _N_STEPS))

    def step(carry: _Climber, _: None) -> tuple[_Climber, None]:
        moved, state = carry
        depth = lambda u: -jnp.sum(model.log_joint(x, start + widths[None, :] * u))  # noqa: E731
        update, state = optimiser.update(jax.grad(depth)(moved), state)
        return (moved + jnp.asarray(update), state), None

    zero = jnp.zeros_like(start)
    (moved, _), _ = lax.scan(step, (zero, optimiser.init(zero)), None, length=_N_STEPS)
    peak = start + widths[None, :] * moved

    def curvature(
        one: tuple[Float[Array, " pixels"], Float[Array, " dim"]],
    ) -> Float[Array, "dim dim"]:
        image, code = one
        prior = model.prior.near(code) if isinstance(model.prior, Mixture) else model.prior
        local = WithPrior(model.decoder, prior)
        return -jax.hessian(lambda z: local.log_joint(image[None], z[None])[0])(code)

    return peak, lax.map(curvature, (x, peak))
