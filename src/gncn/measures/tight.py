"""`Tight`: log p(x) of a few images by importance sampling and annealing, with a bracket."""

from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from pydantic import Field

from gncn.evaluation.annealing import Annealing, annealed_log_likelihood, bracket
from gncn.evaluation.importance import importance_log_likelihood
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.proposals import GaussianProposal
from gncn.evaluation.protocols import WithPrior
from gncn.measures.likelihood import PriorMeasure, draw_curve
from gncn.measures.measure import Column, Numbers, Result, Row, within
from gncn.measures.subject import Subject

NOTE = (
    "A lower bound on average, too, but it starts from Gaussians near the posterior of each image. "
    "On images that the model simulated itself it is also bounded from above: the gap says how far "
    "off it can be."
)
_METHOD = "annealed importance sampling from a proposal for each image, by Hamiltonian transitions"
_PLAIN_SAMPLES = 5000


class Tight(PriorMeasure):
    """Tight estimates of log p(x).

    Both begin at the model's own proposals: an encoder's posterior, or a Laplace
    approximation for a model that settles.  `leapfrog_step` is in standard deviations of these.
    """

    tight_images: int = Field(
        default=24, ge=1, description="Images whose log p(x) is estimated tightly."
    )
    importance_samples: int = Field(
        default=1000, ge=1, description="Importance samples for each of these images."
    )
    n_temperatures: int = Field(default=24, ge=1, description="Temperatures of annealing.")
    n_chains: int = Field(default=4, ge=1, description="Chains of annealing for each image.")
    leapfrog_step: float = Field(
        default=0.3, gt=0, description="First step size of the Hamiltonian transitions."
    )

    note = NOTE
    columns = (
        Column(
            "log_likelihood_tight",
            "log p(x), annealed",
            within("tight", "mean"),
            low_is_good=False,
            ranked=False,
            table="generative",
        ),
    )

    def measure(self, subject: Subject) -> Result:
        prior = self.prior(subject)
        model = WithPrior(subject.model.decoder, prior.prior)
        images = subject.target.array[: self.tight_images]
        n_images = len(images)
        annealing = Annealing(
            n_temperatures=self.n_temperatures,
            n_chains=self.n_chains,
            step_size=self.leapfrog_step,
        )

        def propose(x: UInt8[np.ndarray, "images pixels"]) -> GaussianProposal:
            codes = subject.model.encode_layers(x)[-1]
            return subject.model.propose(model, x, codes, subject.key(7))

        subject.report(f"finding proposals for {n_images} images")
        proposal = propose(images)
        weighed = importance_log_likelihood(
            model,
            proposal,
            images,
            key=subject.key(8),
            n_samples=self.importance_samples,
            on_block=subject.counting("importance sampling", "images"),
        )
        subject.report(f"annealing: 0 of {n_images} images")
        found = annealed_log_likelihood(
            model,
            images,
            key=subject.key(2),
            proposal=proposal,
            annealing=annealing,
            on_block=subject.counting("annealing", "images"),
        )
        subject.report("annealing both ways on simulated images")
        check = bracket(
            model, max(n_images // 3, 2), key=subject.key(3), propose=propose, annealing=annealing
        )
        same = prior_log_likelihood(model, images, key=subject.key(0), n_samples=_PLAIN_SAMPLES)
        numbers = {
            "method": _METHOD,
            "n_images": n_images,
            "n_temperatures": annealing.n_temperatures,
            "n_chains": annealing.n_chains,
            "mean": found.mean,
            "standard_error": found.standard_error,
            "effective_sample_size": float(np.mean(found.effective_sample_size)),
            "acceptance": float(np.mean(found.acceptance)),
            "importance_sampling": {
                "n_samples": self.importance_samples,
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
            "note": NOTE,
        }
        return Result(prior.numbers | {"tight": numbers})

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("tight")) is None:
            return []
        gap, weighed = found["simulated_images"]["gap"], found["importance_sampling"]
        same = f"{found['n_images']} images; S = 5000 says {found['same_images_at_S_5000']:.2f}"
        size, n = weighed["effective_sample_size"], weighed["n_samples"]
        annealed = f"{same}; gap on simulated ones {gap:.2f}"
        importance = f"the same images; {size:.0f} effective samples of {n}"
        return [
            Row("log p(x), annealed", f"{found['mean']:.2f} nats", annealed),
            Row("log p(x), importance", f"{weighed['mean']:.2f} nats", importance),
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        return draw_curve(result, folder)
