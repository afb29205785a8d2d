"""What a trained model is worth: the paper's measures, and honest ones beside them.

Each function measures one thing of a `Subject` (a model with its data and codes) and
returns plain numbers, ready for JSON; what it measures is computed by the functions of
`gncn.evaluation`.  None knows what kind of model it is (`gncn.evaluation.subject.Measurable`).
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, UInt8

from gncn.base.errors import ConfigError
from gncn.data import Split
from gncn.evaluation.annealing import Annealing, annealed_log_likelihood, bracket
from gncn.evaluation.completion import Completer as AnyCompleter
from gncn.evaluation.completion import Ways, complete, complete_in_ways, missing_squared_error
from gncn.evaluation.importance import importance_log_likelihood
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture_fit import MixtureFit, choose_mixture, fit_mixture
from gncn.evaluation.probe import Probe, fit_probe
from gncn.evaluation.proposals import GaussianProposal
from gncn.evaluation.protocols import CodeSampler, Prior, Sampled, WithPrior
from gncn.evaluation.regressor import fit_regressor
from gncn.evaluation.scores import PerImage
from gncn.evaluation.sparsity import sparsity
from gncn.evaluation.subject import Subject
from gncn.evaluation.yardsticks import fit_nearest_neighbours, mean_image

LIKELIHOOD_NOTE = (
    "log p(x) by Monte Carlo from S prior samples is a stochastic lower bound: on average it lies "
    "below the true value, and rises to it as S grows. The paper's convention adds 2 log S, as the "
    "authors' public script does; it is no bound of anything and serves comparison with published "
    "numbers alone."
)
TIGHT_NOTE = (
    "A lower bound on average, too, but begun at Gaussians near the posterior of each image. On "
    "images that the model simulated itself it is also bounded from above: the gap says how far "
    "off it can be."
)


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
    codes = subject.codes("train")
    options: dict[str, Any] = {"seed": subject.seed, "regularisation": regularisation}

    def on_iteration(number: int, objective: float) -> None:
        subject.report(f"fitting the prior: EM step {number}, {objective:.2f}")

    subject.report("fitting the prior: start from k-means")
    tried: dict[int, float] = {}
    if isinstance(n_components, int):
        fit = fit_mixture(codes, n_components, covariance, on_iteration=on_iteration, **options)
    else:
        choice = choose_mixture(
            codes, subject.codes("validation"), n_components, covariance=covariance, **options
        )
        fit = choice.best
        tried = dict(zip(choice.n_components, choice.validation.tolist(), strict=True))
    held_out = jnp.asarray(subject.codes(subject.split))
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
    prior: CodeSampler,
    *,
    n_samples: int = 5000,
    n_repeats: int = 3,
    curve: tuple[int, ...] = (100, 1000, 5000, 25_000),
) -> dict[str, Any]:
    """Log p(x) by Monte Carlo: at S with the spread over repeats, and the curve over S.

    ``per_image`` holds each image's value, averaged over repeats.
    """
    model = Sampled(subject.model.decoder, prior)
    subject.report(f"log p(x) with S = {n_samples}")
    at_s = prior_log_likelihood(
        model, subject.target.array, key=subject.key(0), n_samples=n_samples, n_repeats=n_repeats
    )
    subject.report("log p(x) against S")
    over_s = prior_log_likelihood(model, subject.target.array, key=subject.key(1), n_samples=curve)
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
        "per_image": at_s.per_image[0],
    }


def measure_tight_likelihood(
    subject: Subject,
    prior: Prior,
    *,
    n_images: int = 24,
    n_samples: int = 1000,
    annealing: Annealing | None = None,
) -> dict[str, Any]:
    """Log p(x) of a few images by importance sampling, and by annealing, with its bracket.

    Both begin at the model's own proposals: an encoder's posterior, or a Laplace
    approximation for a model that settles.
    """
    annealing = annealing or Annealing(n_temperatures=24, n_chains=4, step_size=0.3)
    model = WithPrior(subject.model.decoder, prior)
    images = subject.target.array[:n_images]
    n_images = len(images)

    def propose(x: UInt8[np.ndarray, "images pixels"]) -> GaussianProposal:
        codes = subject.model.encode_layers(x)[-1]
        return subject.model.propose(model, x, codes, subject.key(7))

    def on_block(done: int, n: int) -> None:
        subject.report(f"annealing: {done} of {n} images")

    subject.report(f"finding proposals for {n_images} images")
    proposal = propose(images)
    weighed = importance_log_likelihood(
        model, proposal, images, key=subject.key(8), n_samples=n_samples
    )
    subject.report(f"annealing: 0 of {n_images} images")
    found = annealed_log_likelihood(
        model,
        images,
        key=subject.key(2),
        proposal=proposal,
        annealing=annealing,
        on_block=on_block,
    )
    subject.report("annealing both ways on simulated images")
    check = bracket(
        model, max(n_images // 3, 2), key=subject.key(3), propose=propose, annealing=annealing
    )
    same = prior_log_likelihood(model, images, key=subject.key(0), n_samples=5000)
    return {
        "method": "annealed importance sampling from a proposal for each image, by Hamiltonian "
        "transitions",
        "n_images": n_images,
        "n_temperatures": annealing.n_temperatures,
        "n_chains": annealing.n_chains,
        "mean": found.mean,
        "standard_error": found.standard_error,
        "effective_sample_size": float(np.mean(found.effective_sample_size)),
        "acceptance": float(np.mean(found.acceptance)),
        "importance_sampling": {
            "n_samples": n_samples,
            "mean": weighed.mean,
            "standard_error": weighed.standard_error,
            "effective_sample_size": float(np.mean(weighed.effective_sample_size)),
        },
        "same_images_at_S_5000": float(same.mean[0]),
        "simulated_images": {
            "n": len(check.x),
            "lower": check.lower.mean,
            "upper": check.upper.mean,
            "gap": check.gap,
        },
        "note": TIGHT_NOTE,
    }


def measure_completion(
    subject: Subject,
    ways: Ways,
    visible: Bool[np.ndarray, " pixels"],
) -> dict[str, Any]:
    """M-MSE of every way to complete.

    ``per_image`` holds each image's squared error of each way, ``best_way`` the name of the
    one with the lowest error on the validation images, whatever the split.
    """

    def errors(split: str, of: Split) -> dict[str, PerImage]:
        def on_way(name: str) -> None:
            subject.report(f"completing {split} images: {name}")

        completed = complete_in_ways(ways, of.array, visible, on_way=on_way)
        return {
            way: missing_squared_error(of.array, images, visible)
            for way, images in completed.items()
        }

    reported = errors(subject.split, subject.target)
    chosen_by = (
        reported if subject.split == "validation" else errors("validation", subject.data.validation)
    )
    scores = {way: _error_of(of) | {"per_image": of.values} for way, of in reported.items()}
    on_validation = {way: of.mean for way, of in chosen_by.items()}
    return {
        "n_missing_pixels": int((~visible).sum()),
        "ways": scores,
        "best_way": min(on_validation, key=lambda way: on_validation[way]),
        "validation_m_mse": on_validation,
    }


def measure_yardsticks(subject: Subject, visible: Bool[np.ndarray, " pixels"]) -> dict[str, Any]:
    """M-MSE of what needs no generative model: data and mask alone decide it.

    The mean image, nearest neighbours, and a network trained by backprop for this mask.
    """
    data = subject.data
    subject.report("yardsticks: mean image")
    found = {"mean_image": mean_image(data.train.array)}
    subject.report("yardsticks: nearest neighbours")
    neighbours = fit_nearest_neighbours(data.train.array, data.validation.array[:1000], visible)

    def on_epoch(number: int, error: float) -> None:
        subject.report(f"yardsticks: supervised regressor, epoch {number}: {error:.2f}")

    floor = fit_regressor(
        data.train.array, data.validation.array, visible, key=subject.key(5), on_epoch=on_epoch
    )
    found |= {"nearest_neighbours": neighbours, "supervised": floor.completer}
    scores = {
        name: _error_of(_completed(one, subject.target, visible)) for name, one in found.items()
    }
    scores["nearest_neighbours"]["k"] = neighbours.k
    return {"n_missing_pixels": int((~visible).sum()), "m_mse": scores}


def _completed(
    completer: AnyCompleter, of: Split, visible: Bool[np.ndarray, " pixels"]
) -> PerImage:
    return missing_squared_error(of.array, complete(completer, of.array, visible), visible)


def _error_of(found: PerImage) -> dict[str, Any]:
    return {"m_mse": found.mean, "standard_error": found.standard_error}


def measure_probe(subject: Subject, *, layer: int | None = None) -> tuple[dict[str, Any], Probe]:
    """Error of a linear classifier on a layer's states z, and on its activities φ(z).

    Args:
        subject: what is measured.
        layer: which layer, 1..L; by default the top.

    Returns:
        The numbers, and the classifier with the lower validation error.

    Raises:
        ConfigError: the data have no labels, or the model no such layer.
    """
    train, validation = subject.data.train.labels, subject.data.validation.labels
    labels = subject.target.labels
    if train is None or validation is None or labels is None:
        raise ConfigError("A probe needs labels, and these data have none.")
    chosen = subject.n_layers if layer is None else subject.check_layer(layer)
    states = {name: layers[chosen - 1] for name, layers in subject.states.items()}
    activities = {name: subject.model.activities(chosen, z) for name, z in states.items()}
    results: dict[str, Any] = {"layer": chosen}
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
            regularisation=(1e-3, 1e-2, 1e-1, 1.0, 10.0),
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


def measure_sparsity(subject: Subject) -> list[dict[str, int | float]]:
    """Share of active and of silent neurons, Hoyer's and Gini's measures of φ(z), by layer."""
    results = []
    for index, states in enumerate(subject.states[subject.split], start=1):
        of_states = sparsity([states])[0]
        sent = sparsity([subject.model.activities(index, states)])[0]
        results.append(
            {
                "layer": index,
                "active": of_states.active,
                "silent": of_states.silent,
                "hoyer": sent.hoyer,
                "gini": sent.gini,
            }
        )
    return results
