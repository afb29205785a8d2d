"""What an image tells of codes on average, against enumeration and plain derivatives."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from gncn.base.errors import ConfigError
from gncn.core.likelihood import BernoulliErrors, FlatErrors, GaussianErrors
from gncn.core.precision import Diagonal, Full, Unit
from gncn.evaluation.pixels import BERNOULLI, BernoulliPixels, GaussianPixels, pixels_of

RNG = np.random.default_rng(0)
JACOBIAN = RNG.normal(size=(4, 2))
CODE = np.array([0.3, -0.8])


def test_bernoulli_information_is_the_expected_square_of_the_score():
    output, expected = BernoulliPixels(), np.zeros((2, 2))
    drive = jnp.asarray(JACOBIAN @ CODE, jnp.float32)
    for x in itertools.product((0.0, 1.0), repeat=4):
        of_code = lambda z, x=x: output.log_prob(  # noqa: E731
            jnp.asarray([x]), (jnp.asarray(JACOBIAN, jnp.float32) @ z)[None]
        )[0]
        value, score = jax.value_and_grad(of_code)(jnp.asarray(CODE, jnp.float32))
        expected += np.exp(value) * np.outer(score, score)
    found = output.information(drive, jnp.asarray(JACOBIAN, jnp.float32))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("kind", ["unit", "diagonal", "full"])
@pytest.mark.parametrize("activation", ["identity", "tanh"])
def test_gaussian_information_is_weighed_by_slopes_and_precision(kind, activation):
    root = RNG.normal(size=(4, 4))
    matrix = {
        "unit": np.eye(4),
        "diagonal": np.diag([0.5, 1.0, 2.0, 4.0]),
        "full": root @ root.T + np.eye(4),
    }[kind]
    precision = {
        "unit": Unit(),
        "diagonal": Diagonal(jnp.asarray(np.diagonal(matrix), jnp.float32)),
        "full": Full(jnp.asarray(matrix, jnp.float32)),
    }[kind]
    output = GaussianPixels(GaussianErrors(activation, precision))
    drive = JACOBIAN @ CODE
    slopes = 1 - np.tanh(drive) ** 2 if activation == "tanh" else np.ones(4)
    moved = slopes[:, None] * JACOBIAN
    found = output.information(jnp.asarray(drive, jnp.float32), jnp.asarray(JACOBIAN, jnp.float32))
    np.testing.assert_allclose(found, moved.T @ matrix @ moved, rtol=1e-4)


def test_pixels_without_a_density_are_refused():
    assert pixels_of(BernoulliErrors()) is BERNOULLI
    with pytest.raises(ConfigError, match="Bernoulli and Gaussian outputs; received FlatErrors"):
        pixels_of(FlatErrors())
