"""What is measured of a trained model: one class for each `Measure`, in the order of `MEASURES`.

A measure of your own is a subclass of `Measure` in a file of yours, registered under a name
by ``gncn.register("measure", name, YourMeasure)``.
"""

from gncn.measures.code_yardsticks import CodeYardsticks
from gncn.measures.codes import CodeMap, LinearProbe, Sparsity
from gncn.measures.completion import Completion, Yardsticks
from gncn.measures.likelihood import Likelihood, Samples
from gncn.measures.measure import MEASURES
from gncn.measures.measure import Column as Column
from gncn.measures.measure import Condition as Condition
from gncn.measures.measure import Measure as Measure
from gncn.measures.measure import Result as Result
from gncn.measures.measure import Row as Row
from gncn.measures.measure import check_settings as check_settings
from gncn.measures.measure import make_measures as make_measures
from gncn.measures.measure import measure_columns as measure_columns
from gncn.measures.measure import measured as measured
from gncn.measures.measure import refuse_idle_settings as refuse_idle_settings
from gncn.measures.measure import setting_fields as setting_fields
from gncn.measures.measure import within as within
from gncn.measures.models import as_measurable as as_measurable
from gncn.measures.subject import Measurable as Measurable
from gncn.measures.subject import Subject as Subject
from gncn.measures.tight import Tight

for _name, _measure in {
    "likelihood": Likelihood,
    "tight": Tight,
    "samples": Samples,
    "completion": Completion,
    "yardsticks": Yardsticks,
    "codes": CodeYardsticks,
    "probe": LinearProbe,
    "sparsity": Sparsity,
    "embedding": CodeMap,
}.items():
    MEASURES.register(_name, _measure)
