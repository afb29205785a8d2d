"""Numbers of any kind, wherever one is taken: each works, or is refused in one sentence."""

import dataclasses
from contextlib import suppress
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base import hardware
from gncn.base.arrays import as_codes
from gncn.base.errors import MOST_SEED, ConfigError, DataError, GncnError, check_positive
from gncn.baselines.blueprint import BackpropConfig, Blueprint, plan_blueprint
from gncn.baselines.kinds import start_baseline
from gncn.baselines.pixel_mixture import PixelMixtureConfig
from gncn.evaluation.annealing import Annealing
from gncn.evaluation.codes import embed, fit_probe
from gncn.evaluation.completion import visible_pixels
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture_fit import choose_mixture, fit_mixture
from gncn.evaluation.protocols import StandardNormal, WithPrior
from gncn.measures import MEASURES
from gncn.measures.models import Generator
from gncn.runs.config import preset_names
from gncn.training.checkpoints import Checkpoints

VALUES = (
    *(
        0,
        -1,
        1.5,
        float("nan"),
        float("inf"),
        1e12,
        10**12,
        10**30,
        10**400,
        2**63,
        2**64,
        True,
        "3",
    ),
    *(None, np.int64(3), np.float32(0.1), jnp.int32(3), jnp.float32(0.1)),
    *([3], [2, 2], (2, 2, 2), np.array([3, 3]), {}),
)
RNG = np.random.default_rng(0)
NETWORK = gncn.build(gncn.chain((16, 4, 4)), seed=0, n_settle_steps=2)
LATERAL = gncn.chain((16, 4, 4), competition="columns", group_size=2, precision="diagonal")
X = RNG.integers(0, 2, (6, 16)).astype(np.float32)
IMAGES = RNG.integers(0, 2, (40, 16)).astype(np.uint8)
LABELS = RNG.integers(0, 3, 40)
CODES = RNG.normal(size=(40, 4)).astype(np.float32)
DATA = gncn.from_arrays(IMAGES, LABELS, n_validation=5, n_test=5)
BLUEPRINT = plan_blueprint("rae", 16, budget=1000, n_latent=2)
MODEL = WithPrior(Generator(NETWORK), StandardNormal(4))
KEY = jax.random.key(0)

pytestmark = pytest.mark.usefixtures("unchecked")


def options(make, names, **others):
    """An entry for each option of a class or function."""
    return {
        f"{make.__name__}.{name}": lambda value, name=name: make(**{**others, name: value})
        for name in names
    }


def settle(**given):
    return gncn.settle(NETWORK, X, **given)


def watch(**given):
    return gncn.watch(NETWORK, X, **given)


def build(circuit=NETWORK.circuit, **given):
    return gncn.build(circuit, **{"seed": 0, **given})


def chain(sizes=(16, 4, 4), **given):
    return gncn.chain(sizes, **given)


def from_arrays(**given):
    return gncn.from_arrays(IMAGES, **given)


def complete(n_settle_steps=2, sharpness=1.0):
    return gncn.Completer(NETWORK, "silent", n_settle_steps, sharpness)


def mixture(**given):
    return fit_mixture(CODES, **{"n_components": 2, "max_iterations": 2, **given})


def probe(**given):
    return fit_probe(CODES, LABELS, CODES, LABELS, **given)


def likelihood(**given):
    return prior_log_likelihood(MODEL, IMAGES[:4], key=KEY, **{"n_samples": 10, **given})


def dataset(**given):
    splits = (DATA.train, DATA.validation, DATA.test)
    return gncn.Dataset(
        "a", *splits, **{"image_shape": None, "n_classes": 3, **given}, source="", licence=""
    )


FREE = ("optimizer", "schedule")
TAKERS = {
    **options(build, ("seed", "n_settle_steps", "tolerance", "step_size", "leak", "weight_scale")),
    **options(
        build, ("self_excitation", "lateral_inhibition", "initial_precision"), circuit=LATERAL
    ),
    "build.key": lambda value: gncn.build(NETWORK.circuit, key=value),
    **options(gncn.Momentum, ("momentum",)),
    **options(gncn.Newton, ("damping", "pixel_variance"), damping=1.0, pixel_variance=0.1),
    **options(gncn.Euler, ("n_settle_steps", "tolerance")),
    **options(chain, ("sizes", "initial_state")),
    "chain.pixels": lambda value: chain((value, 4, 4)),
    "chain.neurons": lambda value: chain((16, value, 4)),
    **options(chain, ("group_size",), competition="columns"),
    **options(chain, ("band_width",), competition="band"),
    **options(chain, ("mask",), competition="matrix"),
    **options(chain, ("winners",), activation="k_winners"),
    **options(chain, ("max_norm",), norm="unit"),
    **options(gncn.Layer, ("size",)),
    **options(gncn.Dense, ("source", "target"), source=5, target=0),
    **options(gncn.Columns, ("group_size",)),
    **options(gncn.Band, ("band_width",)),
    **options(gncn.KWinners, ("winners",)),
    **options(complete, ("n_settle_steps", "sharpness")),
    **options(gncn.TrainingConfig, gncn.TrainingConfig.model_fields, schedule="cosine"),
    **options(BackpropConfig, BackpropConfig.model_fields),
    **options(PixelMixtureConfig, PixelMixtureConfig.model_fields),
    **options(
        Blueprint, ("n_pixels", "hidden", "n_latent"), kind="rae", n_pixels=9, hidden=3, n_latent=2
    ),
    **options(
        plan_blueprint,
        ("n_pixels", "budget", "n_latent"),
        kind="rae",
        n_pixels=9,
        budget=900,
        n_latent=2,
    ),
    **options(start_baseline, ("seed", "weight_scale"), blueprint=BLUEPRINT, seed=0),
    **options(Checkpoints, ("every_batches", "every_seconds"), folder="none"),
    **options(
        from_arrays,
        ("n_validation", "n_test", "split_seed", "threshold", "max_value", "image_shape"),
    ),
    **options(from_arrays, ("binarisation_seed",), binarisation="stochastic"),
    **options(gncn.load_dataset, ("n_validation", "split_seed"), name="digits"),
    **options(dataset, ("image_shape", "n_classes")),
    **options(gncn.Config, ("seed", "n_trials")),
    **options(Annealing, [field.name for field in dataclasses.fields(Annealing)]),
    "choose_mixture": lambda value: choose_mixture(CODES, CODES, value, max_iterations=2),
    **options(visible_pixels, ("image_shape", "seed"), missing="random", image_shape=(4, 4)),
    **{
        f"{name}.{one}": lambda value, name=name, one=one: MEASURES.get(name)(**{one: value})
        for name in MEASURES.names()
        for one in MEASURES.get(name).model_fields
    },
}
"""All that takes a number and compiles little."""

SLOW_TAKERS = {
    **options(settle, ("n_settle_steps", "tolerance")),
    **options(watch, ("n_settle_steps", "tolerance")),
    "encode.layer": lambda value: gncn.encode(NETWORK, X, layer=value),
    "encode.batch_size": lambda value: gncn.encode(NETWORK, X, batch_size=value),
    "fit.seeds": lambda value: gncn.fit(NETWORK, DATA, PLAN, seeds=value),
    "fit.config": lambda value: gncn.fit(NETWORK, DATA, value),
    "fit.network": lambda value: gncn.fit(value, DATA, PLAN),
    **{
        f"fit.{name}": lambda value, name=name: gncn.fit(
            NETWORK, DATA, gncn.TrainingConfig(**{**dict(PLAN), name: value})
        )
        for name in ("batch_size", "evaluation_batch_size", "learning_rate", "precision_rate")
    },
    **options(mixture, ("n_components", "seed", "regularisation", "tolerance", "max_iterations")),
    **options(probe, ("regularisation", "tolerance", "max_iterations")),
    **options(likelihood, ("n_repeats",)),
    "embed.seed": lambda value: embed(CODES, perplexity=3, seed=value),
}
PLAN = gncn.TrainingConfig(n_epochs=1, batch_size=20)


def try_all(take):
    for value in VALUES:
        with suppress(GncnError):
            take(value)


@pytest.mark.parametrize("name", TAKERS)
def test_any_number_works_or_is_refused(name):
    try_all(TAKERS[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW_TAKERS)
def test_any_number_works_or_is_refused_where_programs_run(name):
    try_all(SLOW_TAKERS[name])


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: settle(n_settle_steps=1.5), "n_settle_steps must be a whole number; received 1.5"),
        (lambda: settle(n_settle_steps=10**12), "n_settle_steps must be at most 1,000,000"),
        (lambda: build(seed=2**64), "seed must be at most 4,294,967,295"),
        (lambda: build(seed=-1), "seed must be at least 0; received -1"),
        (lambda: build(seed=True), "seed must be a whole number; received True"),
        (lambda: from_arrays(image_shape=(4, 2, 2)), "image_shape"),
        (lambda: dataset(image_shape=(4, 2, 2)), r"image_shape must be \(rows, columns\)"),
        (
            lambda: start_baseline(plan_blueprint("rae", 16, budget=10**15, n_latent=2), seed=0),
            "GB",
        ),
        (lambda: build(gncn.chain((1 << 24, 1 << 24))), "562,949,953,421,312 synapses"),
        (lambda: BackpropConfig(variance=tuple(np.linspace(0.1, 1, 10**6))), "up to 100 values"),
        (lambda: likelihood(n_samples=10**12), "n_samples must be at most 1,000,000,000"),
        (lambda: watch(n_settle_steps=10**6, keep_latents=True), "A trajectory of 1,000,000 steps"),
        (
            lambda: gncn.fit(NETWORK, DATA, PLAN.model_copy(update={"batch_size": 2**31 - 1})),
            "batch_size=2,147,483,647 would take at least",
        ),
    ],
)
def test_what_is_said(call, said, monkeypatch):
    monkeypatch.setattr(hardware, "_memory", lambda: 100 << 20)
    with pytest.raises(ConfigError, match=said) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_numpys_whole_numbers_are_the_same_seeds():
    one, other = build(seed=3), build(seed=np.int64(3))
    assert jax.tree.all(jax.tree.map(jnp.array_equal, one, other))
    assert not np.array_equal(
        build(seed=0).connections[0].forward, build(seed=MOST_SEED).connections[0].forward
    )


def test_infinity_is_refused_in_every_precision():
    for kind in (float, np.float16, np.float32, np.float64):
        with pytest.raises(ConfigError, match="x must be at most"):
            check_positive(x=kind("inf"))


def test_memory_is_known_here_and_small_things_fit():
    assert hardware._memory() > 1 << 28
    hardware.refuse_too_large("Nothing", 1, "Go on.")


@pytest.mark.slow
@pytest.mark.parametrize("settler", ["euler", "sequential"])
def test_programs_grow_with_depth_no_faster_than_layers(settler):
    def n_products(depth):
        network = build(gncn.chain((16, *[4] * depth)), n_settle_steps=20, settler=settler)
        return str(jax.make_jaxpr(lambda x: gncn.settle(network, x).latents)(X)).count(
            "dot_general"
        )

    few, many = n_products(20), n_products(40)
    assert many <= 2.1 * few
    assert many <= 40 * 12


NETWORKS = {
    "caltech": [24, 24, 36],
    "digits": [24, 24, 24],
    "fashion-mnist": [24, 28],
    "kmnist": [24, 28],
    "mnist": [24, 28],
    "mnist-rest": [24, 28],
    "paper": [24, 24, 36],
}
BASELINES = ("rae", "gvae", "gvae-cv", "gan-ae", "dsrn")


def train_for_long(preset, *changes):
    """The configuration, and what 500 epochs on digits end with."""
    options = ["data.name='digits'", "training.n_epochs=500", *changes]
    config = gncn.load_config(preset=preset, overrides=options)
    fit = config.kind.train(config, gncn.load_dataset("digits"))
    assert len(fit.history) == 500
    return config, fit


def test_every_preset_is_trained_for_long():
    assert {*preset_names()} == {*NETWORKS, *BASELINES, "gmm"}  # EM has no epochs


@pytest.mark.slow
@pytest.mark.parametrize("preset", BASELINES)
def test_a_long_training_by_backprop_stays_bounded(preset):
    changes = ["training.patience='none'", "backprop.budget=9000"]
    _, fit = train_for_long(preset, *changes)
    weights = [np.abs(leaf).max() for leaf in jax.tree.leaves(fit.network) if eqx.is_array(leaf)]
    assert weights
    assert max(weights) < 100


@pytest.mark.slow
@pytest.mark.parametrize(("preset", "sizes"), NETWORKS.items())
def test_a_long_training_stays_bounded(preset, sizes):
    config, fit = train_for_long(preset, f"network.sizes={sizes}")
    network, data = fit.network, gncn.load_dataset("digits")
    assert all(np.isfinite(record.validation.discrepancy) for record in fit.history)
    lowest, highest = config.training.precision_bounds
    for layer in network.layers:
        values = np.asarray(layer.errors.sharpness(0.25))
        if values.ndim == 2:
            values = np.linalg.eigvalsh(values)
        if layer.layer.likelihood.learns:
            assert (lowest - 1e-3 <= values).all()
            assert (values <= highest + 1e-3).all()
    for connection in network.connections:
        dense = connection.description
        axis = {"sending": 0, "receiving": 1}[dense.norm_axis]
        norms = np.linalg.norm(connection.forward, axis=axis)
        assert (norms <= (dense.max_norm or 1.0) + 1e-3).all()
    settled = gncn.settle(network, data.test.array[:100].astype(np.float32))
    assert all(np.abs(states).max() < 100 for states in settled.latents)


def test_the_memory_that_counts_is_the_devices_or_the_least_that_is_allowed(monkeypatch):
    asked = {"bytes_limit": 7_000}
    device = SimpleNamespace(platform="gpu", memory_stats=lambda: asked)
    with monkeypatch.context() as patch:
        patch.setattr(hardware.jax, "local_devices", lambda: [device])
        assert hardware._memory.__wrapped__() == 7_000
        asked = None
        assert hardware._memory.__wrapped__() is None
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (9_000, 9_000))
    assert hardware._memory.__wrapped__() == 9_000
    monkeypatch.setattr(resource, "getrlimit", lambda _: (resource.RLIM_INFINITY,) * 2)
    assert hardware._memory.__wrapped__() > 9_000


def test_programs_are_kept_where_the_environment_says_or_in_a_folder(monkeypatch, tmp_path):
    told = {}
    monkeypatch.setattr(hardware.jax.config, "update", told.__setitem__)
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    hardware.keep_compiled_programs(tmp_path)
    assert told == {}
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR")
    hardware.keep_compiled_programs(tmp_path)
    assert told["jax_compilation_cache_dir"] == str(tmp_path)
    assert told["jax_persistent_cache_min_compile_time_secs"] == 0


def test_codes_of_a_program_become_single_precision():
    codes = np.arange(6).reshape(3, 2)
    found = jax.jit(lambda given: as_codes(given, 2))(codes)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, codes)
    with pytest.raises(DataError, match=r"shape \(n, 3\)"):
        jax.eval_shape(lambda given: as_codes(given, 3), codes)
