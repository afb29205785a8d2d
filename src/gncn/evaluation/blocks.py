"""Cutting many images into blocks of one size, so that memory stays bounded."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Array, Float, Int

from gncn.base.errors import ConfigError


def check_positive(**numbers: float | int) -> None:
    """Refuse options that must be above 0 and are not.

    Raises:
        ConfigError: naming the option and the value received.
    """
    for name, value in numbers.items():
        if not value > 0:
            raise ConfigError(f"{name} must be above 0; received {value}.")


def blocks(n: int, size: int) -> Iterator[tuple[Int[np.ndarray, " rows"], int]]:
    """Indices 0..n-1 in blocks of equal length, so that one program serves all of them.

    Args:
        n: how many indices.
        size: length of a block; n if that is less.

    Yields:
        The block's indices, the last block filled up with index n-1, and how many of
        them are not filling.
    """
    size = min(size, n)
    for start in range(0, n, size):
        yield np.minimum(np.arange(start, start + size), n - 1), min(size, n - start)


def by_blocks(
    function: Callable[[Int[np.ndarray, " rows"]], Float[Array, "_ rows"]],
    n: int,
    size: int,
    on_block: Callable[[int, int], None] | None = None,
) -> Float[np.ndarray, "_ {n}"]:
    """A function's values for indices 0..n-1, computed in blocks.

    Args:
        function: from a block's indices to values; its last axis is theirs.
        n: how many indices.
        size: length of a block.
        on_block: called with the number of indices done and of all.
    """
    parts = []
    for rows, kept in blocks(n, size):
        parts.append(np.asarray(function(rows))[:, :kept])
        if on_block is not None:
            on_block(int(rows[kept - 1]) + 1, n)
    return np.concatenate(parts, axis=1)
