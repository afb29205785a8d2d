"""Estimators: the models as scikit-learn wants them.

They train by the library's own `fit`, and measure by its own functions: nothing is computed here.
`gncn` imports this room when one of them is used, because it needs scikit-learn.
"""

from gncn.base.extras import needs

needs("sklearn", "evaluation")

from gncn.estimators.models import (  # noqa: E402
    DSRN,
    GANAE,
    GNCN,
    GVAE,
    GVAECV,
    RAE,
    PixelMixture,
)

__all__ = ["DSRN", "GANAE", "GNCN", "GVAE", "GVAECV", "RAE", "PixelMixture"]
