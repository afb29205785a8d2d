"""Where a run comes from: what ``run.json`` says of data, versions and machine."""

import os
import platform
import sys
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

import jax

from gncn.data import Dataset

PACKAGES = ("gncn", "jax", "jaxlib", "equinox", "optax", "numpy")
"""Packages that numbers may depend on."""


def provenance(data: Dataset) -> dict[str, Any]:
    """Data, versions, hardware and command line, in JSON's types."""
    return {
        "data": _describe_data(data),
        "versions": {name: metadata.version(name) for name in PACKAGES}
        | {"python": platform.python_version()},
        "hardware": _hardware(),
        "command": sys.argv,
    }


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _describe_data(data: Dataset) -> dict[str, Any]:
    splits = {"train": data.train, "validation": data.validation, "test": data.test}
    return {
        "name": data.name,
        "source": data.source,
        "licence": data.licence,
        "fingerprint": data.fingerprint,
        "images": {name: len(split) for name, split in splits.items()},
    }


def _hardware() -> dict[str, Any]:
    device = jax.devices()[0]
    return {
        "platform": platform.system(),
        "machine": platform.machine(),
        "cpus": os.cpu_count(),
        "device": f"{device.platform}: {device.device_kind}",
    }
