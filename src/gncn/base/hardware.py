"""How JAX compiles for this processor; results do not depend on it."""

import functools
import os
import re
from contextlib import suppress
from pathlib import Path

import jax

from gncn.base.errors import ConfigError

_CPUINFO = Path("/proc/cpuinfo")
_CONTAINER = Path("/sys/fs/cgroup/memory.max")
_NATIVE = {"amx_bf16", "avx512_bf16", "bf16"}
"""Names, on x86 and ARM, of units that multiply bfloat16."""


def keep_compiled_programs(folder: Path) -> None:
    """Let JAX keep compiled programs in a folder, so that a command starts faster the next time.

    The environment variable ``JAX_COMPILATION_CACHE_DIR`` takes precedence.  If the folder can't
    be written, JAX warns and compiles every time.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        # However quickly it compiled: small programs are many.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def usable_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def refuse_too_large(what: str, n_bytes: int, advice: str) -> None:
    """Refuse what would not fit into this machine's memory, before any is taken.

    `n_bytes` is the least that it takes.  Nothing is refused where the memory isn't known.

    Raises:
        ConfigError: says how much `what` would take, and how much there is.
    """
    most = _memory()
    if most is not None and n_bytes > most:
        raise ConfigError(
            f"{what} would take at least {n_bytes / 1e9:,.0f} GB of memory, and there are "
            f"{most / 1e9:,.0f} GB. {advice}"
        )


@functools.cache
def _memory() -> int | None:
    """Bytes of memory of JAX's device, or of this machine as far as this process may use it."""
    # What counts is the memory where arrays lie, which on an accelerator is its own.
    device = jax.local_devices()[0]
    if device.platform != "cpu":
        return (device.memory_stats() or {}).get("bytes_limit")
    found = []
    with suppress(OSError, ValueError, AttributeError):  # AttributeError: Windows
        found.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    with suppress(OSError, ValueError):  # ValueError: no limit, "max"
        found.append(int(_CONTAINER.read_text(encoding="utf-8")))
    with suppress(ImportError, OSError):  # ImportError: Windows
        import resource

        if (limit := resource.getrlimit(resource.RLIMIT_AS)[0]) != resource.RLIM_INFINITY:
            found.append(limit)
    # The strictest limit counts.
    return min(found, default=None)


def multiplies_bfloat16() -> bool:
    """Whether JAX's devices have units that multiply bfloat16.

    All but CPUs are taken to have them, and a CPU only if Linux says so: where it has none, XLA's
    products take longer in bfloat16 than in single precision.
    """
    return jax.default_backend() != "cpu" or _cpu_multiplies_bfloat16()


@functools.cache
def _cpu_multiplies_bfloat16() -> bool:
    try:
        return not _NATIVE.isdisjoint(re.findall(r"\w+", _CPUINFO.read_text(encoding="utf-8")))
    except OSError:  # not Linux
        return False
