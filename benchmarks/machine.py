"""What a record says of the machine and the versions it was measured with."""

import os

import jax

import gncn


def machine() -> dict[str, dict[str, str] | str | int]:
    """Versions of the library and of JAX, the device, and how many cores it may use."""
    device = jax.devices()[0]
    return {
        "versions": {"jax": jax.__version__, "gncn": gncn.__version__},
        "device": f"{device.platform}: {device.device_kind}",
        "cores": cores(),
    }


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
