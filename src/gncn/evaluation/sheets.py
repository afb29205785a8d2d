"""Images side by side as one array, and the shape in which to show them."""

import numpy as np
from jaxtyping import Float, Shaped


def image_shape(n_pixels: int, known: tuple[int, int] | None) -> tuple[int, int]:
    """The shape to show an image in: the known one, a square, or one row of pixels."""
    if known is not None:
        return known
    side = round(n_pixels**0.5)
    return (side, side) if side * side == n_pixels else (1, n_pixels)


def tile(
    images: Shaped[np.ndarray, "n pixels"],
    shape: tuple[int, int],
    columns: int,
    *,
    background: float,
) -> Float[np.ndarray, "height width"]:
    """Lay images out in a grid of some columns; `background` fills gaps of one pixel."""
    rows = -(-len(images) // columns)
    height, width = shape
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), background, np.float32)
    for index, image in enumerate(images):
        top, left = divmod(index, columns)
        top, left = top * (height + 1), left * (width + 1)
        sheet[top : top + height, left : left + width] = image.reshape(shape)
    return sheet
