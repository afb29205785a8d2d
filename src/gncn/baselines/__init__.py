"""The systems that the paper compares its networks with, and how they are trained."""

import gncn.baselines.kinds  # noqa: F401  registers the baselines
