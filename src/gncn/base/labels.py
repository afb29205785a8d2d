"""Labels of any kind as class numbers: `as_labels`."""

import math
from collections.abc import Sequence
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np
from jaxtyping import Int32

from gncn.base.arrays import ABSENT, NO_CLASS, NO_LISTS, raw_array, safely
from gncn.base.errors import DataError, quoted


def as_labels(
    labels: Any,
    n: int | None = None,
    *,
    what: str = "Labels",
    classes: Sequence[str] | None = None,
) -> tuple[Int32[np.ndarray, " n"], tuple[str, ...] | None]:
    """Turn labels of any kind into class numbers.

    Args:
        labels: text, booleans, whole numbers from 0 of any type, categories, or lists of these.
            -1, None, NaN and masked mean that an image has no class.
        n: how many there must be.
        what: what they are, for messages.
        classes: names of the classes, if they are known; otherwise those received, sorted.

    Returns:
        The numbers, -1 for none, and the names of the classes: None for labels that are numbers.

    Raises:
        DataError: there isn't one label for each image, or they are of another kind.
    """
    array = safely(_label_array, labels, what)
    n = len(array) if n is None and array.ndim else n
    # A column of labels, as tables give it, is as good as a row.
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape != (n,):
        raise DataError(
            f"{what} must be text or whole numbers of shape ({n},), one an image; received shape "
            f"{array.shape}."
        )
    gone = np.array([_is_absent(one) for one in array], bool)
    there = array[~gone].tolist()
    kinds = {str if isinstance(one, str) else Real if _is_number(one) else None for one in there}
    numbers = np.full(len(array), NO_CLASS, np.int32)
    if kinds == {str}:
        names = tuple(sorted(set(there))) if classes is None else tuple(classes)
        index = {name: number for number, name in enumerate(names)}
        if unknown := sorted(set(there) - set(names)):
            raise DataError(f"{what} must be of the classes {quoted(names)}; received {unknown}.")
        numbers[~gone] = [index[name] for name in there]
        return numbers, names
    if kinds - {Real}:
        odd = next(one for one in there if not _is_number(one))
        raise DataError(
            f"{what} must be all text, or all whole numbers from 0; received {quoted(odd)} among "
            f"values of type {array.dtype}."
        )
    for one in there:
        whole = math.isfinite(one) and one == int(one)
        if not (whole and NO_CLASS <= one <= np.iinfo(np.int32).max):
            raise DataError(
                f"{what} must be class numbers 0, 1, 2, ..., or -1 for none; received {one!r}. "
                "Renumber the classes, or give them names."
            )
    numbers[~gone] = [int(one) for one in there]
    return numbers, None


def check_all_labelled(labels: Any, what: str) -> None:
    """Refuse labels of which some stand for none.

    Raises:
        DataError: says how many; or they are no labels.
    """
    array = safely(_label_array, labels, what)
    gone = sum(map(_is_absent, array.reshape(-1).tolist()))
    if gone:
        raise DataError(
            f"{what} must have a class for each image; {gone:,} of {array.size:,} are missing "
            "(None, NaN or masked). Leave these images out."
        )


def _is_number(value: Any) -> bool:
    return isinstance(value, Real | Decimal | np.bool_)


def _is_absent(value: Any) -> bool:
    """Whether a label stands for none: None, NaN, pandas' NA, a masked one."""
    if type(value).__name__ in ABSENT:
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _label_array(value: Any, what: str) -> np.ndarray:
    """Labels as an array of Python's objects."""
    if isinstance(value, np.ma.MaskedArray):
        array = np.ma.getdata(value).astype(object)
        array[np.ma.getmaskarray(value)] = None
    elif isinstance(value, Sequence) and not isinstance(value, NO_LISTS):
        # Scalars of NumPy and JAX become Python's, so that text, numbers and None are told apart.
        items = [one.item() if hasattr(one, "item") and not np.ndim(one) else one for one in value]
        items = [one.decode() if isinstance(one, bytes) else one for one in items]
        # Filled after it is made: NumPy would take lists of equal length for further axes.
        array = np.empty(len(items), object)
        array[:] = items
    else:
        array = raw_array(value, what)
    if array.dtype.kind == "S":
        array = array.astype(str)
    if array.dtype.kind == "T":  # NumPy's StringDType
        array = array.astype(object)
    if array.dtype.name == "bfloat16":  # which NumPy hardly knows
        array = array.astype(np.float32)
    if array.dtype.kind not in "biufUO":
        raise DataError(
            f"{what} must be text or whole numbers from 0; received the type {array.dtype}."
        )
    return array.astype(object)
