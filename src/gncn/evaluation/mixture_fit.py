"""Fitting a Gaussian mixture by expectation maximisation (EM), with many codes in mind.

Every covariance is held away from zero by ε (`regularisation`), as in scikit-learn:

    Σ_k = Σ_n r_nk (z_n − μ_k)(z_n − μ_k)^T / Σ_n r_nk + ε I

so silent or constant units do no harm, and neither do components with fewer codes than
dimensions.  That is the exact M step for codes blurred by noise of variance ε, whose
expected log density is log N(z; μ, Σ) − ½ ε tr Σ^{-1}.  The E step uses the same density,
so no iteration lowers the objective

    Σ_n log Σ_k π_k exp[ log N(z_n; μ_k, Σ_k) − ½ ε tr Σ_k^{-1} ]

which is at most the log-likelihood and tends to it as ε → 0.

An E step costs one matrix product for each component.  In many dimensions all but a few
responsibilities of a code are nearly 0, and some of the dimensions suffice to see that.
Pairs of code and component whose responsibility is surely below 1e-12 are left out.  This
makes a step several times cheaper and changes nothing that single precision could show.

Densities are computed in single precision on centred codes, moments in double precision.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from gncn.base.errors import ConfigError, DataError, DivergenceError, unknown_choice
from gncn.base.extras import needs
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture, mixture_from_moments
from gncn.evaluation.mixture_steps import (
    log_joint,
    maximise,
    pooled,
    precision_trace,
    start_responsibilities,
)
from gncn.evaluation.protocols import Codes

_ROUNDING = 1e-8
"""A smaller gain than this share of the objective may be rounding."""


class MixtureFit(NamedTuple):
    """A fitted mixture and how the fit went.

    Attributes:
        mixture: the mixture.
        objective: mean objective per code after each step, in nats; never falls.
        log_likelihood: mean log density of the codes under the mixture, in nats.
        converged: whether the objective's last gain was below the tolerance.
    """

    mixture: Mixture
    objective: Float[np.ndarray, " iterations"]
    log_likelihood: float
    converged: bool

    @property
    def status(self) -> str:
        """What to tell the user: converged, or what to do about it."""
        steps = len(self.objective)
        if self.converged:
            return f"Converged after {steps} EM steps."
        return (
            f"Stopped after {steps} EM steps without converging; raise max_iterations, or the "
            "tolerance."
        )


def fit_mixture(
    codes: Codes,
    n_components: int = 65,
    covariance: Covariance | str = "full",
    *,
    seed: int = 0,
    regularisation: float = 1e-4,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    on_iteration: Callable[[int, float], None] | None = None,
) -> MixtureFit:
    """Fit a Gaussian mixture to codes by EM, from k-means clusters.

    Args:
        codes: the codes, shape (codes, dim).
        n_components: K; the paper's is 65.
        covariance: ``"full"`` or ``"diagonal"``.
        seed: of the clusters.
        regularisation: ε, added to every variance (scikit-learn's default is 1e-6).
        tolerance: stop when an iteration's gain in the mean objective is below this, in
            nats per dimension.
        max_iterations: take at most so many steps.
        on_iteration: called after every step with its number and the mean objective.

    Returns:
        The mixture and how the fit went; look at `status`.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: codes are not finite, fewer than components, or so large that
            covariances lose positive definiteness to rounding.
        DivergenceError: the likelihood is not finite.
    """
    if covariance not in COVARIANCES:
        raise unknown_choice("covariance", covariance, COVARIANCES)
    check_positive(n_components=n_components, max_iterations=max_iterations)
    check_positive(regularisation=regularisation, tolerance=tolerance)
    codes = np.asarray(codes)
    if not np.isfinite(codes).all():
        raise DataError("Codes to fit a mixture to must be finite; some are not.")
    if len(codes) < n_components:
        raise DataError(f"{len(codes)} codes are too few for {n_components} components.")
    return improve_mixture(
        codes,
        start_responsibilities(_centred(codes)[0], n_components, seed),
        covariance,
        regularisation=regularisation,
        tolerance=tolerance,
        max_iterations=max_iterations,
        on_iteration=on_iteration,
    )


def improve_mixture(
    codes: Codes,
    responsibilities: Float[np.ndarray, "codes components"],
    covariance: Covariance,
    *,
    regularisation: float,
    tolerance: float,
    max_iterations: int,
    on_iteration: Callable[[int, float], None] | None = None,
) -> MixtureFit:
    """Fit a mixture by EM from given responsibilities; see `fit_mixture`."""
    needs("scipy", "evaluation")
    from scipy.special import logsumexp

    centred, centre = _centred(codes)
    moments = pooled(centred, responsibilities.shape[1], covariance, regularisation)
    objective: list[float] = []
    while True:
        moments = maximise(centred, responsibilities, moments, covariance, regularisation)
        mixture = mixture_from_moments(*moments, covariance=covariance)
        penalty = 0.5 * regularisation * precision_trace(mixture)
        joint = log_joint(mixture, centred, np.argmax(responsibilities, axis=1), penalty)
        blurred = joint - penalty[None, :]
        evidence = np.asarray(logsumexp(blurred, axis=1))
        responsibilities = np.exp(blurred - evidence[:, None])
        objective.append(float(np.mean(evidence)))
        if not np.isfinite(objective[-1]):
            raise DivergenceError(
                f"The mixture's likelihood became {objective[-1]}. Increase regularisation="
                f"{regularisation}, or scale the codes."
            )
        if on_iteration is not None:
            on_iteration(len(objective), objective[-1])
        least = max(tolerance * len(centre), _ROUNDING * abs(objective[-1]))
        gained = len(objective) == 1 or objective[-1] - objective[-2] >= least
        if not gained or len(objective) >= max_iterations:
            break
    means = jnp.asarray(moments.means + centre[None, :], jnp.float32)
    return MixtureFit(
        eqx.tree_at(lambda fitted: fitted.means, mixture, means),
        np.asarray(objective),
        float(np.mean(np.asarray(logsumexp(joint, axis=1)))),
        not gained,
    )


def _centred(codes: Codes) -> tuple[Float[np.ndarray, "codes dim"], Float[np.ndarray, " dim"]]:
    """Codes less their mean, in single precision, and the mean in double precision."""
    centre = np.asarray(np.mean(codes, axis=0, dtype=np.float64))
    return np.asarray(codes - centre[None, :], np.float32), centre


def choose_mixture(
    codes: Codes, validation: Codes, n_components: Sequence[int], **options: Any
) -> tuple[MixtureFit, dict[int, float]]:
    """Fit mixtures of several sizes and choose by the density of validation codes.

    Args:
        codes: to fit to.
        validation: to choose on.
        n_components: the sizes K to try.
        options: passed on to `fit_mixture`.

    Returns:
        The best fit, and the mean log density of the validation codes under each size, in nats;
        of one size alone none is computed.

    Raises:
        ConfigError: no size is given; and as `fit_mixture` does.
    """
    if not n_components:
        raise ConfigError("Give at least one number of components; received none.")
    fits = {size: fit_mixture(codes, size, **options) for size in n_components}
    if len(fits) == 1:
        return fits[n_components[0]], {}
    held_out = jnp.asarray(validation, jnp.float32)
    scores = {k: float(jnp.mean(fit.mixture.log_prob(held_out))) for k, fit in fits.items()}
    return fits[max(scores, key=scores.__getitem__)], scores
