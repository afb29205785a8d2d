"""`product`: the matrix product of settling and learning, in single precision or bfloat16."""

from typing import Literal

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from gncn.base.hardware import multiplies_bfloat16

Products = Literal["float32", "bfloat16"]


def product(
    left: Float[Array, "batch sending"], right: Float[Array, "sending receiving"]
) -> Float[Array, "batch receiving"]:
    """Multiply with both factors of the right one's type, and sum in single precision.

    Single precision holds the product of two numbers in bfloat16 exactly.  Hardware without
    units for bfloat16 therefore multiplies the rounded factors in single precision, with the
    same result.
    """
    if right.dtype == jnp.bfloat16 and not multiplies_bfloat16():
        # XLA drops a conversion there and back, so the left factor is rounded explicitly.
        left = lax.reduce_precision(left.astype(jnp.float32), exponent_bits=8, mantissa_bits=7)
        # The right factor is rounded already, so this conversion is exact.
        return jnp.matmul(left, right.astype(jnp.float32))
    # By default the sums, too, would be in bfloat16.
    return jnp.matmul(left.astype(right.dtype), right, preferred_element_type=jnp.float32)
