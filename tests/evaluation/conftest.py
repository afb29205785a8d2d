"""Tiny Bernoulli models whose log p(x) is known by enumeration or by quadrature."""

import itertools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float, PRNGKeyArray

import gncn.evaluation.likelihood
from gncn.evaluation.mixture import Mixture, mixture_from_moments
from gncn.evaluation.protocols import WithPrior


class Affine(eqx.Module):
    weights: Float[Array, "pixels dim"]
    bias: Float[Array, " pixels"]

    def decode(self, codes: Float[Array, "n dim"]) -> Float[Array, "n pixels"]:
        return codes @ self.weights.T + self.bias[None, :]


class Table(eqx.Module):
    codes: Float[Array, "entries dim"]
    weights: Float[Array, " entries"]

    def sample(self, key: PRNGKeyArray, n: int) -> Float[Array, "n dim"]:
        return self.codes[jax.random.categorical(key, jnp.log(self.weights), shape=(n,))]


class Bent(eqx.Module):
    """Logits bend through tanh."""

    inner: Float[Array, "hidden dim"]
    outer: Float[Array, "pixels hidden"]

    def decode(self, codes: Float[Array, "n dim"]) -> Float[Array, "n pixels"]:
        return jnp.tanh(codes @ self.inner.T) @ self.outer.T


class DiscreteModel(WithPrior):
    """Codes are the rows of a table; logits are linear in them."""

    decoder: Affine
    prior: Table

    def exact(self, x: np.ndarray) -> np.ndarray:
        probability = 1 / (1 + np.exp(-np.asarray(self.decode(self.prior.codes), np.float64)))
        each = np.where(x[:, None, :] == 1, probability[None], 1 - probability[None]).prod(-1)
        return np.log(each @ np.asarray(self.prior.weights, np.float64))


class ContinuousModel(WithPrior):
    """Two-dimensional codes from a mixture of three."""

    decoder: Bent
    prior: Mixture

    def posterior(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """log p(x) by quadrature, the grid, and the posterior's share of each grid point."""
        side = np.linspace(-9, 9, 181)
        grid = np.array(list(itertools.product(side, side)), np.float32)
        cell = np.log((side[1] - side[0]) ** 2)
        logits = np.asarray(self.decode(jnp.asarray(grid)), np.float64)
        log_prior = np.asarray(self.prior.log_prob(jnp.asarray(grid)), np.float64)
        given = np.asarray(x, np.float64) @ logits.T - np.logaddexp(0, logits).sum(1)[None]
        joint = given + log_prior[None] + cell
        total = np.logaddexp.reduce(joint, axis=1)
        return total, grid, np.exp(joint - total[:, None])


@pytest.fixture
def images_at_once(monkeypatch) -> Callable[[int], None]:
    """Sets how many images importance sampling and annealing handle at once."""
    return lambda n: monkeypatch.setattr(gncn.evaluation.likelihood, "_IMAGES_WEIGHED", n)


@pytest.fixture(scope="session")
def discrete() -> DiscreteModel:
    rng = np.random.default_rng(0)
    codes, weights = rng.normal(size=(6, 2)), 2 * rng.normal(size=(4, 2))
    return DiscreteModel(
        decoder=Affine(jnp.asarray(weights, jnp.float32), jnp.asarray([0.5, -0.3, 0.2, -1.0])),
        prior=Table(
            jnp.asarray(codes, jnp.float32), jnp.asarray([0.3, 0.05, 0.2, 0.25, 0.15, 0.05])
        ),
    )


@pytest.fixture(scope="session")
def continuous() -> ContinuousModel:
    rng = np.random.default_rng(1)
    covariances = np.array(
        [[[1.0, 0.7], [0.7, 0.8]], [[0.3, -0.2], [-0.2, 0.9]], [[0.5, 0.1], [0.1, 0.2]]]
    )
    prior = mixture_from_moments(
        np.array([0.5, 0.2, 0.3]), np.array([[-1.0, 0.5], [2.0, -1.0], [0.0, 2.0]]), covariances
    )
    return ContinuousModel(
        Bent(
            jnp.asarray(rng.normal(size=(5, 2)), jnp.float32),
            jnp.asarray(1.5 * rng.normal(size=(8, 5)), jnp.float32),
        ),
        prior,
    )


@pytest.fixture(scope="session")
def all_images() -> np.ndarray:
    """All 16 binary images of 4 pixels."""
    return np.array(list(itertools.product([0, 1], repeat=4)), np.uint8)


@pytest.fixture(scope="session")
def some_images() -> np.ndarray:
    """Ten binary images of 8 pixels."""
    return np.random.default_rng(2).integers(0, 2, (10, 8)).astype(np.uint8)


@pytest.fixture(scope="session")
def one_component(continuous):
    """The same model with the first component of its prior alone, hence one peak."""
    prior = continuous.prior
    return eqx.tree_at(
        lambda m: (m.prior.logits, m.prior.means, m.prior.whitening),
        continuous,
        tuple(leaf[:1] for leaf in (prior.logits, prior.means, prior.whitening)),
    )
