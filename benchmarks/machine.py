"""What a record says of the command, the machine and the versions, and where it is kept.

One file holds all that was measured on one machine on one day, a part for each benchmark:
``results/bench/MACHINE-DATE.json``.
"""

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jax

import gncn

UNITS = {"amx_bf16": "amx", "avx512_bf16": "avx512bf16", "avx512f": "avx512", "avx2": "avx2"}
"""Units of x86 processors that multiply vectors, the fastest first, and their short names."""
FOLDER = Path("results/bench")


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
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count()
    return ", ".join(filter(None, (_model_name(), _widest_unit(), f"cores: {cores}")))


def slug() -> str:
    """A short name for this kind of machine, such as ``xeon-avx512``."""
    known = re.search(r"xeon|epyc|core|ryzen|apple", _model_name().lower())
    brand = known[0] if known else re.sub(r"\W+", "-", platform.machine().lower())
    return "-".join(filter(None, (brand, UNITS.get(_widest_unit() or ""))))


def keep(out: Path, part: str, record: Mapping[str, Any]) -> Path:
    """Write a record, as one part of a file that may hold others.

    Args:
        out: the JSON file; or a folder, in which the file is named by machine and date.
        part: which benchmark the record is from.
        record: as JSON.

    Returns:
        The file.
    """
    path = out
    if out.suffix != ".json":
        path = out / f"{slug()}-{datetime.now(UTC):%Y-%m-%d}.json"
    parts = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    path.parent.mkdir(parents=True, exist_ok=True)
    # Parts of other benchmarks on this day stay.
    write(path, json.dumps(parts | {part: record}, indent=1) + "\n")
    return path


def write(path: Path, text: str) -> None:
    """Replace a file, so that it is never half written."""
    # A rename replaces the file in one step.
    half = path.with_name(f".{path.name}.half")
    half.write_text(text, encoding="utf-8")
    half.replace(path)


def _model_name() -> str:
    found = re.search(r"^model name\s*: (.+)$", _cpuinfo(), re.MULTILINE)
    return found[1] if found else platform.processor() or platform.machine()


def _widest_unit() -> str | None:
    units = re.findall(r"\w+", _cpuinfo())
    return next((unit for unit in UNITS if unit in units), None)


def _cpuinfo() -> str:
    """What Linux says of the processor; empty elsewhere."""
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ""
