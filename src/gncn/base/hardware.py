"""How JAX compiles for this processor; results do not depend on it."""

import functools
import os
import re
from pathlib import Path

import jax

_CPUINFO = Path("/proc/cpuinfo")
_NATIVE = {"amx_bf16", "avx512_bf16", "bf16"}
"""Names, on x86 and ARM, of units that multiply bfloat16."""


def keep_compiled_programs(folder: Path) -> None:
    """Let JAX keep compiled programs in a folder, so that a command starts faster the next time.

    The environment variable ``JAX_COMPILATION_CACHE_DIR`` takes precedence.  If the folder can't
    be written, JAX warns and compiles every time.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
