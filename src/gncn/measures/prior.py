"""`PriorMeasure`: base class of measures that need a prior over codes."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from gncn.evaluation.mixture import Covariance
from gncn.measures.measure import Measure, Result
from gncn.measures.subject import FittedPrior, Subject


class PriorMeasure(Measure):
    """A measure that needs a prior over codes: a Gaussian mixture, unless training fitted one.

    Attributes:
        n_components: components K of the mixture; among several, validation images choose.
        covariance: of the mixture's components.
    """

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


def described(prior: FittedPrior) -> Result:
    """How the prior was fitted, for the metrics; nothing if training fitted it."""
    return Result({"prior": prior.numbers} if prior.numbers else {})
