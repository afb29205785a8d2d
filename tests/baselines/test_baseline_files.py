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
        mixture_from_moments(np.array([0.2, 0.8]), means, spread[covariance]),
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
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ["", ".json", ".safetensors"]


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_mixtures_too(covariance, tmp_path):
    model = mixture(covariance)
    gncn.save(model, tmp_path)
    assert_same_bits(model, gncn.load(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "gncn-model-9"}, "must say format 'gncn-model-2'; it says 'gncn-model-9'"),
        (
            {"format": "gncn-baseline-1"},
            "format 'gncn-baseline-1', which.*no longer reads. Train.* again, or .*commit 1ac8ea5",
        ),
        ({"model": "vae"}, "a model of the kind 'vae', which this version.* knows 'gncn', 'rae'"),
        ({"description": {}}, "no model that can be loaded.*n_pixels"),
        ({"description": None}, "needs 'description' of type dict"),
        (
            {"description": {"n_pixels": 6, "hidden": 7, "n_latent": 3}},
            "must be float32 of shape",
        ),
        (
            {"model": "gan-ae", "description": {"n_pixels": 6, "hidden": 6, "n_latent": 3}},
            r"missing \['discriminator",
        ),
    ],
)
def test_descriptions_that_do_not_fit_are_refused(small, tmp_path, change, message):
    gncn.save(small("rae"), tmp_path)
    path = tmp_path / "model.json"
    path.write_text(
        json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8"
    )
    with pytest.raises(RunError, match=message):
        gncn.load(tmp_path)


def stacked(model):
    return jax.tree.map(lambda leaf: leaf[None], model)


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda m: jax.tree.map(lambda a: jnp.full_like(a, jnp.nan), m), "not finite"),
        (lambda m: jax.tree.map(lambda a: np.asarray(a, np.float64), m), "received float64"),
        (stacked, r"received float32 of shape \(1, "),
    ],
)
def test_what_could_not_be_loaded_is_not_saved_and_replaces_nothing(small, tmp_path, harm, message):
    model = small("rae")
    gncn.save(model, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(RunError, match=f"This RAE can't be saved.*{message}"):
        gncn.save(harm(model), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_is_no_model_is_not_saved(tmp_path):
    with pytest.raises(RunError, match="A dict can't be saved.*RAE"):
        gncn.save({}, tmp_path / "new")
    assert not (tmp_path / "new").exists()
