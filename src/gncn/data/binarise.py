"""Rules that turn pixel intensities in [0, 1] into the images a model sees."""

from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32

from gncn.base.errors import ConfigError, unknown_choice
from gncn.data.types import Images

Binarisation = Literal["threshold", "stochastic", "none"]
"""How intensities become images; see `binarise`."""

DEFAULT_THRESHOLD = 0.5
"""Intensity from which a pixel is on, as in the paper (section 4.1)."""


def binarise(
    intensities: Float32[np.ndarray, "n pixels"],
    rule: Binarisation = "threshold",
    *,
    threshold: float | int | None = None,
    seed: int | np.random.Generator | None = None,
) -> Images:
    """Apply a binarisation rule.

    Args:
        intensities: values within [0, 1], shape (n, pixels).
        rule: ``"threshold"``: a pixel is on where its intensity reaches
            `threshold`. ``"stochastic"``: a pixel is on with a probability equal
            to its intensity, drawn once, from `seed`. ``"none"``: keep the real
            values (for a model with Gaussian outputs).
        threshold: intensity within (0, 1] from which a pixel is on; 0.5 unless
            given. Only for ``"threshold"``.
        seed: seed of the draws, at least 0, or the generator to draw from; 0 unless
            given. Only for ``"stochastic"``.

    Returns:
        uint8 zeros and ones, or the float32 intensities for ``"none"``; shape
        (n, pixels).

    Raises:
        ConfigError: the rule is unknown, or an option is out of range or belongs
            to another rule.
    """
    check_rule(rule, threshold=threshold, seed=seed)
    if rule == "threshold":
        level = DEFAULT_THRESHOLD if threshold is None else threshold
        return (intensities >= level).astype(np.uint8)
    if rule == "stochastic":
        generator = np.random.default_rng(0 if seed is None else seed)
        uniform = generator.random(intensities.shape, dtype=np.float32)  # in [0, 1)
        return (uniform < intensities).astype(np.uint8)
    return intensities


def check_rule(
    rule: Binarisation, *, threshold: float | int | None, seed: int | np.random.Generator | None
) -> None:
    """Refuse an unknown rule, and options that the rule would ignore; see `binarise`."""
    if rule not in get_args(Binarisation):
        raise unknown_choice("binarisation rule", rule, get_args(Binarisation))
    if threshold is not None:
        if rule != "threshold":
            raise ConfigError(
                f"threshold={threshold} has no meaning for the binarisation rule {rule!r}. Leave "
                "it out, or use the rule 'threshold'."
            )
        if not 0 < threshold <= 1:
            raise ConfigError(f"threshold must lie within (0, 1]; received {threshold}.")
    if seed is not None:
        if rule != "stochastic":
            raise ConfigError(
                f"A binarisation seed ({seed}) has no meaning for the rule {rule!r}. Leave it "
                "out, or use the rule 'stochastic'."
            )
        if isinstance(seed, int) and seed < 0:
            raise ConfigError(f"The binarisation seed must be at least 0; received {seed}.")
