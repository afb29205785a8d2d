"""What a trained network is worth: the paper's measures, and honest ones beside them.

Each function measures one thing of a `Subject` (a network with its data and codes) and
returns plain numbers, ready for JSON; what it measures is computed by the functions of
`gncn.evaluation`, which know nothing of this kind of network.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PRNGKeyArray

from gncn.activations import resolve_activation
from gncn.completion import WAYS, Completer
from gncn.data import Dataset, Split
from gncn.errors import ConfigError
from gncn.evaluation.annealing import Annealing, annealed_log_likelihood, bracket
from gncn.evaluation.completion import complete, missing_squared_error, visible_pixels
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.mixture_fit import MixtureFit, choose_mixture, fit_mixture
from gncn.evaluation.probe import Probe, fit_probe
from gncn.evaluation.protocols import WithPrior
from gncn.evaluation.regressor import fit_regressor
from gncn.evaluation.sparsity import sparsity
from gncn.evaluation.yardsticks import fit_nearest_neighbours, mean_image
from gncn.inference import decode, encode_layers
from gncn.network import Network

Report = Callable[[str], None]
"""Told in a few words what is being done, for a progress display."""

LIKELIHOOD_NOTE = (
    "log p(x) by Monte Carlo from S prior samples is a stochastic lower bound: on average it lies "
    "below the true value, and rises to it as S grows. The paper's convention adds 2 log S, as the "
    "authors' public script does; it is no bound of anything and serves comparison with published "
    "numbers alone."
)


class Generator(eqx.Module):
    """A network as evaluation sees it: codes z^L to pixel logits.

    Attributes:
        network: the network.
    """

    network: Network

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        """Logits that codes predict."""
        return decode(self.network, codes)


@dataclass(frozen=True)
class Subject:
    """A network, its data, and the codes of all images.

    Attributes:
        network: the network.
        data: the data it was trained on.
        split: the images that numbers are reported on: ``validation`` or ``test``.
        seed: of everything random in the measurements.
        report: told what is being done.
    """

    network: Network
    data: Dataset
    split: str
    seed: int = 0
    report: Report = lambda _: None

    def __post_init__(self) -> None:
        if self.split not in ("validation", "test"):
            raise ConfigError(f"Measure on 'validation' or 'test' images; received {self.split!r}.")
        if not self.data.binary:
            raise ConfigError("Likelihoods here are of binary images; these data are real-valued.")

    @property
    def target(self) -> Split:
        """The images that numbers are reported on."""
        return self.data.test if self.split == "test" else self.data.validation

    def key(self, number: int) -> PRNGKeyArray:
        """A random key for measurement `number`."""
        return jax.random.fold_in(jax.random.key(self.seed), number)

    @cached_property
    def codes(self) -> dict[str, list[Float[np.ndarray, "images _"]]]:
        """Settled states of all latent layers, bottom first, for each split."""
        self.report("settling on all images")
        splits = {"train": self.data.train, "validation": self.data.validation}
        splits[self.split] = self.target
        return {name: encode_layers(self.network, split.images) for name, split in splits.items()}

    def top(self, split: str) -> Float[np.ndarray, "images units"]:
        """Top states z^L of a split."""
        return self.codes[split][-1]


def fit_prior(
    subject: Subject,
    *,
    n_components: int | tuple[int, ...] = 65,
    covariance: str = "full",
    regularisation: float = 0.03,
) -> tuple[MixtureFit, dict[str, Any]]:
    """Fit the Gaussian mixture prior to the settled top states of the training images.

    Args:
        subject: what is measured.
        n_components: K; of several, the one with the highest density of validation codes.
        covariance: see `gncn.evaluation.mixture_fit.fit_mixture`.
        regularisation: added to every variance.

    Returns:
        The fit, and its description.
    """
    codes = subject.top("train")
    options: dict[str, Any] = {"seed": subject.seed, "regularisation": regularisation}

    def on_iteration(number: int, objective: float) -> None:
        subject.report(f"fitting the prior: EM step {number}, {objective:.2f}")

    subject.report("fitting the prior: start from k-means")
    tried: dict[int, float] = {}
    if isinstance(n_components, int):
        fit = fit_mixture(codes, n_components, covariance, on_iteration=on_iteration, **options)
    else:
        choice = choose_mixture(
            codes, subject.top("validation"), n_components, covariance=covariance, **options
        )
        fit = choice.best
        tried = dict(zip(choice.n_components, choice.validation.tolist(), strict=True))
    held_out = jnp.asarray(subject.top(subject.split))
    return fit, {
        "n_components": fit.mixture.n_components,
        "covariance": covariance,
        "regularisation": regularisation,
        "status": fit.status,
        "log_density_of_training_codes": fit.log_likelihood,
        f"log_density_of_{subject.split}_codes": float(jnp.mean(fit.mixture.log_prob(held_out))),
        **({"validation_log_density": tried} if tried else {}),
    }


def measure_likelihood(
    subject: Subject,
    prior: Mixture,
    *,
    n_samples: int = 5000,
    n_repeats: int = 3,
    curve: tuple[int, ...] = (100, 1000, 5000, 25_000, 100_000),
) -> dict[str, Any]:
    """Log p(x) by Monte Carlo: at S with the spread over repeats, and the curve over S."""
    model = WithPrior(Generator(subject.network), prior)
    subject.report(f"log p(x) with S = {n_samples}")
    at_s = prior_log_likelihood(
        model, subject.target.images, key=subject.key(0), n_samples=n_samples, n_repeats=n_repeats
    )
    subject.report("log p(x) against S")
    over_s = prior_log_likelihood(model, subject.target.images, key=subject.key(1), n_samples=curve)
    spread = at_s.repeat_spread
    return {
        "n_samples": n_samples,
        "mean": float(at_s.mean[0]),
        "standard_error": float(at_s.standard_error[0]),
        "spread_over_prior_draws": None if spread is None else float(spread[0]),
        "paper_convention": float(at_s.paper_mean[0]),
        "curve": {
            "n_samples": list(over_s.n_samples),
            "mean": over_s.mean.tolist(),
            "standard_error": over_s.standard_error.tolist(),
        },
        "note": LIKELIHOOD_NOTE,
    }


def measure_tight_likelihood(
    subject: Subject, prior: Mixture, *, n_images: int = 24, annealing: Annealing | None = None
) -> dict[str, Any]:
    """Log p(x) by annealed importance sampling on a few images, with the check from above."""
    annealing = annealing or Annealing(n_temperatures=150, n_chains=4)
    model = WithPrior(Generator(subject.network), prior)
    images = subject.target.images[:n_images]

    def on_block(done: int, n: int) -> None:
        subject.report(f"annealing: {done} of {n} images")

    subject.report(f"annealing: 0 of {n_images} images")
    found = annealed_log_likelihood(
        model, images, key=subject.key(2), annealing=annealing, on_block=on_block
    )
    subject.report("annealing both ways on simulated images")
    check = bracket(model, max(n_images // 2, 2), key=subject.key(3), annealing=annealing)
    same = prior_log_likelihood(model, images, key=subject.key(0), n_samples=5000)
    return {
        "method": "annealed importance sampling, Hamiltonian transitions",
        "n_images": n_images,
        "n_temperatures": annealing.n_temperatures,
        "n_chains": annealing.n_chains,
        "mean": found.mean,
        "standard_error": found.standard_error,
        "effective_sample_size": float(np.mean(found.effective_sample_size)),
        "acceptance": float(np.mean(found.acceptance)),
        "same_images_at_S_5000": float(same.mean[0]),
        "simulated_images": {
            "n": len(check.x),
            "lower": check.lower.mean,
            "upper": check.upper.mean,
            "gap": check.gap,
        },
    }


def completers(subject: Subject, prior: Mixture) -> dict[str, Completer]:
    """A completer for each way of `gncn.completion`, tuned on validation images before.

    Ways but Eq 4's settle for twice the network's steps (``silent``) or half of them
    (``prior``, which starts near its goal); Eq 4 settles for twice.
    """
    n_steps = subject.network.n_settle_steps
    codes = prior.sample(subject.key(4), 20_000)
    steps = {"drift": 2 * n_steps, "silent": 2 * n_steps, "prior": max(n_steps // 2, 1)}
    return {
        way: Completer(
            subject.network,
            way,
            steps[way],
            codes if way == "prior" else None,
            4.0,
        )
        for way in WAYS
    }


def measure_completion(
    subject: Subject, prior: Mixture, *, missing: str | Bool[np.ndarray, "..."] = "right"
) -> dict[str, Any]:
    """M-MSE of every way to complete, and of three yardsticks in the same run."""
    data = subject.data
    shape = data.image_shape or (1, data.n_pixels)
    visible = visible_pixels(missing, shape, seed=subject.seed)
    images = subject.target.images

    def score(completer: Any) -> dict[str, float]:
        found = missing_squared_error(images, complete(completer, images, visible), visible)
        return {"m_mse": found.mean, "standard_error": found.standard_error}

    scores: dict[str, Any] = {}
    for way, completer in completers(subject, prior).items():
        subject.report(f"completing images: {way}")
        scores[way] = score(completer)
    subject.report("completing images: mean image")
    yardsticks = {"mean_image": score(mean_image(data.train.images))}
    subject.report("completing images: nearest neighbours")
    neighbours = fit_nearest_neighbours(data.train.images, data.validation.images[:1000], visible)
    yardsticks["nearest_neighbours"] = score(neighbours) | {"k": neighbours.k}

    def on_epoch(number: int, error: float) -> None:
        subject.report(f"completing images: supervised regressor, epoch {number}: {error:.2f}")

    floor = fit_regressor(
        data.train.images, data.validation.images, visible, key=subject.key(5), on_epoch=on_epoch
    )
    yardsticks["supervised"] = score(floor.completer)
    return {
        "missing": missing if isinstance(missing, str) else "a mask",
        "n_missing_pixels": int((~visible).sum()),
        "ways": scores,
        "yardsticks": yardsticks,
        "prior_way_over_supervised": scores["prior"]["m_mse"] / yardsticks["supervised"]["m_mse"],
    }


def measure_probe(subject: Subject, *, layer: int | None = None) -> tuple[dict[str, Any], Probe]:
    """Error of a linear classifier on a layer's states z, and on its activities φ(z).

    Args:
        subject: what is measured.
        layer: which layer, 1..L; by default the top.

    Returns:
        The numbers, and the classifier with the lower validation error.

    Raises:
        ConfigError: the data have no labels.
    """
    train, validation = subject.data.train.labels, subject.data.validation.labels
    labels = subject.target.labels
    if train is None or validation is None or labels is None:
        raise ConfigError("A probe needs labels, and these data have none.")
    top = subject.network.circuit.n_latent
    index = (top if layer is None else layer) - 1
    states = {name: layers[index] for name, layers in subject.codes.items()}
    spec = subject.network.circuit.layers[index + 1]
    phi = resolve_activation(spec.activation, spec.winners)
    activities = {name: np.asarray(phi(jnp.asarray(z))) for name, z in states.items()}
    results: dict[str, Any] = {"layer": index + 1}
    fitted: dict[str, Probe] = {}
    for name, codes in (("z", states), ("phi", activities)):

        def on_fit(done: int, n: int, name: str = name) -> None:
            subject.report(f"probe on {name}: {done} of {n} fits")

        subject.report(f"probe on {name}")
        fitted[name] = fit_probe(
            codes["train"],
            train,
            codes["validation"],
            validation,
            max_iterations=100,
            regularisation=(1e-3, 1e-2, 1e-1),
            on_fit=on_fit,
        )
        score = fitted[name].score(codes[subject.split], labels)
        results[name] = {
            "error_percent": score.error,
            "confusion": score.confusion.tolist(),
            "regularisation": fitted[name].regularisation,
            "validation_error_percent": fitted[name].validation_error,
            "converged": fitted[name].converged,
        }
    best = min(fitted, key=lambda name: min(fitted[name].validation_error.values()))
    return results | {"better_on_validation": best}, fitted[best]


def measure_sparsity(subject: Subject) -> list[dict[str, float]]:
    """Shares of active and silent neurons, Hoyer's and Gini's measures, by layer."""
    found = sparsity(subject.codes[subject.split])
    return [{"layer": index, **layer._asdict()} for index, layer in enumerate(found, start=1)]
