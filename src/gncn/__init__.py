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
``study``       reproduce, tune, compare, report
``cli``         the command line
"""

from importlib import metadata

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
from gncn.measures import Measure
from gncn.runs.config import Config, load_config
from gncn.runs.model_files import load, save
from gncn.settlers import Euler, Momentum, Newton, Sequential
from gncn.training.config import TrainingConfig
from gncn.training.fit import Fit, fit

__version__ = metadata.version("gncn")

__all__ = [
    "Band",
    "Bernoulli",
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
    "Fit",
    "Gaussian",
    "GncnError",
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
    "RunError",
    "Sequential",
    "Settled",
    "Settler",
    "Settling",
    "Split",
    "Synapses",
    "TrainingConfig",
    "Trajectory",
    "build",
    "chain",
    "decode",
    "encode",
    "fit",
    "from_arrays",
    "load",
    "load_config",
    "load_dataset",
    "load_file",
    "reconstruct",
    "register",
    "registered",
    "save",
    "settle",
    "total_discrepancy",
    "watch",
]
