"""What a record says of the machine and the versions it was measured with."""

import jax

import gncn


def machine() -> dict[str, dict[str, str] | str]:
    """Versions of the library and of JAX, and the device."""
    device = jax.devices()[0]
    return {
        "versions": {"jax": jax.__version__, "gncn": gncn.__version__},
        "device": f"{device.platform}: {device.device_kind}",
    }
