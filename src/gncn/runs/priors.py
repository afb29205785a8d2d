"""Files of mixtures: the prior over codes that ``gncn evaluate`` fits, and mixtures of pixels.

Whitening matrices are lower triangular, so only that triangle is saved, row by row: half the size.
"""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors

from gncn.base.errors import RunError
from gncn.base.files import write_atomic
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture
from gncn.runs.tensors import check_arrays, encoded, filled, named_arrays


def packed(mixture: Mixture) -> Mixture:
    """The mixture with only the lower triangles of its whitening matrices."""
    if mixture.covariance != "full":
        return mixture
    rows, columns = np.tril_indices(mixture.dim)
    triangle = jnp.asarray(np.asarray(mixture.whitening)[..., rows, columns])
    return _with_whitening(mixture, triangle)


def unpacked(mixture: Mixture) -> Mixture:
    """The mixture that `packed` was given."""
    if mixture.covariance != "full":
        return mixture
    triangle, dim = np.asarray(mixture.whitening), mixture.dim
    whole = np.zeros((*triangle.shape[:-1], dim, dim), np.float32)
    rows, columns = np.tril_indices(dim)
    whole[..., rows, columns] = triangle
    return _with_whitening(mixture, jnp.asarray(whole))


def _with_whitening(mixture: Mixture, whitening: Float[Array, "..."]) -> Mixture:
    return eqx.tree_at(lambda one: one.whitening, mixture, whitening)


def packed_skeleton(n_components: int, dim: int, covariance: Covariance) -> Mixture:
    """Shapes and types of a packed mixture's arrays."""
    n_triangle = dim * (dim + 1) // 2
    whitening: dict[str, tuple[int, ...]] = {
        "full": (n_components, n_triangle),
        "diagonal": (n_components, dim),
    }
    like: Any = lambda *shape: jax.ShapeDtypeStruct(shape, jnp.float32)  # noqa: E731
    return eqx.filter_eval_shape(
        lambda logits, means, whitening: Mixture(logits, means, whitening, covariance),
        like(n_components),
        like(n_components, dim),
        like(*whitening[covariance]),
    )


def save_mixture(mixture: Mixture, path: str | Path) -> None:
    """Save a mixture as one safetensors file, atomically.

    Raises:
        RunError: an array couldn't be loaded again, or the file can't be written.
    """
    arrays = {name: np.asarray(array) for name, array in named_arrays(packed(mixture)).items()}
    skeleton = packed_skeleton(mixture.n_components, mixture.dim, mixture.covariance)
    check_arrays("The mixture can't be saved: it", arrays, skeleton)
    write_atomic(Path(path), encoded(arrays, {"covariance": mixture.covariance}))


def load_mixture(path: str | Path) -> Mixture:
    """Load a mixture that `save_mixture` wrote.  Checks everything, as `gncn.load` does.

    Raises:
        RunError: the file is missing, damaged, or holds no mixture.
    """
    path = Path(path)
    try:
        with safe_open(path, framework="numpy") as file:
            covariance = (file.metadata() or {}).get("covariance")
        arrays = load_tensors(path.read_bytes())
    except (OSError, SafetensorError) as error:
        raise RunError(f"{path} holds no mixture that can be loaded: {error}") from error
    names = set(Mixture.__dataclass_fields__) - {"covariance"}
    if covariance not in COVARIANCES or set(arrays) != names:
        raise RunError(
            f"{path} must hold {', '.join(sorted(names))} and name its covariance, one of "
            f"{', '.join(COVARIANCES)}; found {', '.join(sorted(arrays))} and {covariance!r}."
        )
    if arrays["means"].ndim != 2:
        raise RunError(f"{path}: means must be a matrix; received {arrays['means'].shape}.")
    n_components, dim = arrays["means"].shape
    skeleton = packed_skeleton(n_components, dim, covariance)
    check_arrays(str(path), arrays, skeleton)
    return unpacked(filled(skeleton, arrays))
