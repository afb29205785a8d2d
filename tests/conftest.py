"""Every shape annotation of the library is checked while the tests run.

The import hook has to be in place before `gncn` is imported for the first time.
"""

import os
from pathlib import Path

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

_MEMORY_MAPS = Path("/proc/self/maps")
_MANY_MAPS = 30_000


def pytest_runtest_teardown():
    """Drop compiled programs when they are many.

    XLA maps several pieces of memory for each program that it compiles for a CPU.  Linux allows a
    process 65,530 of them by default, and beyond that compiling ends in a crash.
    """
    if _MEMORY_MAPS.exists() and _MEMORY_MAPS.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()
