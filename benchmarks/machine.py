"""What a record says of the command, the machine and the versions it was measured with."""

import platform
import re
import shlex
import sys
from pathlib import Path

import jax

import gncn
from gncn.base.hardware import cpuinfo
from gncn.study.pool import usable_cores

UNITS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2")
"""Names, on x86, of units that multiply vectors, the fastest first."""


def command() -> str:
    """The command line that this benchmark was started with."""
    return shlex.join(["python", "-m", f"benchmarks.{Path(sys.argv[0]).stem}", *sys.argv[1:]])


def machine() -> dict[str, dict[str, str] | str]:
    """Versions of the library and of JAX, the device, and the processor."""
    device = jax.devices()[0]
    return {
        "versions": {"jax": jax.__version__, "gncn": gncn.__version__},
        "device": f"{device.platform}: {device.device_kind}",
        "processor": processor(),
    }


def processor() -> str:
    """The processor's name, its widest vector units, and how many cores this process may use."""
    told = cpuinfo()
    found = re.search(r"^model name\s*: (.+)$", told, re.MULTILINE)
    name = found[1] if found else platform.processor() or platform.machine()
    units = re.findall(r"\w+", told)
    widest = next((unit for unit in UNITS if unit in units), None)
    return ", ".join(filter(None, (name, widest, f"cores: {usable_cores()}")))
