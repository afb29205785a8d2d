"""What the processor can do that decides how products are computed, though not what they are."""

import functools
import re
from pathlib import Path

import jax

_CPUINFO = Path("/proc/cpuinfo")
_NATIVE = {"amx_bf16", "avx512_bf16", "bf16"}
"""Names, on x86 and ARM, of units that multiply bfloat16."""


def multiplies_bfloat16() -> bool:
    """Whether JAX's devices have units that multiply bfloat16.

    All but CPUs are taken to have them, and a CPU only if Linux says so: where it has none, XLA's
    products of bfloat16 take longer than those of single precision.
    """
    return jax.default_backend() != "cpu" or _cpu_multiplies_bfloat16()


@functools.cache
def _cpu_multiplies_bfloat16() -> bool:
    try:
        return not _NATIVE.isdisjoint(re.findall(r"\w+", _CPUINFO.read_text()))
    except OSError:  # not Linux
        return False
