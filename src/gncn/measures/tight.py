"""`Tight`: tight estimates of log p(x) of some images, and how tight they are."""

from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float, Int, PRNGKeyArray, Shaped
from pydantic import Field

from gncn.base.errors import MOST_COUNT
from gncn.evaluation.annealing import (
    MOST_ANNEALED,
    Annealing,
    annealed_log_likelihood,
    bracket,
    simulate,
)
from gncn.evaluation.images import blocks
from gncn.evaluation.likelihood import (
    MOST_SAMPLES,
    WeightedEstimate,
    importance_log_likelihood,
    prior_log_likelihood,
)
from gncn.evaluation.peaks import Climbs
from gncn.evaluation.proposals import MOST_MODES, Proposal, Proposer, images_at_once
from gncn.evaluation.protocols import WithPrior
from gncn.measures.likelihood import CURVE, PriorMeasure, Sizes, draw_curve, likelihood_column
from gncn.measures.measure import Numbers, Result, Row
from gncn.measures.subject import Measurable, Subject

_CLIMBING = 24  # images whose peaks are searched at once: every step reads the whole prior


class Tight(PriorMeasure):
    """Tight estimates of log p(x), and on simulated images how tight they are.

    Importance sampling and annealing begin at proposals that know several peaks of each
    posterior (`gncn.evaluation.proposals`).  `leapfrog_step` is in standard deviations of these.
    """

    tight_images: int = Field(
        default=24,
        ge=1,
        le=MOST_COUNT,
        description="Images whose log p(x) is estimated tightly, drawn alike for every model.",
    )
    simulated_images: int = Field(
        default=12,
        ge=1,
        le=MOST_COUNT,
        description="Simulated images, on which the estimate is bounded from both sides.",
    )
    importance_samples: int = Field(
        default=1000,
        ge=1,
        le=MOST_SAMPLES,
        description="Importance samples for each of these images.",
    )
    n_temperatures: int = Field(
        default=24, ge=2, le=MOST_ANNEALED, description="Temperatures of annealing."
    )
    n_chains: int = Field(
        default=16, ge=1, le=MOST_ANNEALED, description="Chains of annealing for each image."
    )
    n_modes: int = Field(
        default=4, ge=1, le=MOST_MODES, description="Peaks of each posterior that are searched."
    )
    leapfrog_step: float = Field(
        default=0.3, gt=0, description="First step size of the Hamiltonian transitions."
    )
    curve: Sizes = CURVE

    needs_density = True
    note = (
        "A lower bound on average, too, but it starts from Gaussians at the peaks of each "
        "image's posterior. Images that the model simulated itself have an upper bound, too. On "
        "average over such images, the estimate is off by no more than the gap."
    )
    columns = (
        likelihood_column("_tight", "log p(x), annealed", path=("tight", "mean"), ranked=False),
    )

    def measure(self, subject: Subject) -> Result:
        prior = subject.prior(*self.fitting)
        model = WithPrior(subject.model.decoder, prior.prior)
        whole = subject.target.array
        # Not the first ones: MNIST's first test images are easier than the others.  The order is
        # the same for every model and seed, so that models are compared on the same images.
        order = np.random.default_rng(0).permutation(len(whole))
        images = whole[order[: self.tight_images]]
        proposer = Proposer(model, subject.key(7), n_modes=self.n_modes)
        annealing = Annealing(self.n_temperatures, self.n_chains, step_size=self.leapfrog_step)

        def key(number: int, first: int) -> PRNGKeyArray:
            # By the number of its first image, so parts that go on after a kill draw what they
            # would have.
            return jax.random.fold_in(subject.key(number), first)

        size = images_at_once(self.n_modes, proposer.dim)
        propose = partial(_proposals, proposer, subject.model, size=size)
        of_images = propose(images)

        def estimate(rows: Int[np.ndarray, " rows"]) -> dict[str, Any]:
            x, first = images[rows], int(rows[0])
            proposal = of_images(rows)
            weighed = importance_log_likelihood(
                model, proposal, x, key=key(8, first), n_samples=self.importance_samples
            )
            alone = proposal.without_prior()
            found = annealed_log_likelihood(
                model, x, key=key(2, first), proposal=alone, annealing=annealing
            )
            return {
                "importance": weighed.values,
                "importance_size": weighed.effective_sample_size,
                "annealed": found.values,
                "annealed_size": found.effective_sample_size,
                "acceptance": found.acceptance,
            }

        # The proposals for these images must not know their codes: they see the images alone.
        x, codes = simulate(model, subject.key(3), self.simulated_images)
        of_simulated = propose(x)

        def check(rows: Int[np.ndarray, " rows"]) -> dict[str, Any]:
            first = int(rows[0])
            alone = of_simulated(rows).without_prior()
            both = bracket(
                model, x[rows], codes[rows], key=key(5, first), proposal=alone, annealing=annealing
            )
            return {"lower": both.lower.values, "upper": both.upper.values}

        found = _in_parts(subject, "log p(x), annealed", len(images), size, estimate)
        bounds = _in_parts(subject, "both bounds of simulated images", len(x), size, check)
        subject.report("log p(x) of the same images from prior samples")
        sizes = self.curve or (5000,)
        # The same images and S, for a fair comparison with annealing.
        same = prior_log_likelihood(model, images, key=subject.key(0), n_samples=sizes)
        n = self.importance_samples
        weighed = WeightedEstimate(found["importance"], found["importance_size"], n)
        annealed = WeightedEstimate(found["annealed"], found["annealed_size"], self.n_chains)
        gaps = bounds["upper"] - bounds["lower"]
        gap_error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else None
        numbers = {
            "method": "annealed importance sampling by Hamiltonian transitions, from a proposal "
            "for each image that knows several peaks of its posterior",
            "n_images": len(images),
            "images": order[: len(images)].tolist(),
            "n_temperatures": self.n_temperatures,
            "n_leapfrog": annealing.n_leapfrog,
            "n_modes": self.n_modes,
            "acceptance": float(np.mean(found["acceptance"])),
            **_estimated(annealed),
            "importance_sampling": _estimated(weighed),
            "from_prior_samples": {
                "n_samples": list(same.n_samples),
                "mean": same.mean.tolist(),
                "per_image": _rounded(same.per_image),
            },
            "simulated_images": {
                "n": len(gaps),
                "lower": float(bounds["lower"].mean()),
                "upper": float(bounds["upper"].mean()),
                "gap": float(gaps.mean()),
                "gap_error": gap_error,
                "gaps": _distribution(gaps),
            },
            "note": self.note,
        }
        return Result(prior.numbers | {"tight": numbers})

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("tight")) is None:
            return []
        gaps, weighed = found["simulated_images"]["gaps"], found["importance_sampling"]
        annealed = (
            f"{found['n_images']} images; gap on simulated ones {gaps['median']:.2f} (median), "
            f"{gaps['worst']:.2f} (worst)"
        )
        size, n = weighed["effective_sample_size"], weighed["n_samples"]
        importance = f"the same images; {size:.0f} effective samples of {n}"
        same = found["from_prior_samples"]
        prior_samples = f"from S = {same['n_samples'][-1]:,} prior samples"
        return [
            Row("log p(x), annealed", f"{found['mean']:.2f} nats", annealed),
            Row("log p(x), importance", f"{weighed['mean']:.2f} nats", importance),
            Row("log p(x), same images", f"{same['mean'][-1]:.2f} nats", prior_samples),
        ]

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        return draw_curve(result, folder)


def _proposals(
    proposer: Proposer, model: Measurable, x: Shaped[np.ndarray, "images pixels"], *, size: int
) -> Callable[[Int[np.ndarray, " rows"]], Proposal]:
    """The proposals of `size` rows of `x`, whose search climbs for more of them at once."""
    many = -(-_CLIMBING // size) * size

    @lru_cache(maxsize=1)
    def climbs(first: int) -> Climbs:
        block = x[np.minimum(np.arange(first, first + many), len(x) - 1)]
        # The model's own code is one of the places from which peaks are searched.
        return proposer.climb(block, model.encode_layers(block)[-1])

    def of(rows: Int[np.ndarray, " rows"]) -> Proposal:
        first = int(rows[0]) // many * many
        own = jax.tree.map(lambda one: one[rows - first], climbs(first))
        return proposer.propose(x[rows], own)

    return of


def _in_parts(
    subject: Subject,
    what: str,
    n: int,
    size: int,
    compute: Callable[[Int[np.ndarray, " rows"]], dict[str, Any]],
) -> dict[str, Float[np.ndarray, " images"]]:
    """Arrays of `n` images, computed and kept for some at a time; all parts have one length."""
    parts = []
    for rows, wanted in blocks(n, size):
        subject.report(f"{what}: {rows[0]} of {n}")
        part = subject.keep(f"tight: {what} {rows[0]}", partial(compute, rows))
        parts.append({name: array[:wanted] for name, array in part.items()})
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _estimated(estimate: WeightedEstimate) -> dict[str, Any]:
    """Numbers of an estimate; its sampling error is of the mean over images."""
    # Of the mean over images, whose estimates are independent.
    error = float(np.sqrt(np.sum(estimate.sampling_error**2)) / len(estimate.values))
    return {
        "n_samples": estimate.n_samples,
        "mean": estimate.mean,
        "standard_error": estimate.standard_error,
        "sampling_error": error if np.isfinite(error) else None,  # one sample tells nothing
        "effective_sample_size": float(np.mean(estimate.effective_sample_size)),
        "per_image": _rounded(estimate.values),
    }


def _rounded(values: Float[np.ndarray, "..."]) -> list[Any]:
    """To a hundredth of a nat, which is enough for differences between models."""
    return np.round(np.asarray(values, np.float64), 2).tolist()


def _distribution(gaps: Float[np.ndarray, " images"]) -> dict[str, float]:
    """How gaps of images are spread, in nats, and the shares of images with small ones."""
    lower, median, upper = np.quantile(gaps, (0.25, 0.5, 0.75))
    return {
        "lower_quartile": float(lower),
        "median": float(median),
        "upper_quartile": float(upper),
        # With its sign: below 0 the two bounds cross, which says something too.
        "worst": float(gaps[np.argmax(np.abs(gaps))]),
        "below_half_a_nat": float(np.mean(np.abs(gaps) < 0.5)),
        "below_2_nats": float(np.mean(np.abs(gaps) < 2)),
    }
