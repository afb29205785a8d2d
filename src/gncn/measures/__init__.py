"""What is measured of a trained model: one `Measure` in one file for each.

================  =====================================================================
name              what it measures
================  =====================================================================
``likelihood``    log p(x) by Monte Carlo from a prior
``tight``         log p(x) of a few images by importance sampling and by annealing
``samples``       images drawn from the model, and the training images nearest to them
``completion``    error of filling in missing pixels (M-MSE)
``yardsticks``    the same without a generative model
``probe``         error of a linear classifier on the codes
``sparsity``      how few neurons are active
``embedding``     a picture of the codes in the plane
================  =====================================================================

A measure of your own is a subclass of `Measure` in a file of yours, registered under a name
by ``gncn.register("measure", name, YourMeasure)``.
"""

from gncn.measures.completion import Completion
from gncn.measures.embedding import CodeMap
from gncn.measures.likelihood import Likelihood
from gncn.measures.measure import (
    MEASURES,
    Column,
    Condition,
    Measure,
    Result,
    Row,
    check_settings,
    make_measures,
    measure_columns,
    setting_fields,
    within,
)
from gncn.measures.models import as_measurable
from gncn.measures.probe import LinearProbe
from gncn.measures.samples import Samples
from gncn.measures.sparsity import Sparsity
from gncn.measures.subject import Measurable, Subject
from gncn.measures.tight import Tight
from gncn.measures.yardsticks import Yardsticks

__all__ = [
    "MEASURES",
    "CodeMap",
    "Column",
    "Completion",
    "Condition",
    "Likelihood",
    "LinearProbe",
    "Measurable",
    "Measure",
    "Result",
    "Row",
    "Samples",
    "Sparsity",
    "Subject",
    "Tight",
    "Yardsticks",
    "as_measurable",
    "check_settings",
    "make_measures",
    "measure_columns",
    "setting_fields",
    "within",
]

for _name, _measure in (
    ("likelihood", Likelihood),
    ("tight", Tight),
    ("samples", Samples),
    ("completion", Completion),
    ("yardsticks", Yardsticks),
    ("probe", LinearProbe),
    ("sparsity", Sparsity),
    ("embedding", CodeMap),
):
    MEASURES.register(_name, _measure)
