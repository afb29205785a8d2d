"""Files of mixtures: the prior over codes that ``gncn evaluate`` fits."""

import os
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from safetensors import SafetensorError, safe_open

from gncn.base.errors import RunError, quoted
from gncn.base.files import explained, opened, read_bytes, write_atomic
from gncn.base.tensors import check_header
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture
from gncn.runs.tensors import decode, encode, largest_file

MAX_BYTES = 1 << 34
"""Of a file: 400 components over 3,000 dimensions have a half of it."""
MAX_DIM = 1 << 24
"""The most components or dimensions, as of the neurons of a layer."""


def mixture_skeleton(n_components: int, dim: int, covariance: Covariance) -> Mixture:
    """A mixture's skeleton; see `gncn.runs.tensors`."""
    like: Any = lambda *shape: jax.ShapeDtypeStruct((n_components, *shape), jnp.float32)  # noqa: E731
    whitening = (dim, dim) if covariance == "full" else (dim,)
    return eqx.filter_eval_shape(Mixture, like(), like(dim), like(*whitening), covariance)


def save_mixture(mixture: Mixture, path: str | Path) -> None:
    """Save a mixture as one safetensors file, atomically.

    Raises:
        RunError: an array couldn't be loaded again, or the file can't be written.
    """
    skeleton = mixture_skeleton(mixture.n_components, mixture.dim, mixture.covariance)
    metadata = {"covariance": mixture.covariance}
    write_atomic(Path(path), encode("The mixture can't be saved: it", mixture, skeleton, metadata))


def load_mixture(path: str | Path) -> Mixture:
    """Load a mixture that `save_mixture` wrote.  Checks everything, as `gncn.load` does.

    Raises:
        RunError: the file is missing, damaged, or holds no mixture.
    """
    try:
        with explained(f"Can't read {path}"), opened(path) as opened_file:
            if os.fstat(opened_file.fileno()).st_size > MAX_BYTES:
                raise RunError(f"{path} is larger than {MAX_BYTES:,} bytes, the most it may have.")
            check_header(opened_file.read(8))
            with safe_open(path, framework="numpy") as file:
                covariance = (file.metadata() or {}).get("covariance")
                names = file.keys()
                shapes = {name: file.get_slice(name).get_shape() for name in names}
    except (ValueError, SafetensorError) as error:
        raise RunError(f"{path} holds no mixture that can be loaded: {error}") from error
    names = set(Mixture.__dataclass_fields__) - {"covariance"}
    if covariance not in COVARIANCES or set(shapes) != names:
        raise RunError(
            f"{path} must hold {', '.join(sorted(names))} and name its covariance, one of "
            f"{', '.join(COVARIANCES)}; found {quoted(sorted(shapes))} and {quoted(covariance)}."
        )
    if len(shapes["means"]) != 2 or not all(0 < size <= MAX_DIM for size in shapes["means"]):
        raise RunError(f"{path}: means must be a matrix; received shape {quoted(shapes['means'])}.")
    n_components, dim = shapes["means"]
    skeleton = mixture_skeleton(n_components, dim, covariance)
    return decode(str(path), read_bytes(path, largest_file(skeleton)), skeleton)
