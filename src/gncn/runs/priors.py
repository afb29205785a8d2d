"""Files of mixtures: the prior over codes that ``gncn evaluate`` fits."""

from io import BufferedReader
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gncn.base.errors import RunError, quoted
from gncn.base.files import DAMAGED, explained, opened, parse_json, read_rest, write_atomic
from gncn.base.tensors import check_header
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture
from gncn.runs.tensors import decode, encode, largest_file

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
    # The header says how large the file may be before the rest is read.
    with explained(f"Can't read {path}"), opened(path) as file:  # once: it may be replaced
        skeleton = _described(path, file)
        content = read_rest(file, path, largest_file(skeleton))
    return decode(str(path), content, skeleton)


def _described(path: str | Path, file: BufferedReader) -> Mixture:
    """The skeleton of the mixture that the header of a file promises."""
    try:
        head = file.read(8)
        check_header(head)
        header = parse_json(file.read(int.from_bytes(head, "little")))
        covariance = header.pop("__metadata__", {}).get("covariance")
        shapes = {name: tuple(about["shape"]) for name, about in header.items()}
        # Checked before a skeleton of that size is made.
        is_matrix = len(shapes.get("means", ())) == 2 and all(
            isinstance(size, int) and 0 < size <= MAX_DIM for size in shapes["means"]
        )
    except DAMAGED as error:
        raise RunError(f"{path} holds no mixture that can be loaded: {error}") from error
    names = set(Mixture.__dataclass_fields__) - {"covariance"}
    if covariance not in COVARIANCES or set(shapes) != names:
        raise RunError(
            f"{path} must hold {', '.join(sorted(names))} and name its covariance, one of "
            f"{', '.join(COVARIANCES)}; found {quoted(sorted(shapes))} and {quoted(covariance)}."
        )
    if not is_matrix:
        raise RunError(f"{path}: means must be a matrix; received shape {quoted(shapes['means'])}.")
    n_components, dim = shapes["means"]
    return mixture_skeleton(n_components, dim, covariance)
