"""Arrays of a model as a safetensors file: their names, and what is checked about them.

A model is a pytree, and an array's name is its path in that tree: ``encoder.weights.0``.  What a
file must hold is given by a *skeleton*: the same pytree with `jax.ShapeDtypeStruct` for arrays.
The matrices that whiten a mixture are lower triangular, so only that triangle is saved, row by
row: half the size.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gncn.base.errors import RunError
from gncn.evaluation.mixture import Mixture

_ARRAYS = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)


def encode(where: str, tree: Any, skeleton: Any, metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file that holds a tree's arrays.

    Args:
        where: what holds the arrays; begins the error's text.
        tree: the model.
        skeleton: of the model that `decode` will make of the file.
        metadata: further content of the file.

    Raises:
        RunError: an array is missing, unknown, of another shape or type, or not finite.
    """
    _check(where, _named(tree), skeleton)
    arrays = _named(_packed(tree))
    # safetensors writes an array's memory as it lies, without regard to its strides.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save_tensors(contiguous, metadata=metadata)


def decode(where: str, content: bytes, skeleton: Any) -> Any:
    """The skeleton's pytree with the arrays of a file; raises what `encode` raises.

    A file that is no safetensors file raises a `safetensors.SafetensorError`.
    """
    arrays, packed = load_tensors(content), _packed(skeleton)
    _check(where, arrays, packed)

    def take(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(path)]) if isinstance(leaf, _ARRAYS) else leaf

    return _unpacked(jax.tree_util.tree_map_with_path(take, packed))


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def _named(tree: Any) -> dict[str, Any]:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves if isinstance(leaf, _ARRAYS)}


def _check(where: str, arrays: dict[str, Any], skeleton: Any) -> None:
    wanted = _named(skeleton)
    if set(arrays) != set(wanted):
        missing, foreign = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
        raise RunError(
            f"{where} doesn't fit its description: missing {missing}, unknown {foreign}."
        )
    for name, array in arrays.items():
        like = wanted[name]
        if array.shape != like.shape or array.dtype != like.dtype:
            raise RunError(
                f"{where}: {name} must be {like.dtype} of shape {like.shape}; received "
                f"{array.dtype} of shape {array.shape}."
            )
        if not np.isfinite(array).all():
            raise RunError(f"{where}: {name} holds values that are not finite.")


def _packed(tree: Any) -> Any:
    """The tree, or skeleton, with only the lower triangles of its mixtures' whitening matrices."""

    def lower(one: Mixture) -> Any:
        if isinstance(one.whitening, jax.ShapeDtypeStruct):
            n_numbers = one.dim * (one.dim + 1) // 2
            return jax.ShapeDtypeStruct((one.n_components, n_numbers), one.whitening.dtype)
        return jnp.asarray(one.whitening)[..., *np.tril_indices(one.dim)]

    return _with_whitening(tree, lower)


def _unpacked(tree: Any) -> Any:
    def whole(one: Mixture) -> Any:
        matrices = jnp.zeros((one.n_components, one.dim, one.dim), jnp.float32)
        return matrices.at[..., *np.tril_indices(one.dim)].set(one.whitening)

    return _with_whitening(tree, whole)


def _with_whitening(tree: Any, change: Callable[[Mixture], Any]) -> Any:
    def is_full(node: Any) -> bool:
        return isinstance(node, Mixture) and node.covariance == "full"

    def changed(node: Any) -> Any:
        return eqx.tree_at(lambda one: one.whitening, node, change(node)) if is_full(node) else node

    return jax.tree.map(changed, tree, is_leaf=is_full)
