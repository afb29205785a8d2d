"""PIL's images as arrays of what they show: `as_shown`."""

from typing import Any

import numpy as np

_MODES = {"RGBA": "RGB", "RGBX": "RGB", "CMYK": "RGB", "LA": "L"}
"""What images with transparency or inks become.  Transparency is left out."""
_ORIENTATION = 0x0112
"""The entry of EXIF data that says how a picture is turned; 1 for not at all."""


def as_shown(picture: Any) -> np.ndarray:
    """The pixels of one of PIL's images, without transparency and a palette.

    It is turned as its EXIF data say.  A palette of greys alone makes greys, without channels.
    """
    if picture.getexif().get(_ORIENTATION, 1) != 1:
        from PIL import ImageOps  # not needed by who has no such picture

        picture = ImageOps.exif_transpose(picture)
    mode = picture.mode
    if mode in ("P", "PA"):
        colours = np.reshape(picture.getpalette("RGB"), (-1, 3))
        # Pillow warns where a palette's transparency is lost, so RGBA comes between.
        picture, grey = picture.convert("RGBA"), bool((colours == colours[:, :1]).all())
        mode = "LA" if grey else "RGBA"
    return np.asarray(picture.convert(_MODES[mode]) if mode in _MODES else picture)
