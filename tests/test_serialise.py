"""Saving and loading: the same bits back, and no trust in files from strangers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import gncn
from gncn.base.errors import ConfigError, RunError
from gncn.base.files import sha256, write_atomic
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.runs.priors import load_mixture, save_mixture
from nets import cases


@pytest.fixture
def saved(tmp_path):
    circuit = gncn.chain(
        (6, 4, 4),
        competition=("columns", "matrix"),
        group_size=(2, None),
        precision="full",
        norm="clipped",
        max_norm=(4.0, 1.0),
    )
    network = gncn.build(
        circuit,
        seed=0,
        n_settle_steps=7,
        tolerance=0.25,
        products="bfloat16",
        lateral_masks={2: np.ones((4, 4))},
    )
    gncn.save(network, tmp_path / "net")
    return network, tmp_path / "net"


@pytest.mark.parametrize("start", ["constant", "amortised"])
@settings(max_examples=20)
@given(data=st.data())
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, start, data):
    case = data.draw(cases(start=start))
    network, x = case.build()
    folder = tmp_path_factory.mktemp("saved")
    gncn.save(network, folder)
    again = gncn.load(folder)
    assert again.circuit == network.circuit
    assert again.settling == network.settling
    a, b = jax.tree.flatten(network), jax.tree.flatten(again)
    assert a[1] == b[1]
    for old, new in zip(a[0], b[0], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(gncn.reconstruct(network, x), gncn.reconstruct(again, x))


def test_tolerance_and_products_are_kept(saved):
    network, folder = saved
    again = gncn.load(folder)
    assert again.settling == network.settling
    assert (again.settling.tolerance, again.settling.products) == (0.25, "bfloat16")
    x = np.zeros((2, 6))
    assert gncn.settle(again, x).converged is not None


def test_saving_again_replaces_and_leaves_one_pair_of_files(saved):
    network, folder = saved
    other = gncn.build(network.circuit, seed=9, lateral_masks={2: np.zeros((4, 4))})
    gncn.save(other, folder)
    assert sorted(path.suffix for path in folder.iterdir()) == [".json", ".safetensors"]
    np.testing.assert_array_equal(gncn.load(folder).lateral_masks[2], np.zeros((4, 4)))


def test_a_kill_between_the_two_files_leaves_the_old_network(saved, monkeypatch):
    network, folder = saved

    def killed(path, content):
        if path.suffix == ".json":
            raise KeyboardInterrupt
        write_atomic(path, content)

    monkeypatch.setattr("gncn.runs.model_files.write_atomic", killed)
    other = gncn.build(network.circuit, seed=9, lateral_masks={2: np.zeros((4, 4))})
    with pytest.raises(KeyboardInterrupt):
        gncn.save(other, folder)
    np.testing.assert_array_equal(gncn.load(folder).lateral_masks[2], np.ones((4, 4)))


def test_a_full_disk_is_told_and_loses_nothing(saved, monkeypatch):
    network, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gncn.base.files.os.fsync", full)
    with pytest.raises(RunError, match="No space left on device.*unchanged"):
        gncn.save(network, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def edit(folder, change):
    path = folder / "model.json"
    description = json.loads(path.read_text())
    change(description)
    path.write_text(json.dumps(description))


def put_tensors(folder, change):
    description = json.loads((folder / "model.json").read_text())
    path = folder / description["tensors"]
    arrays = load_tensors(path.read_bytes())
    change(arrays)
    content = save_tensors(arrays)
    path.write_bytes(content)
    edit(folder, lambda d: d.update(sha256=sha256(content)))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: (f / "model.json").unlink(), "no model"),
        (lambda f: (f / "model.json").write_text("{"), "not JSON"),
        (lambda f: (f / "model.json").write_text("[1]"), "must hold a JSON object"),
        (lambda f: (f / "model.json").write_text("[" * 200_000), "not JSON"),
        (lambda f: edit(f, lambda d: d.update(tensors="x" * 5000)), "Can't read xxx.*too long"),
        (
            lambda f: edit(f, lambda d: d["description"]["circuit"].update(initial_state=float("nan"))),
            "initial_state: .*finite",
        ),
        (
            lambda f: edit(f, lambda d: d["description"]["circuit"]["layers"][1].update(size=10**18 + 1)),
            "size: .* less than or equal to 16777216",
        ),
        (
            lambda f: put_tensors(
                f, lambda a: a.update({"dynamics.step_size": np.array([0.1, -1], np.float32)})
            ),
            "step sizes must be above 0",
        ),
        (lambda f: (f / "model.json").write_bytes(b"x" * (2 << 20)), "larger than"),
        (lambda f: edit(f, lambda d: d.update(format="pickle")), "it says 'pickle'"),
        (lambda f: edit(f, lambda d: d.update(description=9)), "needs 'description' of type dict"),
        (
            lambda f: edit(f, lambda d: d["description"]["settling"].update(n_settle_steps=0)),
            "n_settle_steps: .* greater than or equal to 1",
        ),
        (
            lambda f: edit(f, lambda d: d["description"]["settling"].update(tolerance=-1.0)),
            "tolerance: .* greater than 0; received -1.0",
        ),
        (
            lambda f: edit(f, lambda d: d["description"]["settling"].update(products="int8")),
            "'bfloat16'; received 'int8'",
        ),
        (lambda f: edit(f, lambda d: d.update(tensors="../x")), "outside its folder"),
        (lambda f: edit(f, lambda d: d.update(tensors="gone.safetensors")), "No such file"),
        (lambda f: edit(f, lambda d: d.update(sha256="0" * 64)), "damaged or altered"),
        (
            lambda f: edit(f, lambda d: d["description"]["circuit"].update(feedback="x")),
            "that can be loaded: Circuit.feedback",
        ),
        (lambda f: edit(f, lambda d: d["description"]["circuit"].update({"extra": 1})), "Unknown option 'extra'"),
        (
            lambda f: put_tensors(f, lambda a: a.pop("forward_weights.0")),
            r"missing \['forward_weights.0'\]",
        ),
        (
            lambda f: put_tensors(f, lambda a: a.update(evil=np.zeros(1, np.float32))),
            r"unknown \['evil'\]",
        ),
        (
            lambda f: put_tensors(
                f, lambda a: a.update({"precision.1": np.zeros((3, 4), np.float32)})
            ),
            r"precision.1 must be float32 of shape \(4, 4\)",
        ),
        (
            lambda f: put_tensors(
                f, lambda a: a.update({"dynamics.leak": np.array([np.nan, 0], np.float32)})
            ),
            "dynamics.leak holds values that are not finite",
        ),
    ],
)
def test_damaged_files_are_refused(saved, harm, message):
    _, folder = saved
    harm(folder)
    with pytest.raises(RunError, match=message):
        gncn.load(folder)


def test_a_truncated_file_is_refused(saved):
    _, folder = saved
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunError, match="damaged or altered"):
        gncn.load(folder)


def test_an_unnamed_callable_cannot_be_saved(tmp_path):
    network = gncn.build(gncn.chain((3, 2), activation=jnp.sin), seed=0)
    with pytest.raises(ConfigError, match="register_activation"):
        gncn.save(network, tmp_path)


@pytest.mark.parametrize("covariance", ["full", "tied", "diagonal", "spherical"])
def test_mixtures_come_back_to_the_bit(tmp_path, covariance):
    codes = np.random.default_rng(0).normal(size=(60, 3))
    mixture = fit_mixture(codes, 2, covariance).mixture
    save_mixture(mixture, tmp_path / "prior.safetensors")
    again = load_mixture(tmp_path / "prior.safetensors")
    assert again.covariance == covariance
    for old, new in zip(jax.tree.leaves(mixture), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize(
    ("change", "metadata", "message"),
    [
        ({}, {"covariance": "round"}, "name its covariance.*'round'"),
        ({}, None, "name its covariance.*None"),
        ({"more": np.zeros(1, np.float32)}, {"covariance": "diagonal"}, "found.*more"),
        ({"means": np.zeros(3, np.float32)}, {"covariance": "diagonal"}, "means must be a matrix"),
        ({"logits": np.zeros(3, np.float32)}, {"covariance": "diagonal"}, r"shape \(2,\)"),
        ({"whitening": np.zeros(2, np.float32)}, {"covariance": "diagonal"}, r"shape \(2, 3\)"),
        ({"whitening": np.ones((2, 3, 3), np.float32)}, {"covariance": "full"}, r"shape \(2, 6\)"),
        ({"means": np.full((2, 3), np.nan, np.float32)}, {"covariance": "diagonal"}, "not finite"),
    ],
)
def test_mixtures_from_strangers_are_checked(tmp_path, change, metadata, message):
    arrays = {
        "logits": np.zeros(2, np.float32),
        "means": np.zeros((2, 3), np.float32),
        "whitening": np.ones((2, 3), np.float32),
    }
    path = tmp_path / "prior.safetensors"
    path.write_bytes(save_tensors(arrays | change, metadata=metadata))
    with pytest.raises(RunError, match=message):
        load_mixture(path)
    path.write_bytes(b"not tensors")
    with pytest.raises(RunError, match="holds no mixture"):
        load_mixture(path)
