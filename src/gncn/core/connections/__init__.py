"""Connections between layers: predictive synapses down, error synapses back up.

``base`` says what a connection must do; each kind has a file.
"""

from gncn.core.connections.base import CONNECTIONS, Connection, Synapses
from gncn.core.connections.dense import Dense, DenseSynapses, Exact, Learned, Random, Tied

__all__ = [
    "CONNECTIONS",
    "Connection",
    "Dense",
    "DenseSynapses",
    "Exact",
    "Learned",
    "Random",
    "Synapses",
    "Tied",
]
