"""Errors of the library reach another process whole: pools pickle them."""

import importlib
import pickle
import pkgutil

import jax.numpy as jnp
import pytest

import gncn
from gncn.base.errors import GncnError
from gncn.training.fit import FitDivergenceError
from gncn.training.progress import Fit, Interrupted


def own_exceptions():
    """Every class of exceptions that a module of the package defines."""
    found = set()
    for module in pkgutil.walk_packages(gncn.__path__, "gncn."):
        for value in vars(importlib.import_module(module.name)).values():
            is_error = isinstance(value, type) and issubclass(value, BaseException)
            if is_error and value.__module__.startswith("gncn."):
                found.add(value)
    return sorted(found, key=lambda kind: kind.__qualname__)


@pytest.mark.parametrize("kind", own_exceptions(), ids=lambda kind: kind.__qualname__)
def test_errors_survive_pickling(kind):
    extra = {"last_good": Fit((), (), "diverged", ())} if kind is FitDivergenceError else {}
    said = Fit((), (), "interrupted", ()) if kind is Interrupted else "what is wrong, what to do"
    error = kind(said, **extra)
    error.more = {"learned": [1, 2]}
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert (str(again), again.args, vars(again)) == (str(error), error.args, vars(error))


def test_a_divergence_keeps_what_was_good():
    network = gncn.build(gncn.chain((6, 4)), seed=0, n_settle_steps=2)
    error = FitDivergenceError("diverged", Fit((network,), (), "diverged", (0,)))
    again = pickle.loads(pickle.dumps(error))
    assert again.last_good.status == "diverged"
    kept = again.last_good.network.connections[0].forward
    assert jnp.array_equal(kept, network.connections[0].forward)
    assert again.last_good.network.circuit == network.circuit


def test_a_subclass_with_arguments_of_its_own_survives():
    error = _OddError(1, reason="because")
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.reason) == ("1 because", "because")


class _OddError(GncnError):
    def __init__(self, number, *, reason):
        super().__init__(f"{number} {reason}")
        self.reason = reason
