"""Arrays of a model as a safetensors file: their names, and what is checked about them.

A model is a pytree, and an array's name is its path in that tree: ``encoder.weights.0``.  What a
file must hold is given by a *skeleton*: the same pytree with `jax.ShapeDtypeStruct` for arrays.
The matrices that whiten a mixture are lower triangular, so only that triangle is saved, row by
row: half the size.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from gncn.base.errors import RunError
from gncn.base.tensors import (
    MAX_HEADER_BYTES,
    named_arrays,
    named_leaves,
    pack,
    parse_tensors,
    refuse_misfits,
    with_arrays,
)
from gncn.evaluation.mixture import Mixture


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
    leaves = named_leaves(tree)
    refuse_misfits(where, leaves, named_leaves(skeleton))
    # A model that isn't finite is refused when it is saved, not when it is needed.
    _refuse_not_finite(where, leaves)
    return pack(named_arrays(_packed(tree)), metadata)


def decode(where: str, content: bytes, skeleton: Any) -> Any:
    """The skeleton's pytree with the arrays of a file; raises what `encode` raises.

    So does a file that is no safetensors file.
    """
    arrays, packed = parse_tensors(where, content), _packed(skeleton)
    filled = with_arrays(where, arrays, packed)
    _refuse_not_finite(where, arrays)
    return _unpacked(filled)


def largest_file(skeleton: Any) -> int:
    """The most bytes that a file of the skeleton's arrays may have."""
    arrays = named_leaves(_packed(skeleton)).values()
    return MAX_HEADER_BYTES + sum(math.prod(one.shape) * one.dtype.itemsize for one in arrays)


def _refuse_not_finite(where: str, arrays: dict[str, Any]) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise RunError(f"{where}: {name} holds values that are not finite.")


def _packed(tree: Any) -> Any:
    """The tree, or skeleton, with only the lower triangles of its mixtures' whitening matrices."""

    def lower(one: Mixture) -> Any:
        # A skeleton has no values to take a triangle of.
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

    # A mixture counts as one leaf, so that its matrices can change their shape.
    return jax.tree.map(changed, tree, is_leaf=is_full)
