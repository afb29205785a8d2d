"""Arrays of a pytree by name: an array's name is its path in the tree, ``encoder.weights.0``."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gncn.base.errors import RunError, quoted
from gncn.base.files import read_bytes

MAX_HEADER_BYTES = 1 << 20
"""The names, types and shapes of some 10,000 arrays; the largest of our files has 100 arrays."""

ARRAYS = (jax.Array, np.ndarray, jax.ShapeDtypeStruct)


def path_name(path: tuple[Any, ...]) -> str:
    """The name of the leaf at a path."""
    return jax.tree_util.keystr(path, simple=True, separator=".")


def named_leaves(tree: Any) -> dict[str, Any]:
    """The arrays of a tree, or what stands for them in a skeleton, by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {path_name(path): leaf for path, leaf in leaves if isinstance(leaf, ARRAYS)}


def named_arrays(tree: Any) -> dict[str, np.ndarray]:
    """The arrays of a tree by name, on the host; random keys as their data."""
    # Keys have a type of JAX's own, which files don't know.
    return {name: np.asarray(_data(leaf)) for name, leaf in named_leaves(tree).items()}


def pack(arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None) -> bytes:
    """The content of a safetensors file that holds arrays.

    safetensors writes an array's memory as it lies and ignores strides, so it must be in C order.
    """
    ordered = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    return save_tensors(ordered, metadata=metadata)


def refuse_misfits(where: str, arrays: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Refuse arrays that are not the ones wanted in name, shape and type.

    Raises:
        RunError: begins with `where`.
    """
    if set(arrays) != set(wanted):
        missing, foreign = sorted(set(wanted) - set(arrays)), sorted(set(arrays) - set(wanted))
        raise RunError(
            f"{where} doesn't fit its description: missing {quoted(missing)}, unknown "
            f"{quoted(foreign)}."
        )
    for name, array in arrays.items():
        like = wanted[name]
        if array.shape != like.shape or array.dtype != like.dtype:
            raise RunError(
                f"{where}: {name} must be {like.dtype} of shape {like.shape}; received "
                f"{array.dtype} of shape {array.shape}."
            )


def with_arrays(where: str, arrays: dict[str, np.ndarray], tree: Any) -> Any:
    """The tree with other arrays: the inverse of `named_arrays`.

    NumPy's arrays stay NumPy's, and random keys are made of their data.

    Raises:
        RunError: the arrays don't fit the tree.
    """
    wanted = {name: _data(leaf) for name, leaf in named_leaves(tree).items()}
    refuse_misfits(where, arrays, wanted)

    def take(path: tuple[Any, ...], leaf: Any) -> Any:
        # What is no array, such as a function, stays the tree's own.
        if not isinstance(leaf, ARRAYS):
            return leaf
        array = arrays[path_name(path)]
        if isinstance(leaf, np.ndarray):
            return array
        if isinstance(leaf, jax.Array) and is_key(leaf):
            # Of the same kind of generator as the key that it replaces.
            return jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf))
        return jnp.asarray(array)

    return jax.tree_util.tree_map_with_path(take, tree)


def read_tensors(path: Path, most: int) -> dict[str, np.ndarray]:
    """The arrays in a safetensors file of at most `most` bytes, by name.

    Raises:
        RunError: it can't be read, is larger, or is no safetensors file.
    """
    return parse_tensors(str(path), read_bytes(path, most))


def parse_tensors(where: str, content: bytes) -> dict[str, np.ndarray]:
    """The arrays in the content of a safetensors file; a `RunError` that begins with `where`."""
    try:
        # The length of the header comes first; a huge one would be parsed before it is doubted.
        check_header(content[:8])
        return load_tensors(content)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:  # unknown types of numbers
        raise RunError(f"{where} is no safetensors file: {error}.") from error


def check_header(content: bytes) -> None:
    """Refuse a safetensors file, by its first eight bytes, whose header is too long.

    Raises:
        ValueError: it is.
    """
    length = int.from_bytes(content, "little")
    if length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes, and {MAX_HEADER_BYTES:,} are the most")


def is_key(leaf: Any) -> bool:
    """Whether a value is a random key of JAX's, or several."""
    return isinstance(leaf, jax.Array | jax.ShapeDtypeStruct) and jnp.issubdtype(
        leaf.dtype, jax.dtypes.prng_key
    )


def _data(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if is_key(leaf) else leaf
