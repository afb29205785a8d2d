"""Saved baselines come back to the bit, and damaged ones don't."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import RunError
from gncn.baselines.blueprint import KINDS
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.evaluation.mixture import COVARIANCES, mixture_from_moments


def mixture(covariance: str) -> PixelMixture:
    spread = {
        "full": np.stack([0.1 * np.eye(3), np.eye(3) + 0.2]),
        "tied": np.eye(3) + 0.2,
        "diagonal": np.full((2, 3), 0.3),
        "spherical": np.full(2, 0.3),
    }
    means = np.random.default_rng(0).normal(size=(2, 3))
    return PixelMixture(
        mixture_from_moments(np.array([0.2, 0.8]), means, spread[covariance], covariance),
        0.02,
        "means" if covariance == "tied" else "samples",
    )


def assert_same_bits(a, b):
    (old, one), (new, two) = jax.tree.flatten(a), jax.tree.flatten(b)
    assert one == two
    for x, y in zip(old, new, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_loaded_is_what_was_saved(small, kind, tmp_path):
    model = small(kind, penalty=0.25)
    gncn.save(model, tmp_path)
    assert_same_bits(model, gncn.load(tmp_path))
    assert sorted(path.suffix for path in tmp_path.iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_mixtures_too(covariance, tmp_path):
    model = mixture(covariance)
    gncn.save(model, tmp_path)
    assert_same_bits(model, gncn.load(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "gncn-baseline-9"}, "must say format 'gncn-network-1', 'gncn-baseline-1'"),
        ({"blueprint": {"kind": "rae"}}, "no model that can be loaded.*n_pixels"),
        ({"blueprint": None}, "needs 'blueprint' of type dict"),
        (
            {"blueprint": {"kind": "rae", "n_pixels": 6, "hidden": 7, "n_latent": 3}},
            "must be float32 of shape",
        ),
        (
            {"blueprint": {"kind": "gan-ae", "n_pixels": 6, "hidden": 6, "n_latent": 3}},
            r"missing \['discriminator",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(small, tmp_path, change, message):
    gncn.save(small("rae"), tmp_path)
    path = tmp_path / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(RunError, match=message):
        gncn.load(tmp_path)


def test_values_that_are_not_finite_are_refused(small, tmp_path):
    model = small("rae")
    gncn.save(jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), model), tmp_path)
    with pytest.raises(RunError, match="not finite"):
        gncn.load(tmp_path)
