"""Training: mini-batches, epochs, `fit`, and what is recorded."""

import gncn.settlers  # registers the settlers
import gncn.training.hebbian  # noqa: F401  registers how networks are trained
