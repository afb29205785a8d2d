"""Files of mixtures: the prior over codes that ``gncn evaluate`` fits."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from safetensors import SafetensorError, safe_open

from gncn.base.errors import RunError
from gncn.base.files import write_atomic
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture
from gncn.runs.tensors import decode, encode


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
        with safe_open(path, framework="numpy") as file:
            covariance = (file.metadata() or {}).get("covariance")
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118
        content = Path(path).read_bytes()
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} holds no mixture that can be loaded: {error}") from error
    names = set(Mixture.__dataclass_fields__) - {"covariance"}
    if covariance not in COVARIANCES or set(shapes) != names:
        raise RunError(
            f"{path} must hold {', '.join(sorted(names))} and name its covariance, one of "
            f"{', '.join(COVARIANCES)}; found {', '.join(sorted(shapes))} and {covariance!r}."
        )
    if len(shapes["means"]) != 2:
        raise RunError(f"{path}: means must be a matrix; received {tuple(shapes['means'])}.")
    n_components, dim = shapes["means"]
    return decode(str(path), content, mixture_skeleton(n_components, dim, covariance))
