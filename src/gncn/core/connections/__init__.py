"""Connections between layers: predictive synapses down, error synapses back up.

``base`` says what a connection must do; each kind has a file (``dense``), and so have the
ways in which errors travel up (``feedback``).
"""

from gncn.core.connections.base import CONNECTIONS, Connection, Synapses
from gncn.core.connections.dense import Dense, DenseSynapses
from gncn.core.connections.feedback import Exact, Feedback, Learned, Random, Tied

__all__ = [
    "CONNECTIONS",
    "Connection",
    "Dense",
    "DenseSynapses",
    "Exact",
    "Feedback",
    "Learned",
    "Random",
    "Synapses",
    "Tied",
]
