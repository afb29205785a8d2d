"""Neural generative coding: generative models that learn by settling, without backprop.

The rooms, each of which imports only from those before it:

``base``        errors, descriptions, registries, files
``core``        the paper: circuits, networks, settling, learning, inference
``settlers``    how states come to agree
``data``        data sets
``training``    mini-batches, epochs, `fit`
``evaluation``  what a generative model is worth, as functions of arrays
``baselines``   the systems compared with
``figures``     pictures
``measures``    what is measured, as objects
``runs``        configurations, run folders, model files
``estimators``  the models as scikit-learn's estimators
``study``       reproduce, tune, compare, report
``cli``         the command line
"""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

from gncn import baselines as baselines
from gncn import settlers as settlers
from gncn.base.description import Part
from gncn.base.errors import ConfigError, DataError, DivergenceError, GncnError, RunError
from gncn.base.registry import register, registered
from gncn.core.activations import KWinners
from gncn.core.build import Settling, build
from gncn.core.chain import Chain, chain
from gncn.core.circuit import Circuit, Layer
from gncn.core.competition import Band, Columns, Competition, Matrix, NoCompetition
from gncn.core.completion import Completer
from gncn.core.connections import Connection, Dense, Synapses
from gncn.core.discrepancy import total_discrepancy
from gncn.core.inference import decode, encode, reconstruct
from gncn.core.likelihood import Bernoulli, ErrorNeurons, Gaussian, Likelihood
from gncn.core.network import Network
from gncn.core.settler import Settler
from gncn.core.settling import Settled, Trajectory, settle, watch
from gncn.data import Dataset, DataSource, Split, from_arrays, load_dataset, load_file
from gncn.figures.animation import animate
from gncn.measures import Measure
from gncn.measures.generative import complete, fit_prior, log_likelihood, sample
from gncn.runs.config import Config, load_config
from gncn.runs.evaluation import Evaluation, evaluate
from gncn.runs.export import export
from gncn.runs.hub import from_pretrained, push_to_hub
from gncn.runs.model_files import load, save
from gncn.settlers import Euler, Momentum, Newton, Sequential
from gncn.training.callbacks import Callback, Start
from gncn.training.config import TrainingConfig
from gncn.training.fit import Fit, fit
from gncn.training.loggers import FileLogger, TensorBoardLogger, TrackerLogger
from gncn.training.progress import Interrupted

if TYPE_CHECKING:
    from gncn.estimators import DSRN, GANAE, GNCN, GVAE, GVAECV, RAE, PixelMixture
    from gncn.study.compare import compare

__version__ = metadata.version("gncn")

_LATER = {
    **dict.fromkeys(
        ("DSRN", "GANAE", "GNCN", "GVAE", "GVAECV", "RAE", "PixelMixture"), "gncn.estimators"
    ),
    "compare": "gncn.study.compare",
}
"""Names whose modules need packages that nothing else here needs: imported when they are used."""


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]


__all__ = [
    "DSRN",
    "GANAE",
    "GNCN",
    "GVAE",
    "GVAECV",
    "RAE",
    "Band",
    "Bernoulli",
    "Callback",
    "Chain",
    "Circuit",
    "Columns",
    "Competition",
    "Completer",
    "Config",
    "ConfigError",
    "Connection",
    "DataError",
    "DataSource",
    "Dataset",
    "Dense",
    "DivergenceError",
    "ErrorNeurons",
    "Euler",
    "Evaluation",
    "FileLogger",
    "Fit",
    "Gaussian",
    "GncnError",
    "Interrupted",
    "KWinners",
    "Layer",
    "Likelihood",
    "Matrix",
    "Measure",
    "Momentum",
    "Network",
    "Newton",
    "NoCompetition",
    "Part",
    "PixelMixture",
    "RunError",
    "Sequential",
    "Settled",
    "Settler",
    "Settling",
    "Split",
    "Start",
    "Synapses",
    "TensorBoardLogger",
    "TrackerLogger",
    "TrainingConfig",
    "Trajectory",
    "animate",
    "build",
    "chain",
    "compare",
    "complete",
    "decode",
    "encode",
    "evaluate",
    "export",
    "fit",
    "fit_prior",
    "from_arrays",
    "from_pretrained",
    "load",
    "load_config",
    "load_dataset",
    "load_file",
    "log_likelihood",
    "push_to_hub",
    "reconstruct",
    "register",
    "registered",
    "sample",
    "save",
    "settle",
    "total_discrepancy",
    "watch",
]
