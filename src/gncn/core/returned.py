"""`check_returned`: a part that returns something else than it must is refused in one sentence.

Parts are asked for the shapes that they make of one image and of three.  JAX traces that in about
a millisecond, compiles nothing, and makes no array.  Whether images are treated independently can't
be seen from shapes.  The library's own parts aren't asked.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gncn.base.errors import ConfigError, GncnError, shortened

BATCHES = (1, 3)
"""Numbers of images that parts are asked about; 1 also stands for states that all images share."""


def is_own(kind: type) -> bool:
    """Whether a class is the library's own."""
    return kind.__module__.partition(".")[0] == "gncn"


def array_of(*shape: int) -> jax.ShapeDtypeStruct:
    """A stand-in for an array in single precision: its shape and type."""
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def check_returned(
    what: str,
    wanted: Any,
    function: Callable[..., Any],
    *arguments: Any,
    given: Any = None,
    advice: str = "",
) -> Any:
    """Stand-ins for the values that a function returns, if structure, shapes and types fit.

    Arrays among the arguments, too, may be stood for.  With ``wanted=...`` anything will do.  The
    message shows `given`, or all arguments, and ends with `advice`.

    Raises:
        ConfigError: begins with `what`; the function raises an error, such as one of JAX, or
            returns something else.
    """
    try:
        made = eqx.filter_eval_shape(function, *arguments)
    # The library's own refusals say more than this function could.
    except GncnError:
        raise
    except Exception as error:  # whatever a user's function raises
        reason = shortened(str(error).strip().partition("\n")[0], 200).rstrip(".")
        gave, cause = f"with arrays of JAX it raised {type(error).__name__}: {reason}", error
    else:
        if wanted is ... or _fits(made, wanted):
            return made
        gave, cause = f"it gave {_shown(made)}", None
    given = _shown(arguments if given is None else given)
    must = f"is given {given}" if wanted is ... else f"must return {_shown(wanted)} for {given}"
    raise ConfigError(f"{what} {must}; {gave}. {advice}".rstrip()) from cause


def _fits(made: Any, wanted: Any) -> bool:
    (left, structure), (right, other) = jax.tree.flatten(made), jax.tree.flatten(wanted)
    # `and` stops at unequal structures, so the zip never meets lists of different lengths.
    return structure == other and all(map(_alike, left, right))


def _alike(made: Any, wanted: Any) -> bool:
    """Whether leaves agree; loops give numbers of Python the type of what replaces them."""
    if not isinstance(wanted, jax.ShapeDtypeStruct):
        return made is wanted or bool(made == wanted)
    same = getattr(made, "shape", None) == wanted.shape
    return same and (wanted.weak_type or made.dtype == wanted.dtype)


def _shown(tree: Any) -> str:
    """Arrays by type and shape, such as f32[3,20]."""
    if type(tree) is tuple and len(tree) == 1:
        (tree,) = tree
    return shortened(eqx.tree_pformat(tree, width=10_000, struct_as_array=True), 300)
