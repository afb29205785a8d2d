"""What a record says of the machine and the versions it was measured with."""

import contextlib
import platform
from pathlib import Path

import jax

import gncn
from gncn.study.pool import usable_cores


def machine() -> dict[str, dict[str, str] | str]:
    """Versions of the library and of JAX, the device, and the processor."""
    device = jax.devices()[0]
    return {
        "versions": {"jax": jax.__version__, "gncn": gncn.__version__},
        "device": f"{device.platform}: {device.device_kind}",
        "processor": processor(),
    }


def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    names = [platform.processor() or platform.machine()]
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]}, {usable_cores()} cores"
