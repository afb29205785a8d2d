"""`Likelihood` and `Samples`: measures of a model with a prior over codes.

Log p(x) is measured by Monte Carlo from the prior, at one S and as a curve over S.  Tight
estimates of some images are in `gncn.measures.tight`.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
from pydantic import Field, field_validator

from gncn.base.errors import MOST_COUNT
from gncn.evaluation.images import tile
from gncn.evaluation.likelihood import (
    MOST_SAMPLES,
    prior_log_likelihood,
)
from gncn.evaluation.mixture import Covariance
from gncn.evaluation.protocols import CodeSampler, WithPrior
from gncn.evaluation.recall import EmpiricalPrior
from gncn.evaluation.yardsticks import nearest_images
from gncn.measures.measure import Column, Condition, Measure, Numbers, Result, Row, several, within
from gncn.measures.subject import REGULARISATION, Subject

Sizes = tuple[Annotated[int, Field(ge=1, le=MOST_SAMPLES)], ...]
CURVE = Field(
    default=(100, 1000, 5000, 25_000), description="Values of S for the curve of log p(x)."
)

_OTHERS = {
    "likelihood_own_prior": ("own prior", "the prior that the model was trained with"),
    "likelihood_training_codes": ("codes as prior", "the codes of training images, equally likely"),
}
_N_SAMPLES = 100


class PriorMeasure(Measure):
    """A measure that needs a prior over codes: a Gaussian mixture, unless training fitted one."""

    n_components: tuple[Annotated[int, Field(ge=1, le=MOST_COUNT)], ...] = Field(
        default=(65,),
        min_length=1,
        description="Components K of the mixture prior; validation images choose among several.",
    )
    covariance: Covariance = Field(
        default="full", description="Covariance of the mixture: `full` or `diagonal`."
    )
    regularisation: tuple[Annotated[float, Field(gt=0, allow_inf_nan=False)], ...] = Field(
        default=(REGULARISATION,),
        min_length=1,
        description="Added to every variance of the mixture, as a share of the codes' variance; "
        "among several, log p(x) of validation images chooses, where there is one.",
    )

    _several = field_validator("n_components", "regularisation", mode="before")(several)

    @property
    def fitting(self) -> tuple[tuple[int, ...], str, tuple[float, ...]]:
        """How the mixture is fitted; see `Subject.prior`."""
        return self.n_components, self.covariance, self.regularisation


def likelihood_column(
    suffix: str, title: str, published: str = "", path: tuple[str, ...] = (), ranked: bool = True
) -> Column:
    """A column of one of the kinds of log p(x), for its measure."""
    return Column(
        f"log_likelihood{suffix}",
        title,
        # A column's numbers are found by its own suffix, unless a path is given.
        within(*(path or (f"likelihood{suffix}", "mean"))),
        low_is_good=False,
        published=published,
        ranked=ranked,
        table="generative",
    )


def _end_of_curve(numbers: Numbers) -> Any:
    curve = within("likelihood", "curve")(numbers)
    return curve["mean"][-1] if curve else None


class Likelihood(PriorMeasure):
    """Log p(x) from S prior samples."""

    n_samples: int = Field(
        default=5000, ge=1, le=MOST_SAMPLES, description="Prior samples S for log p(x)."
    )
    n_repeats: int = Field(
        default=3,
        ge=1,
        le=1000,
        description="Repetitions of log p(x), each with other prior samples.",
    )
    curve: Sizes = CURVE
    other_priors: bool = Field(
        default=True,
        description="Measure log p(x) with the model's own prior and the training codes, too.",
    )

    needs_codes = False
    needs_density = True
    note = (
        "log p(x) by Monte Carlo from S prior samples is a stochastic lower bound: on average it "
        "lies below the true value, and rises to it as S grows. The paper's convention adds "
        "2 log S, as the authors' public script does; it bounds nothing and only serves "
        "comparison with published numbers."
    )
    columns = (
        likelihood_column("", "log p(x), mixture prior", "honest_log_likelihood"),
        Column("log_likelihood_most", "log p(x), most S", _end_of_curve, False, table="generative"),
        likelihood_column("_training_codes", "log p(x), training codes"),
        likelihood_column("_own_prior", "log p(x), N(0, I)"),
        likelihood_column(
            "_paper_convention",
            "log p(x) + 2 log S",
            "log_likelihood",
            ("likelihood", "paper_convention"),
        ),
    )
    conditions = (Condition("n_samples", "S of log p(x)", within("likelihood", "n_samples")),)

    def measure(self, subject: Subject) -> Result:
        prior = subject.prior(*self.fitting)
        priors: dict[str, CodeSampler] = {"": prior.prior}
        if self.other_priors and subject.model.own_prior is not None:
            priors["_own_prior"] = subject.model.own_prior
        # A mixture on pixels has no codes, and its prior was fitted by training.
        if self.other_priors and subject.model.fitted_prior is None:
            priors["_training_codes"] = EmpiricalPrior(jnp.asarray(subject.learned_codes))
        found = Result(dict(prior.numbers))
        for suffix, one in priors.items():
            # One part for each prior, so that an evaluation that was killed keeps those that are
            # done.
            part = subject.keep(f"likelihood{suffix}", partial(self._with, subject, one))
            found.numbers[f"likelihood{suffix}"] = part["numbers"]
            found.per_image[f"log_likelihood{suffix}"] = part["per_image"]
        return found

    def _with(self, subject: Subject, prior: CodeSampler) -> dict[str, Any]:
        model, images = WithPrior(subject.model.decoder, prior), subject.target.array
        what = f"log p(x) with S = {self.n_samples}"
        subject.report(what)
        at_s = prior_log_likelihood(
            model,
            images,
            key=subject.key(0),
            n_samples=self.n_samples,
            n_repeats=self.n_repeats,
            on_draw=subject.counting(what, "draws"),
        )
        spread = at_s.repeat_spread
        numbers: dict[str, Any] = {
            "n_samples": self.n_samples,
            "mean": float(at_s.mean[0]),
            "standard_error": float(at_s.standard_error[0]),
            "spread_over_prior_draws": None if spread is None else float(spread[0]),
            "paper_convention": float(at_s.paper_mean[0]),
            "note": self.note,
        }
        if self.curve:
            subject.report("log p(x) against S")
            # Its own key: the curve is independent of the number at one S.
            over_s = prior_log_likelihood(model, images, key=subject.key(1), n_samples=self.curve)
            numbers["curve"] = {
                "n_samples": list(over_s.n_samples),
                "mean": over_s.mean.tolist(),
                "standard_error": over_s.standard_error.tolist(),
            }
        return {"numbers": numbers, "per_image": at_s.per_image[0]}

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("likelihood")) is None:
            return []

        def row(name: str, mean: float, remark: str) -> Row:
            return Row(name, f"{mean:.2f} nats", remark)

        spread = found["spread_over_prior_draws"]
        error = f"± {found['standard_error']:.2f} over images"
        remark = error if spread is None else f"{error}, ± {spread:.2f} over prior draws"
        rows = [row(f"log p(x), S = {found['n_samples']:,}", found["mean"], remark)]
        if curve := found.get("curve"):
            most = curve["n_samples"][-1]
            which = "a tighter bound" if most > found["n_samples"] else "from other samples"
            rows.append(row("log p(x), most S", curve["mean"][-1], f"S = {most:,}; {which}"))
        remark = "for comparison with published numbers only"
        rows.append(row("log p(x) + 2 log S", found["paper_convention"], remark))
        for key, (name, remark) in _OTHERS.items():
            if (other := numbers.get(key)) is not None:
                remark = f"S = {other['n_samples']:,}; {remark}"
                rows.append(row(f"log p(x), {name}", other["mean"], remark))
        return rows

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        return draw_curve(result, folder)


def draw_curve(result: Result, folder: Path) -> Path | None:
    """Draw log p(x) against S, with the tight estimate if there is one; None without a curve."""
    from gncn.figures.style import COLOURS, INK, new_figure, save_figure, style

    curve, tight = within("likelihood", "curve")(result.numbers), result.numbers.get("tight")
    if curve is None:
        return None
    figure = new_figure(6.6, 3.9)
    axes = figure.subplots()
    look: dict[str, Any] = {"color": COLOURS[0], "marker": "o", "markersize": 4}
    label = "S prior samples, all images"
    axes.errorbar(curve["n_samples"], curve["mean"], curve["standard_error"], label=label, **look)
    title = f"log p(x), a lower bound: it {_rise(curve)}"
    if tight is not None:
        n, mean, same = tight["n_images"], tight["mean"], tight["from_prior_samples"]
        look = {"color": COLOURS[1], "marker": "s", "markersize": 4, "linestyle": "--"}
        axes.plot(same["n_samples"], same["mean"], label=f"{n} images alone", mfc="none", **look)
        error, label = tight["standard_error"], f"annealed, the same {n} images"
        axes.axhline(mean, color=COLOURS[1], label=label, linewidth=1)
        axes.axhspan(mean - error, mean + error, color=COLOURS[1], alpha=0.12, linewidth=0)
        gaps, most = tight["simulated_images"]["gaps"], same["n_samples"][-1]
        title += (
            f"\nAnnealing {_against(mean - same['mean'][-1])} S = {most:,} on the same {n} images"
            f"\nGap on images that it simulated: median {gaps['median']:.2f} nats, worst "
            f"{gaps['worst']:.2f}"
        )
    axes.set_xscale("log")
    style(axes, x="prior samples S", y="nats per image")
    axes.set_title(title, fontsize=9, color=INK, loc="left")
    # Below the drawing, since lines and bands may lie anywhere in it.
    figure.legend(fontsize=8, frameon=False, loc="outside lower left", ncols=3)
    return save_figure(figure, folder / "likelihood.png")


def _rise(curve: Numbers) -> str:
    """How far the bound rises from the fewest samples to the most, in words."""
    first, last = curve["mean"][0], curve["mean"][-1]
    few, many = curve["n_samples"][0], curve["n_samples"][-1]
    # A smaller rise may be chance.
    if last - first < 0.5:
        return "hardly depends on S here"
    return f"rises by {last - first:.1f} nats from S = {few:,} to {many:,}"


def _against(gain: float) -> str:
    return f"finds {gain:.2f} nats more than" if gain >= 0 else f"is {-gain:.2f} nats below"


class Samples(PriorMeasure):
    """Samples, and how far they and held-out images are from training images."""

    needs_codes = False

    def measure(self, subject: Subject) -> Result:
        prior = subject.prior(*self.fitting)
        subject.report("sampling, and searching the nearest training images")
        codes = prior.prior.sample(subject.key(6), _N_SAMPLES)
        drive, output = subject.model.decoder.decode(codes), subject.output
        means = np.asarray(output.mean(drive))
        greys = output.binary and not subject.data.binary  # of which draws are never an example
        if greys:
            drawn = means
        elif output.binary:
            uniform = np.random.default_rng(subject.seed).uniform(size=means.shape)
            drawn = (uniform < means).astype(np.uint8)
        else:
            drawn = np.asarray(output.sample(subject.key(9), drive))
        train = subject.learned.array
        nearest = nearest_images(train, drawn)
        # As many held-out images as samples, so that both distances are means of equally many.
        held_out = nearest_images(train, subject.target.array[:_N_SAMPLES])
        numbers = {
            "n": len(means),
            "distance_to_nearest_training_image": float(nearest.distances.mean()),
            "the_same_for_held_out_images": float(held_out.distances.mean()),
            "note": f"Euclidean, of {'means' if greys else 'draws'}; a model that copies is much "
            "nearer than held-out images are.",
        }
        pictures = {
            "samples": means,
            "samples_drawn": drawn,
            "samples_nearest": np.asarray(train[nearest.indices[:, 0]]),
        }
        return Result(prior.numbers | {"samples": numbers}, pictures=pictures)

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        """Draw three squares of images, side by side."""
        from gncn.figures.style import entitle, new_figure, save_figure, shades, show

        titles = {
            "samples": "Samples (means)",
            "samples_drawn": "Drawn from them",
            "samples_nearest": "The training image nearest to each draw",
        }
        figure = new_figure(4.6 * len(titles), 5)
        look = shades(*(result.pictures[name] for name in titles))
        for axes, (name, title) in zip(
            figure.subplots(1, len(titles)), titles.items(), strict=True
        ):
            images = result.pictures[name]
            columns = round(len(images) ** 0.5)
            background = (look["vmin"] + look["vmax"]) / 2
            show(axes, tile(images, subject.shape, columns, background=background), look)
            entitle(axes, title)
        return save_figure(figure, folder / "samples.png")
