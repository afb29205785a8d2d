"""Files of mixtures: the prior over codes that ``gncn evaluate`` fits, and mixtures of pixels.

Whitening matrices are lower triangular, so only that triangle is saved, row by row: half the size.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load as load_tensors

from gncn.base.errors import RunError
from gncn.base.files import write_atomic
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture
from gncn.runs.tensors import check_arrays, encoded, filled, named_arrays


def _is_full(node: Any) -> bool:
    return isinstance(node, Mixture) and node.covariance == "full"


def _with_whitening(tree: Any, change: Callable[[Mixture], np.ndarray]) -> Any:
    """The tree with other whitening matrices in its mixtures of full covariance."""

    def replace(node: Any) -> Any:
        if not _is_full(node):
            return node
        return eqx.tree_at(lambda one: one.whitening, node, jnp.asarray(change(node)))

    return jax.tree.map(replace, tree, is_leaf=_is_full)


def packed(tree: Any) -> Any:
    """The tree with only the lower triangles of its mixtures' whitening matrices."""
    return _with_whitening(
        tree, lambda one: np.asarray(one.whitening)[..., *np.tril_indices(one.dim)]
    )


def unpacked(tree: Any) -> Any:
    """The tree that `packed` was given."""

    def whole(one: Mixture) -> np.ndarray:
        matrices = np.zeros((one.n_components, one.dim, one.dim), np.float32)
        matrices[..., *np.tril_indices(one.dim)] = one.whitening
        return matrices

    return _with_whitening(tree, whole)


def packed_skeleton(n_components: int, dim: int, covariance: Covariance) -> Mixture:
    """Shapes and types of a packed mixture's arrays."""
    n_numbers = dim * (dim + 1) // 2 if covariance == "full" else dim
    like: Any = lambda *shape: jax.ShapeDtypeStruct((n_components, *shape), jnp.float32)  # noqa: E731
    return eqx.filter_eval_shape(
        lambda logits, means, whitening: Mixture(logits, means, whitening, covariance),
        like(),
        like(dim),
        like(n_numbers),
    )


def save_mixture(mixture: Mixture, path: str | Path) -> None:
    """Save a mixture as one safetensors file, atomically.

    Raises:
        RunError: an array couldn't be loaded again, or the file can't be written.
    """
    arrays = named_arrays(packed(mixture))
    skeleton = packed_skeleton(mixture.n_components, mixture.dim, mixture.covariance)
    check_arrays("The mixture can't be saved: it", arrays, skeleton)
    write_atomic(Path(path), encoded(arrays, {"covariance": mixture.covariance}))


def load_mixture(path: str | Path) -> Mixture:
    """Load a mixture that `save_mixture` wrote.  Checks everything, as `gncn.load` does.

    Raises:
        RunError: the file is missing, damaged, or holds no mixture.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            covariance = (file.metadata() or {}).get("covariance")
        arrays = load_tensors(Path(path).read_bytes())
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
