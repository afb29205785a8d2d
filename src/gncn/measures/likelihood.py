"""`Likelihood`: log p(x) by Monte Carlo from a prior, at one S and as a curve over S."""

from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
from pydantic import Field, field_validator

from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture import Covariance
from gncn.evaluation.protocols import CodeSampler, WithPrior
from gncn.evaluation.recall import EmpiricalPrior
from gncn.measures.measure import Column, Condition, Measure, Numbers, Result, Row, within
from gncn.measures.subject import FittedPrior, Subject

NOTE = (
    "log p(x) by Monte Carlo from S prior samples is a stochastic lower bound: on average it lies "
    "below the true value, and rises to it as S grows. The paper's convention adds 2 log S, as the "
    "authors' public script does; it bounds nothing and only serves comparison with published "
    "numbers."
)

_OTHERS = {
    "likelihood_own_prior": "with the prior that the model was trained with",
    "likelihood_training_codes": "with the codes of training images as the prior",
}


class PriorMeasure(Measure):
    """A measure that needs a prior over codes: a Gaussian mixture, unless training fitted one."""

    n_components: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(65,),
        min_length=1,
        description="Components K of the mixture prior; validation images choose among several.",
    )
    covariance: Covariance = Field(
        default="full", description="Covariance of the mixture: `full` or `diagonal`."
    )

    @field_validator("n_components", mode="before")
    @classmethod
    def _several(cls, value: Any) -> Any:
        return (value,) if isinstance(value, int) else value

    def prior(self, subject: Subject) -> FittedPrior:
        """The prior; measures with the same settings share one fit."""
        return subject.prior(self.n_components, self.covariance)


def _column(suffix: str, title: str, published: str = "") -> Column:
    return Column(
        f"log_likelihood{suffix}",
        title,
        within(f"likelihood{suffix}", "mean"),
        low_is_good=False,
        published=published,
        table="generative",
    )


class Likelihood(PriorMeasure):
    """Log p(x) from S prior samples."""

    n_samples: int = Field(default=5000, ge=1, description="Prior samples S for log p(x).")
    n_repeats: int = Field(
        default=3, ge=1, description="Repetitions of log p(x), each with other prior samples."
    )
    curve: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        default=(100, 1000, 5000, 25_000), description="Values of S for the curve of log p(x)."
    )
    other_priors: bool = Field(
        default=True,
        description="Measure log p(x) with the model's own prior and the training codes, too.",
    )

    needs_codes = False
    note = NOTE
    columns = (
        _column("", "log p(x), mixture prior", "honest_log_likelihood"),
        _column("_training_codes", "log p(x), training codes"),
        _column("_own_prior", "log p(x), N(0, I)"),
        Column(
            "log_likelihood_paper_convention",
            "log p(x) + 2 log S",
            within("likelihood", "paper_convention"),
            low_is_good=False,
            published="log_likelihood",
            table="generative",
        ),
    )
    conditions = (Condition("n_samples", "S of log p(x)", within("likelihood", "n_samples")),)

    def measure(self, subject: Subject) -> Result:
        prior = self.prior(subject)
        found = Result(prior.numbers).with_(self._with(subject, prior.prior, ""))
        if not self.other_priors:
            return found
        if (own := subject.model.own_prior) is not None:
            found = found.with_(self._with(subject, own, "_own_prior"))
        if subject.model.fitted_prior is None:
            codes = EmpiricalPrior(jnp.asarray(subject.codes("train")))
            found = found.with_(self._with(subject, codes, "_training_codes"))
        return found

    def _with(self, subject: Subject, prior: CodeSampler, suffix: str) -> Result:
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
            "note": NOTE,
        }
        if self.curve:
            subject.report("log p(x) against S")
            over_s = prior_log_likelihood(model, images, key=subject.key(1), n_samples=self.curve)
            numbers["curve"] = {
                "n_samples": list(over_s.n_samples),
                "mean": over_s.mean.tolist(),
                "standard_error": over_s.standard_error.tolist(),
            }
        per_image = {f"log_likelihood{suffix}": at_s.per_image[0]}
        return Result({f"likelihood{suffix}": numbers}, per_image)

    def rows(self, numbers: Numbers) -> list[Row]:
        if (found := numbers.get("likelihood")) is None:
            return []
        spread = found["spread_over_prior_draws"]
        error = f"± {found['standard_error']:.2f} over images"
        remark = error if spread is None else f"{error}, ± {spread:.2f} over prior draws"
        rows = [Row(_title(found["n_samples"]), f"{found['mean']:.2f} nats", remark)]
        if curve := found.get("curve"):
            largest = _title(curve["n_samples"][-1])
            rows.append(Row(largest, f"{curve['mean'][-1]:.2f} nats", "a tighter bound"))
        remark = "adds 2 log S; for comparison with published numbers only"
        rows.append(Row("in the paper's convention", f"{found['paper_convention']:.2f}", remark))
        for key, remark in _OTHERS.items():
            if (other := numbers.get(key)) is not None:
                rows.append(Row(_title(other["n_samples"]), f"{other['mean']:.2f} nats", remark))
        return rows

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        return draw_curve(result, folder)


def _title(n_samples: int) -> str:
    return f"log p(x), S = {n_samples:,}"


def draw_curve(result: Result, folder: Path) -> Path | None:
    """Draw log p(x) against S, with the tight estimate if there is one; None without a curve."""
    from gncn.figures.evaluation import draw_likelihood_curve

    curve = within("likelihood", "curve")(result.numbers)
    if curve is None:
        return None
    tight = result.numbers.get("tight", {})
    return draw_likelihood_curve(
        folder / "likelihood.png",
        curve["n_samples"],
        curve["mean"],
        curve["standard_error"],
        tight.get("mean"),
        tight.get("same_images_at_S_5000"),
    )
