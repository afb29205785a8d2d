"""Neural generative coding: generative models that learn by settling, without backprop.

Read the modules in this order: `data` → `circuit`, `network` (the model) →
`discrepancy`, `lateral`, `acceleration`, `settling` → `precision`, `learning`, `training`, `fit` →
`inference` → `report`, `figures`; `runs`, `config` and `serialise` are the edges.
`baselines` are the systems compared with, `evaluation` measures all, `compare` tabulates.
"""

from gncn.core.activations import activation_names, register_activation
from gncn.core.circuit import Circuit, Connection, Layer, chain
from gncn.core.discrepancy import total_discrepancy
from gncn.core.inference import decode, encode, reconstruct
from gncn.core.network import Network, Settling, build
from gncn.core.settling import Settled, settle
from gncn.data import Dataset, Split, from_arrays, load_dataset, load_file
from gncn.runs.config import Config, TrainingConfig, load_config
from gncn.runs.model_files import load, save
from gncn.training.fit import Fit, fit

__version__ = "0.1.0"

__all__ = [
    "Circuit",
    "Config",
    "Connection",
    "Dataset",
    "Fit",
    "Layer",
    "Network",
    "Settled",
    "Settling",
    "Split",
    "TrainingConfig",
    "activation_names",
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
    "register_activation",
    "save",
    "settle",
    "total_discrepancy",
]
