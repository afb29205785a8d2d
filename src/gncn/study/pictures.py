"""The pictures that a record keeps: sheets of small images and laid-out codes, packed.

A sheet is a greyscale PNG of white paper with dark ink, base64; codes in the plane are
16-bit integers, base64.  All together take about 20 kB.
"""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int, Shaped
from PIL import Image

from gncn.data import Dataset
from gncn.evaluation.images import image_shape, tile

N_SHOWN, PER_ROW, N_COMPLETED, N_POINTS = 20, 10, 8, 600
"""Images of a sheet of data or samples and of one of its rows; completions; points of the plane."""


def pack_pictures(
    shown: Mapping[str, np.ndarray], data: Dataset, split: str, best_way: str | None
) -> dict[str, Any]:
    """Pack what the figures of an evaluation of a split show.

    Args:
        shown: the arrays of ``pictures-SPLIT.safetensors``; may be empty.
        data: of the run.
        split: whose images are shown.
        best_way: of completing; None if it wasn't measured.

    Returns:
        Sheets ``data`` and, as far as measured, ``samples``, ``seen``, ``completed`` and
        ``whole``; and ``embedding``.
    """
    shape = image_shape(data.n_pixels, data.image_shape)
    packed: dict[str, Any] = {"data": sheet(getattr(data, split).images[:N_SHOWN], shape)}
    if "samples" in shown:
        packed["samples"] = sheet(shown["samples"][:N_SHOWN], shape)
    if best_way is not None and f"completed_{best_way}" in shown:
        whole = shown["whole"][:N_COMPLETED]
        rows = {
            # Hidden pixels are light grey.
            "seen": np.where(shown["visible"][None, :], whole, 0.3),
            "completed": shown[f"completed_{best_way}"][:N_COMPLETED],
            "whole": whole,
        }
        packed |= {name: sheet(row, shape, N_COMPLETED) for name, row in rows.items()}
    if "embedding" in shown:
        packed["embedding"] = pack_points(shown["embedding"], shown.get("embedding_labels"))
    return packed


def sheet(
    images: Shaped[np.ndarray, "n pixels"], shape: tuple[int, int], per_row: int = PER_ROW
) -> dict[str, Any]:
    """Images side by side, as a PNG with its size in pixels; in colours beyond [0, 1]."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    from gncn.figures.style import GREYS, shades

    tiled = tile(images, shape, min(per_row, len(images)), background=0.0)
    picture = np.round(255 * (1 - np.clip(tiled, 0, 1))).astype(np.uint8)
    if (look := shades(images)) != GREYS:
        drawn = ScalarMappable(Normalize(look["vmin"], look["vmax"]), look["cmap"])
        picture = drawn.to_rgba(tiled, bytes=True)[..., :3]
    content = io.BytesIO()
    Image.fromarray(picture).save(content, "PNG", optimize=True)
    png = base64.b64encode(content.getvalue()).decode()
    return {"png": png, "width": picture.shape[1], "height": picture.shape[0]}


def pack_points(
    positions: Float[np.ndarray, "points 2"], labels: Int[np.ndarray, " points"] | None
) -> dict[str, Any]:
    """Points of the plane, scaled to 16-bit integers, with their classes."""
    positions = positions[:N_POINTS]
    low, high = positions.min(axis=0), positions.max(axis=0)
    # Points that all agree have no extent to divide by.
    scaled = (positions - low) / np.maximum(high - low, 1e-9) * 65_535
    # Little-endian on every machine.
    packed = {"xy": base64.b64encode(np.round(scaled).astype("<u2").tobytes()).decode()}
    if labels is not None:
        packed["labels"] = base64.b64encode(labels[:N_POINTS].astype("<i2").tobytes()).decode()
    return packed


def unpack_points(
    packed: Mapping[str, str],
) -> tuple[Float[np.ndarray, "points 2"], Int[np.ndarray, " points"] | None]:
    """Undo `pack_points`: positions within [0, 1], and classes."""
    whole = np.frombuffer(base64.b64decode(packed["xy"]), "<u2").reshape(-1, 2)
    labels = None
    if "labels" in packed:
        labels = np.frombuffer(base64.b64decode(packed["labels"]), "<i2").astype(np.int32)
    return whole / 65_535, labels
