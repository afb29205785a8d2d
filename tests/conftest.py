"""Every shape annotation of the library is checked while the tests run.

The import hook has to be in place before `gncn` is imported for the first time.
"""

import os

from jaxtyping import install_import_hook

install_import_hook("gncn", "beartype.beartype")

import jax  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

settings.register_profile(
    "default",
    deadline=None,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("default")
