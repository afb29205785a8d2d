"""`Model`: every kind of model that is trained, saved, evaluated and compared here."""

from gncn.baselines.models import Baseline
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.core.network import Network

Model = Network | Baseline | PixelMixture
"""A generative neural coding network, or one of the systems it is compared with."""
