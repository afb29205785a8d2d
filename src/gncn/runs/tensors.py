"""Arrays of a model as a safetensors file: their names, and what is checked about them.

A model is a pytree, and an array's name is its path in that tree: ``encoder.weights.0``.  What a
file must hold is given by a *skeleton*: the same pytree with `jax.ShapeDtypeStruct` for arrays.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors.numpy import save as save_tensors

from gncn.base.errors import RunError

_ARRAYS = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)


def named_arrays(tree: Any) -> dict[str, Any]:
    """Arrays of a pytree, or their shapes and types in a skeleton, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {_name(path): leaf for path, leaf in leaves if isinstance(leaf, _ARRAYS)}


def _name(path: tuple[Any, ...]) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".")


def filled(skeleton: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """The skeleton's pytree with arrays in place of their shapes and types."""

    def take(path: tuple[Any, ...], leaf: Any) -> Any:
        return jnp.asarray(arrays[_name(path)]) if isinstance(leaf, _ARRAYS) else leaf

    return jax.tree_util.tree_map_with_path(take, skeleton)


def check_arrays(where: str, arrays: Mapping[str, Any], skeleton: Any) -> None:
    """Check that arrays are the ones that a skeleton calls for, and finite.

    Args:
        where: begins the error's text: what holds the arrays.
        arrays: by name.
        skeleton: see above.

    Raises:
        RunError: an array is missing, unknown, of another shape or type, or not finite.
    """
    wanted = named_arrays(skeleton)
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


def encoded(arrays: Mapping[str, Any], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file."""
    # safetensors writes an array's memory as it lies, without regard to its strides.
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save_tensors(contiguous, metadata=metadata)
