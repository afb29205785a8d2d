"""Any array that a user has, as plain numbers: `as_images` and `as_codes`.

Whatever takes images or codes from users calls one of these, and `gncn.base.labels.as_labels` for
labels.  So the whole library accepts and refuses the same things in the same words.  Other
libraries' arrays are known by what they can do and never imported: lists, array-likes
(``__array__``, ``__dlpack__``), frames and series, tensors, masked arrays, sparse matrices, images
of PIL and lists of any of these.

Arrays that JAX traces pass through after a check of their shape: nobody can look at their values
while a program is compiled.
"""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from functools import partial
from numbers import Real
from os import PathLike
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Shaped

from gncn.base.errors import DataError, DataTypeError, GncnError, quoted, shortened
from gncn.base.hardware import refuse_too_large
from gncn.base.notices import say_once
from gncn.base.pictures import as_shown

WHITE = 255
"""The value of a pixel that is fully on in an 8-bit image."""
NO_CLASS = -1
"""The label of an image without one."""
ABSENT = ("NoneType", "NAType", "NaTType", "MaskedConstant")
"""Types, some of them pandas', of what stands for a missing value."""

_ARRAYS = "__array__", "__array_interface__"
NO_LISTS = str | bytes | bytearray | memoryview
"""Types of sequences that are no lists of numbers or arrays."""
_NO_REALS = str | bytes | complex | np.complexfloating | np.datetime64 | np.timedelta64 | np.void
"""Types of single values that are no real numbers."""

Rows = Float[Array, "rows values"] | Float[np.ndarray, "rows values"]


def as_images(
    images: Any,
    n_pixels: int | None = None,
    *,
    what: str = "Images",
    unit: bool = False,
    missing: bool = False,
    white: float | None = None,
) -> Rows:
    """Turn images of any kind into rows of pixels in single precision.

    Args:
        images: see the module's docstring; of shape (n, pixels), (n, rows, columns) or
            (n, rows, columns, channels), or one image.
        n_pixels: values of an image; None for as many as the images have, which then can't be
            one image.
        what: what they are, for messages.
        unit: whether values must lie in [0, 1], as a Bernoulli output needs; if not, any
            finite value will do.
        missing: whether values may be missing; those are NaN.
        white: what images of type uint8 are divided by, if that is known; see `white_of`.

    Returns:
        Shape (n, pixels): an array of JAX for one of JAX, traced or not, otherwise one of NumPy.
        8-bit images are divided by 255, which is said once; see `white_of`.

    Raises:
        DataError: there is no image, they have another shape, they aren't numbers, a value is
            missing, not finite or not in [0, 1]; see also `white_of`.
    """
    rows = as_rows(plain(images, what, white), n_pixels, what)
    if isinstance(rows, Tracer):
        return rows.astype(jnp.float32)
    values = np.asarray(rows)
    if (divisor := white_of(values, what, white)) != 1:
        values = values / np.float32(divisor)
    elif white is None and not unit and len(values) == 1 and values.dtype == np.uint8:
        _say_alone(values, what)
    values = single(values, what)
    check_values(values, what, unit=unit, missing=missing)
    # Arrays of JAX stay where they are, unless their values had to change.
    if isinstance(rows, np.ndarray):
        return values
    return rows if rows.dtype == jnp.float32 else jnp.asarray(values)


def as_codes(codes: Any, width: int, *, what: str = "Codes") -> Rows:
    """Turn codes, one a row, into single precision; 8-bit numbers are as good as any here.

    Raises:
        DataError: as for `as_images`.
    """
    rows = as_rows(plain(codes, what), width, what)
    if isinstance(rows, Tracer):
        return rows.astype(jnp.float32)
    values = single(np.asarray(rows), what)
    check_values(values, what)
    return values if isinstance(rows, np.ndarray) else rows.astype(jnp.float32)


def plain(value: Any, what: str = "Images", white: float | None = None) -> np.ndarray | Array:
    """Any array as booleans, integers or floats of NumPy or, for arrays of JAX, of JAX.

    Its shape and, if all its values are there, its type stay.  Missing values are NaN, and
    8-bit images with such are divided by what `white_of` says.

    Raises:
        DataError: it is no array of real numbers; see also `white_of`.
    """
    found = _plain(value, what)
    if not isinstance(found, np.ma.MaskedArray):
        return found
    # What lies under the mask must not decide whether images are 8-bit.
    mask, known = np.ma.getmaskarray(found), found.filled(0)
    filled = known / np.float32(white_of(known, what, white))
    filled[mask] = np.nan
    return filled


def _plain(value: Any, what: str) -> np.ndarray | Array:
    """As `plain`; but 8-bit images stay masked, since all of them decide what white is."""
    if isinstance(value, jax.Array):
        if not isinstance(value, Tracer) and value.is_deleted():
            raise DataError(f"{what} must be an array; received one whose memory JAX has freed.")
        found = value
    else:
        found = safely(_numbers, value, what)
    kind, small = getattr(found.dtype, "kind", "O"), (jnp.floating, jnp.integer)
    if kind in "biuf":
        return found
    if kind == "V" and any(jnp.issubdtype(found.dtype, one) for one in small):
        return found.astype(np.float32)  # JAX's small types, which NumPy hardly knows
    complex_ = "Complex data not supported: " if kind == "c" else ""
    raise DataError(
        f"{complex_}{what} must be of a boolean, integer or floating type; received {found.dtype}."
    )


def as_rows(array: Any, n_pixels: int | None, what: str) -> Any:
    """An array as rows, an image each; of NumPy or JAX, traced or not.

    Raises:
        DataError: its shape isn't one that `as_images` takes.
    """
    shape = array.shape
    # Where the number of pixels is not known, the first axis counts images.
    if 0 not in shape and len(shape) > 1 and n_pixels in (None, math.prod(shape[1:])):
        return array if len(shape) == 2 else array.reshape(shape[0], -1)
    if 0 not in shape and 1 <= len(shape) <= 3 and math.prod(shape) == n_pixels:
        return array.reshape(1, -1)
    if n_pixels is None:
        raise DataError(
            f"{what} must have the shape (n, pixels), (n, rows, cols) or (n, rows, cols, "
            f"channels), none of them 0; received {shape}."
            f"{' Reshape your data: one image is of shape (1, pixels).' * (len(shape) == 1)}"
        )
    raise DataError(
        f"{what} must have shape (n, {n_pixels}) with n at least 1, or other shapes of "
        f"{n_pixels:,} values for each: (n, rows, columns), (n, rows, columns, channels), or one "
        f"alone; received {shape}."
    )


def is_grey(values: Shaped[np.ndarray, "..."]) -> bool:
    """Whether images are 8-bit greys or colours: of uint8, and not zeros and ones alone."""
    return values.dtype == np.uint8 and values.size > 0 and int(values.max()) > 1


def _say_alone(values: Shaped[np.ndarray, "..."], what: str) -> None:
    """Say that one uint8 image of zeros and ones is taken as binary."""
    if values.any():  # black is black in either case
        say_once(
            "alone",
            f"{what} are one image of uint8 zeros and ones, which is taken as binary. If it is "
            f"8-bit and dark, divide it by {WHITE}; `astype(bool)` says that this is meant.",
        )


def white_of(values: Shaped[np.ndarray, "..."], what: str, known: float | None = None) -> float:
    """What images are divided by, which is said once: 1 for any type but uint8.

    Args:
        values: the images.
        what: what they are, for messages.
        known: what images of uint8 that the model learned from were divided by, so that all
            later ones are treated alike.  None if that isn't known: then all values together
            decide, zeros and ones being binary and all others 8-bit.

    Raises:
        DataError: they are 8-bit, and the images that the model learned from were not.
    """
    if values.dtype != np.uint8:
        # NaN is passed over.
        if known not in (None, 1) and np.fmax.reduce(values, axis=None, initial=0) > 1:
            say_once(
                "above",
                f"{what} are {values.dtype}, with values above 1, and stay as they are. The images "
                f"that the model learned from were divided by {known:g}: divide greys, too.",
            )
        return 1.0
    grey = is_grey(values)
    if known == 1 and grey:
        raise DataError(
            f"{what} are 8-bit (uint8, values above 1), and the images that the model learned from "
            f"were not. Give them as those were: divided by {WHITE}, or as plain numbers "
            "(`astype(float)`)."
        )
    white = known or (WHITE if grey else 1)
    if white != 1 and values.any():
        found = "8-bit (uint8, values above 1)" if grey else "uint8 for a model of 8-bit images"
        say_once(
            f"scaled, {grey}",
            f"{what} are {found}: they are divided by {white:g}. Numbers that are no greys, such "
            "as counts, stay as they are in any other type (`astype(float)`).",
        )
    return float(white)


def single(values: Shaped[np.ndarray, "..."], what: str) -> Float[np.ndarray, "..."]:
    """Values in single precision; a `DataError` if finite ones are too large for it."""
    with np.errstate(over="ignore", invalid="ignore"):
        found = np.asarray(values, np.float32)
    if values.dtype.kind != "f" or values.dtype.itemsize <= 4:
        return found
    low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if np.isfinite([low, high]).all() and max(-low, high) > np.finfo(np.float32).max:
        raise DataError(
            f"{what} must be finite in single precision, whose largest number is "
            f"{np.finfo(np.float32).max:.2g}; received values from {low:g} to {high:g}. Rescale "
            "them."
        )
    return found


def check_values(
    values: Float[np.ndarray, "..."], what: str, *, unit: bool = False, missing: bool = False
) -> None:
    """Refuse values that are missing, not finite, or not in [0, 1]; see `as_images`.

    Raises:
        DataError: says how many, or between which numbers they lie.
    """
    # One NaN makes the least value NaN, so a single pass is enough for data that are whole.
    low, high = values.min(), values.max()
    if np.isnan(low):
        if not missing:
            n = int(np.isnan(values).sum())
            raise DataError(
                f"{what} must be finite and whole; {n:,} of {values.size:,} values are missing "
                "(NaN or masked). Fill them in, or leave these images out."
            )
        # These pass over NaN.
        low, high = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
        if np.isnan(low):
            return
    if not (np.isfinite(low) and np.isfinite(high)):
        raise DataError(
            f"{what} must be finite in single precision; received values from {low} to {high}."
        )
    if unit and not (low >= 0 and high <= 1):
        raise DataError(
            f"{what} must be finite and lie in [0, 1], as binary outputs have it; received values "
            f"from {low} to {high}. Rescale them (8-bit greys: divide by 255), or use a network "
            "with likelihood='gaussian', to which any finite value is data."
        )


def safely(read: Any, value: Any, what: str) -> np.ndarray:
    """The result of `read`; whatever fails in another library becomes a `DataError`."""
    try:
        return read(value, what)
    except GncnError:
        raise
    except Exception as error:  # each library has its own kinds
        reason = shortened(str(error).strip().partition("\n")[0], 200) or type(error).__name__
        raise DataError(
            f"{what} must be an array of numbers; received {_named(value)}, which can't be read as "
            f"one: {reason.rstrip('.')}."
        ) from error


def _named(value: Any) -> str:
    kind = type(value)
    home = kind.__module__.partition(".")[0]
    return kind.__name__ if home == "builtins" else f"{home}.{kind.__name__}"


def _numbers(value: Any, what: str) -> np.ndarray:
    """Any array as one of NumPy; objects in it as numbers, NaN where one is missing."""
    if isinstance(value, np.ma.MaskedArray):
        return _of_masked(value, what)
    if isinstance(value, Sequence) and not isinstance(value, NO_LISTS):
        return _of_sequence(value, what)
    array = raw_array(value, what)
    return _of_objects(array, what) if array.dtype.kind == "O" else array


def raw_array(value: Any, what: str) -> np.ndarray:
    """The array of NumPy that an array-like holds, whatever its type."""
    if isinstance(value, np.ndarray):
        # Subclasses such as matrices have products and shapes of their own.
        return np.asarray(value)
    if isinstance(value, str | PathLike):
        raise DataError(
            f"{what} must be an array; received the path {quoted(str(value))}. Read it first, with "
            "`gncn.load_file`."
        )
    if hasattr(value, "toarray") and hasattr(value, "nnz"):  # SciPy's sparse ones
        size = math.prod(value.shape) * value.dtype.itemsize
        refuse_too_large(f"{what} as a dense array", size, "Give fewer rows at once.")
        return value.toarray()
    if hasattr(value, "getbands"):  # PIL's images
        return as_shown(value)
    if isinstance(value, Mapping):
        if not value.get("bytes"):
            raise DataError(f"{what} must be an array of numbers; received {_named(value)}.")
        from PIL import Image  # as Hugging Face stores an image

        with Image.open(io.BytesIO(value["bytes"])) as image:
            return raw_array(image, what)
    if hasattr(value, "detach") and hasattr(value, "dtype"):  # PyTorch's tensors
        value = value.detach()
        value = value.cpu() if hasattr(value, "cpu") else value
        if str(getattr(value, "dtype", "")).endswith("bfloat16"):  # which NumPy doesn't know
            value = value.float()
    kinds = getattr(value, "dtypes", None) if hasattr(value, "__array__") else None
    for kind in kinds if isinstance(kinds, list) else ():
        if kind.is_temporal():  # polars would turn times into numbers
            raise DataError(
                f"{what} must be of a boolean, integer or floating type; received a column of "
                f"times ({kind})."
            )
    if isinstance(value, memoryview) or any(map(partial(hasattr, value), _ARRAYS)):
        return np.asarray(value)
    if hasattr(value, "numpy"):  # TensorFlow's tensors
        return np.asarray(value.numpy())
    if hasattr(value, "__dlpack__"):
        return np.from_dlpack(cast(Any, value))
    if isinstance(value, bool | int | float | np.generic):
        return np.asarray(value)
    if (
        hasattr(value, "__len__")
        and hasattr(value, "__getitem__")
        and not isinstance(value, Mapping | bytes | bytearray)
    ):  # columns of Hugging Face's data sets
        return _of_sequence([value[index] for index in range(len(value))], what)
    remedy = " Make a list of it." if isinstance(value, Iterator) else ""
    if callable(getattr(value, "collect", None)):  # a lazy frame of polars
        remedy = " Call its `collect()`."
    raise DataError(f"{what} must be an array of numbers; received {_named(value)}.{remedy}")


def _of_masked(value: np.ma.MaskedArray, what: str) -> np.ndarray:
    """A masked array with NaN where it is masked, never the filler under the mask; see `_plain`."""
    mask, data = np.ma.getmaskarray(value), np.ma.getdata(value)
    if not mask.any():
        return _numbers(data, what)
    if data.dtype.kind not in "biufO":
        return data
    if data.dtype == np.uint8:
        return np.ma.masked_array(data, mask)
    known = np.where(mask, 0, data)
    known = _of_objects(known, what) if known.dtype.kind == "O" else known
    # At least single precision, since whole numbers have no NaN.
    found = known.astype(np.result_type(known.dtype, np.float32))
    found[mask] = np.nan
    return found


def _of_sequence(value: Sequence[Any], what: str) -> np.ndarray:
    """A list of numbers, or of arrays that share a shape."""
    kinds = set(map(type, value))
    if all(_is_scalar(kind) for kind in kinds):
        absent = any(kind.__name__ in ABSENT for kind in kinds)
        array = np.asarray(value, object if absent else None)
        return _of_objects(array, what) if array.dtype.kind == "O" else array
    if any(issubclass(kind, np.ma.MaskedArray) for kind in kinds):
        return _of_masked(np.ma.stack(list(value)), what)
    parts = [np.asanyarray(_plain(one, what)) for one in value]
    shapes = list(dict.fromkeys(part.shape for part in parts))
    if len(shapes) > 1:
        raise DataError(
            f"{what} must all have one shape; received {shapes[0]} and {shapes[1]} among "
            f"{len(parts):,}."
        )
    masked = any(isinstance(part, np.ma.MaskedArray) for part in parts)
    return np.ma.stack(parts) if masked else np.stack(parts)


def _of_objects(array: np.ndarray, what: str) -> np.ndarray:
    """An array of Python's objects: numbers, or arrays that share a shape."""
    values = array.reshape(-1).tolist()
    kinds = set(map(type, values))
    if all(_is_scalar(kind) and not issubclass(kind, _NO_REALS) for kind in kinds):
        numbers = (np.nan if type(one).__name__ in ABSENT else float(one) for one in values)
        return np.fromiter(numbers, np.float64, len(values)).reshape(array.shape)
    single_column = array.ndim == 2 and array.shape[1] == 1
    if (array.ndim == 1 or single_column) and not any(map(_is_scalar, kinds)):
        return _of_sequence(values, what)
    odd = next(o for o in values if isinstance(o, _NO_REALS) or not _is_scalar(type(o)))
    raise DataTypeError(
        f"{what} must be of a boolean, integer or floating type; received objects, among them "
        f"{quoted(odd)}. Values of this argument must be neither strings nor other objects, but "
        "numbers."
    )


def _is_scalar(kind: type) -> bool:
    known = issubclass(kind, Real | Decimal | np.generic | str | bytes | complex)
    return known or kind.__name__ in ABSENT
