"""Every shape annotation of the library is checked while the tests run.

The import hook has to be in place before `gncn` is imported for the first time, and JAX reads
its environment when it is imported; so both come first.

Compiling takes most of the tests' time: they run thousands of small programs once each.  So XLA's
optimisations are off (``JAX_DISABLE_MOST_OPTIMIZATIONS=0`` switches them on), and compiled programs
are kept in ``.cache/jax``.  The processes of one test run share them, and the next run finds them.
"""

import gc
import itertools
import os
import sys
from importlib.metadata import version
from pathlib import Path

os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
if os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] == "1" and version("jaxlib").startswith("0.10."):
    # XLA's older code generator compiles small programs in two thirds of the time.  A process ends
    # when it meets a flag that its XLA doesn't know, hence the version.
    os.environ.setdefault("XLA_FLAGS", "--xla_cpu_use_fusion_emitters=false")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(__file__).parent.parent / ".cache/jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

from jaxtyping import install_import_hook

install_import_hook("gncn", "beartype.beartype")

import jax  # noqa: E402
import jaxtyping  # noqa: E402
import pytest  # noqa: E402
from hypothesis import HealthCheck, settings  # noqa: E402

from gncn.base.registry import _KINDS  # noqa: E402
from gncn.figures import style  # noqa: E402

# Modules stay as long as the tests do, so a search for garbage among them finds none.
gc.freeze()
gc.set_threshold(10_000, 20, 50)

jax.config.update("jax_numpy_rank_promotion", "raise")
style.RESOLUTION = 30  # pictures are laid out as ever, and drawn coarsely

# `make test` draws few examples, the same each time; `make test-all` draws many, others each time.
_COMMON = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow]}
settings.register_profile("quick", max_examples=20, derandomize=True, **_COMMON)
settings.register_profile(
    "all", max_examples=100, derandomize=bool(os.environ.get("CI")), **_COMMON
)
settings.load_profile("quick")

_MEMORY_MAPS = Path("/proc/self/maps")
_MANY_MAPS = 30_000
_tests_ended = itertools.count(1)


def pytest_runtest_teardown():
    """Drop compiled programs when they are many.

    XLA maps several pieces of memory for each program that it compiles for a CPU.  Linux allows a
    process 65,530 of them by default, and beyond that compiling ends in a crash.  Counting 30,000
    takes 0.05 s, so it is done after every eighth test.
    """
    if next(_tests_ended) % 8 or not _MEMORY_MAPS.exists():
        return
    if _MEMORY_MAPS.read_bytes().count(b"\n") > _MANY_MAPS:
        jax.clear_caches()


def pytest_sessionfinish():
    """Keep what `make coverage` has measured; pytest-xdist may kill a process that ends slowly."""
    coverage = sys.modules.get("coverage")
    if coverage and (measured := coverage.Coverage.current()):
        measured.save()


def _registries_as_they_were():
    """What is registered while this is suspended is gone afterwards."""
    kept = {registry: dict(registry._entries) for registry in _KINDS.values()}
    yield
    for registry, entries in kept.items():
        registry._entries.clear()
        registry._entries.update(entries)


@pytest.fixture(scope="module", autouse=True)
def _parts_registered_for_a_module():
    yield from _registries_as_they_were()


@pytest.fixture(autouse=True)
def _parts_registered_for_a_test():
    yield from _registries_as_they_were()


@pytest.fixture
def unchecked():
    """Without the check of types and shapes that tests have and users don't."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def patched(monkeypatch):
    """Replace what programs depend on while they are traced, for one test.

    Programs are kept for arguments of the same shapes, so the others are dropped.
    """

    def replace(*arguments):
        monkeypatch.setattr(*arguments)
        jax.clear_caches()

    yield replace
    jax.clear_caches()
