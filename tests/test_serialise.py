"""Saving and loading: the same bits back, and no trust in files from strangers."""

import contextlib
import dataclasses
import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

import gncn
from budget import examples
from gncn.base.errors import ConfigError, RunError
from gncn.base.files import sha256, write_atomic
from gncn.base.tensors import with_arrays
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.runs import model_files, priors
from gncn.runs.priors import load_mixture, save_mixture
from nets import cases


def circuit(mask):
    return gncn.chain(
        (6, 4, 4),
        competition=("columns", "matrix"),
        group_size=(2, None),
        mask=(None, mask),
        precision="full",
        norm="clipped",
        max_norm=(4.0, 1.0),
    )


def mask_of(network):
    return network.circuit.layers[2].competition.mask.values


@pytest.fixture(scope="module")
def network():
    return gncn.build(
        circuit(np.ones((4, 4))), seed=0, n_settle_steps=7, tolerance=0.25, products="bfloat16"
    )


@pytest.fixture
def saved(tmp_path, network):
    gncn.save(network, tmp_path / "net")
    return network, tmp_path / "net"


@settings(max_examples=examples(20))
@given(data=st.data())
def test_what_is_loaded_is_what_was_saved(tmp_path_factory, data):
    case = data.draw(cases())
    network, x = case.build()
    folder = tmp_path_factory.mktemp("saved")
    gncn.save(network, folder)
    again = gncn.load(folder)
    assert again.circuit == network.circuit
    assert again.settler == network.settler
    a, b = jax.tree.flatten(network), jax.tree.flatten(again)
    assert a[1] == b[1]
    for old, new in zip(a[0], b[0], strict=True):
        np.testing.assert_array_equal(old, new)
    np.testing.assert_array_equal(gncn.reconstruct(network, x), gncn.reconstruct(again, x))


def test_tolerance_and_products_are_kept(saved):
    network, folder = saved
    again = gncn.load(folder)
    assert again.settler == network.settler
    assert (again.settler.tolerance, again.settler.products) == (0.25, "bfloat16")
    x = np.zeros((2, 6))
    assert gncn.settle(again, x).converged is not None


def test_saving_again_replaces_and_leaves_one_pair_of_files_and_the_lock(saved):
    _, folder = saved
    gncn.save(gncn.build(circuit(np.zeros((4, 4))), seed=9), folder)
    assert sorted(path.suffix for path in folder.iterdir()) == ["", ".json", ".safetensors"]
    np.testing.assert_array_equal(mask_of(gncn.load(folder)), np.zeros((4, 4)))


@pytest.mark.parametrize("unwritten", [".safetensors", ".json"])
def test_a_kill_before_either_file_leaves_the_old_network(saved, monkeypatch, unwritten):
    _, folder = saved

    def killed(path, content):
        if path.suffix == unwritten:
            raise KeyboardInterrupt
        write_atomic(path, content)

    monkeypatch.setattr("gncn.runs.model_files.write_atomic", killed)
    with pytest.raises(KeyboardInterrupt):
        gncn.save(gncn.build(circuit(np.zeros((4, 4))), seed=9), folder)
    np.testing.assert_array_equal(mask_of(gncn.load(folder)), np.ones((4, 4)))


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
    description = json.loads(path.read_text(encoding="utf-8"))
    change(description)
    path.write_text(json.dumps(description), encoding="utf-8")


def circuit_of(whole):
    return whole["description"]["circuit"]


def layer(whole, index=1):
    return circuit_of(whole)["layers"][index]


def connection(whole):
    return circuit_of(whole)["connections"][0]


def put_tensors(folder, change):
    description = json.loads((folder / "model.json").read_text(encoding="utf-8"))
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
        (lambda f: (f / "model.json").write_text("{", encoding="utf-8"), "not JSON"),
        (
            lambda f: (f / "model.json").write_text("[1]", encoding="utf-8"),
            "must hold a JSON object",
        ),
        (lambda f: (f / "model.json").write_text("[" * 200_000, encoding="utf-8"), "not JSON"),
        (lambda f: edit(f, lambda d: d.update(tensors="x" * 5000)), "Can't read xxx.*too long"),
        (
            lambda f: edit(f, lambda d: circuit_of(d).update(initial_state=float("nan"))),
            "initial_state: .*finite",
        ),
        (
            lambda f: edit(f, lambda d: d.update(format="gncn-network-1")),
            "format 'gncn-network-1', which.*Train the model again, or load it with gncn at commit",
        ),
        (
            lambda f: edit(f, lambda d: layer(d).update(competition={"kind": "ring", "reach": 2})),
            "has the competition 'ring', which this.*gncn.register\\('competition', 'ring', ",
        ),
        (
            lambda f: edit(f, lambda d: layer(d).update(activation="swish")),
            "has the activation 'swish', which this.*gncn.register\\('activation', 'swish', ",
        ),
        (
            lambda f: edit(f, lambda d: layer(d).update(likelihood="poisson")),
            "has the likelihood 'poisson', which this installation",
        ),
        (
            lambda f: edit(f, lambda d: connection(d).update(kind="convolution")),
            "has the connection 'convolution', which this installation",
        ),
        (
            lambda f: edit(f, lambda d: d["description"].update(settler={"kind": "adam"})),
            "has the settler 'adam', which this installation",
        ),
        (
            lambda f: edit(f, lambda d: layer(d, 2)["competition"].update(mask="AAAA")),
            "mask's text can't be unpacked",
        ),
        (
            lambda f: edit(f, lambda d: layer(d).update(size=10**18 + 1)),
            "size: .* less than or equal to 16777216",
        ),
        (
            lambda f: put_tensors(
                f, lambda a: a.update({"layers.2.step_size": np.array(-1, np.float32)})
            ),
            "step sizes must be above 0; layer 2 has -1.0",
        ),
        (lambda f: os.truncate(f / "model.json", (1 << 26) + 1), "larger than"),
        (lambda f: edit(f, lambda d: d.update(format="pickle")), "it says 'pickle'"),
        (lambda f: edit(f, lambda d: d.update(description=9)), "needs 'description' of type dict"),
        (
            lambda f: edit(f, lambda d: d["description"]["settler"].update(n_settle_steps=0)),
            "n_settle_steps: .* greater than or equal to 1",
        ),
        (
            lambda f: edit(f, lambda d: d["description"]["settler"].update(tolerance=-1.0)),
            "tolerance: .* greater than 0; received -1.0",
        ),
        (
            lambda f: edit(f, lambda d: d["description"]["settler"].update(products="int8")),
            "'bfloat16'; received 'int8'",
        ),
        (lambda f: edit(f, lambda d: d.update(note="hi")), "the unknown key 'note'; known are"),
        (
            lambda f: edit(f, lambda d: d["description"].update(note="hi")),
            "described by 'circuit' and 'settler'; received 'circuit', 'settler', 'note'",
        ),
        (
            lambda f: edit(f, lambda d: d["description"].pop("settler")),
            "described by 'circuit' and 'settler'; received 'circuit'",
        ),
        (lambda f: edit(f, lambda d: d.update(tensors="../x")), "outside its folder"),
        (lambda f: edit(f, lambda d: d.update(tensors="gone.safetensors")), "No such file"),
        (lambda f: edit(f, lambda d: d.update(sha256="0" * 64)), "damaged or altered"),
        (
            lambda f: edit(f, lambda d: connection(d).update(feedback="x")),
            "that can be loaded: .*feedback 'x'",
        ),
        (
            lambda f: edit(f, lambda d: circuit_of(d).update({"extra": 1})),
            "Unknown option 'extra'",
        ),
        (
            lambda f: put_tensors(f, lambda a: a.pop("connections.0.forward")),
            r"missing \['connections.0.forward'\]",
        ),
        (
            lambda f: put_tensors(f, lambda a: a.update(evil=np.zeros(1, np.float32))),
            r"unknown \['evil'\]",
        ),
        (
            lambda f: put_tensors(
                f,
                lambda a: a.update(
                    {"layers.1.errors.precision.matrix": np.zeros((3, 4), np.float32)}
                ),
            ),
            r"layers.1.errors.precision.matrix must be float32 of shape \(4, 4\)",
        ),
        (
            lambda f: put_tensors(
                f, lambda a: a.update({"layers.1.leak": np.array(np.nan, np.float32)})
            ),
            "layers.1.leak holds values that are not finite",
        ),
    ],
)
def test_damaged_files_are_refused(saved, harm, message):
    _, folder = saved
    harm(folder)
    with pytest.raises(RunError, match=message):
        gncn.load(folder)


@pytest.mark.parametrize("folder", [None, 3, b"net"])
def test_a_folder_that_is_no_path_is_named(saved, folder, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # as for users
    for use in (gncn.load, lambda place: gncn.save(saved[0], place)):
        with pytest.raises(ConfigError, match=f"given as a path.*received {folder!r}"):
            use(folder)


def test_a_truncated_file_is_refused(saved):
    _, folder = saved
    path = next(folder.glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(RunError, match="damaged or altered"):
        gncn.load(folder)


def everything_in(value):
    """Every object and list in a JSON value, the value included."""
    if isinstance(value, dict | list):
        yield value
        for one in value.values() if isinstance(value, dict) else value:
            yield from everything_in(one)


@settings(max_examples=examples(50))
@given(data=st.data())
def test_no_description_does_worse_than_to_be_refused(tmp_path_factory, data):
    """Whatever a stranger writes in place of one value, loading says `RunError` or succeeds."""
    folder = tmp_path_factory.mktemp("strange")
    gncn.save(gncn.build(circuit(np.ones((4, 4))), seed=0), folder)
    whole = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    place = data.draw(st.sampled_from(list(everything_in(whole["description"]))))
    keys = list(place) if isinstance(place, dict) else range(len(place))
    if keys:
        strange = [None, -1, 0, 10**30, 1e300, True, "", "x", [], [[1]], {}, {"kind": []}]
        place[data.draw(st.sampled_from(keys))] = data.draw(st.sampled_from(strange))
    (folder / "model.json").write_text(json.dumps(whole), encoding="utf-8")
    with contextlib.suppress(RunError):
        gncn.load(folder)


@pytest.mark.parametrize("option", ["activation", "prediction_activation"])
def test_an_unnamed_callable_cannot_be_saved(tmp_path, option):
    network = gncn.build(gncn.chain((3, 2, 2), **{option: jnp.sin}), seed=0)
    with pytest.raises(ConfigError, match=r"no name to be saved.*gncn.register\('activation'"):
        gncn.save(network, tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda w: w.at[0, 0].set(jnp.nan), "connections.0.forward holds values that are not fin"),
        (lambda w: w.at[0, 0].set(jnp.inf), "connections.0.forward holds values that are not fin"),
        (lambda w: np.asarray(w, np.float64), "must be float32.*received float64"),
        (lambda w: w[None], r"shape \(6, 4\); received float32 of shape \(1, 6, 4\)"),
    ],
)
def test_what_could_not_be_loaded_is_not_saved_and_replaces_nothing(saved, harm, message):
    network, folder = saved
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    where = lambda n: n.connections[0].forward  # noqa: E731
    with pytest.raises(RunError, match=f"This Network can't be saved.*{message}"):
        gncn.save(eqx.tree_at(where, network, harm(where(network))), folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("covariance", ["full", "diagonal"])
def test_mixtures_come_back_to_the_bit(tmp_path, covariance):
    codes = np.random.default_rng(0).normal(size=(60, 3))
    mixture = fit_mixture(codes, 2, covariance).mixture
    save_mixture(mixture, tmp_path / "prior.safetensors")
    again = load_mixture(tmp_path / "prior.safetensors")
    assert again.covariance == covariance
    for old, new in zip(jax.tree.leaves(mixture), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("size", [2, 4])
def test_a_mixture_whose_matrices_do_not_fit_its_means_is_not_saved(tmp_path, size):
    """Only a triangle of each matrix is saved, and it would have fitted."""
    matrices = jnp.broadcast_to(jnp.eye(size), (2, size, size))
    mixture = Mixture(jnp.zeros(2), jnp.zeros((2, 3)), matrices, "full")
    with pytest.raises(RunError, match=r"whitening must be float32 of shape \(2, 3, 3\)"):
        save_mixture(mixture, tmp_path / "prior.safetensors")


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


def test_a_mixture_that_is_replaced_while_it_is_read_is_the_old_one(tmp_path, monkeypatch):
    codes, path = np.random.default_rng(0).normal(size=(60, 3)), tmp_path / "prior.safetensors"
    old, new = (fit_mixture(codes, n, "diagonal").mixture for n in (2, 3))
    save_mixture(old, path)
    described = priors._described

    def replaced(*arguments):
        skeleton = described(*arguments)
        save_mixture(new, path)
        return skeleton

    monkeypatch.setattr(priors, "_described", replaced)
    assert load_mixture(path).n_components == 2
    assert load_mixture(path).n_components == 3


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (lambda n: n.layers[1].step_size, 0.0, "step sizes must be above 0; layer 1 has 0.0"),
        (lambda n: n.layers[2].leak, -1.0, "leak must be at least 0; layer 2 has -1.0"),
        (
            lambda n: n.layers[1].lateral_inhibition,
            -0.5,
            "lateral_inhibition must be at least 0; layer 1 has -0.5",
        ),
        (
            lambda n: n.layers[1].errors.precision.matrix,
            -np.eye(4),
            "precision of layer 1 is not positive definite",
        ),
    ],
)
def test_numbers_with_which_a_network_cannot_settle_are_not_saved(saved, where, value, message):
    network, folder = saved
    harmed = eqx.tree_at(where, network, jnp.asarray(value, jnp.float32))
    with pytest.raises(RunError, match=message):
        gncn.save(harmed, folder)
    assert gncn.load(folder).circuit == network.circuit


def test_what_a_description_does_not_say_is_not_saved(tmp_path, network):
    layer = network.layers[1]
    compared = "activity" if layer.compared == "state" else "state"
    odd = eqx.tree_at(lambda n: n.layers[1], network, dataclasses.replace(layer, compared=compared))
    with pytest.raises(RunError, match="description doesn't say all that it is"):
        gncn.save(odd, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_description_holds_no_number_that_json_lacks(tmp_path, network):
    circuit = network.circuit.model_copy(update={"initial_state": float("nan")})
    odd = dataclasses.replace(network, circuit=circuit)
    with pytest.raises(ConfigError, match="This Network can't be saved: .*JSON compliant"):
        gncn.save(odd, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_description_that_could_not_be_read_again_is_not_saved(saved, monkeypatch):
    network, folder = saved
    n_bytes = (folder / "model.json").stat().st_size
    monkeypatch.setattr(model_files, "MAX_DESCRIPTION_BYTES", n_bytes)
    gncn.save(network, folder)
    monkeypatch.setattr(model_files, "MAX_DESCRIPTION_BYTES", n_bytes - 1)
    with pytest.raises(RunError, match=f"description has {n_bytes:,} bytes, and {n_bytes - 1:,}"):
        gncn.save(network, folder)


def test_masks_that_unpack_to_too_much_are_refused(saved, monkeypatch):
    _, folder = saved
    monkeypatch.setattr(model_files, "MAX_MASK_BYTES", 4 * 4 * 4)  # one of 4 neurons, in float32
    gncn.load(folder)
    monkeypatch.setattr(model_files, "MAX_MASK_BYTES", 4 * 4 * 4 - 1)
    with pytest.raises(RunError, match="masks have more than 63 bytes, the most they may"):
        gncn.load(folder)


def test_a_model_that_is_replaced_while_it_is_read_is_read_again(saved, monkeypatch):
    network, folder = saved
    other = gncn.build(gncn.chain((3, 2)), seed=0)
    read = model_files._read_tensors

    def replaced(*arguments):
        monkeypatch.setattr(model_files, "_read_tensors", read)
        gncn.save(other, folder)  # which removes the file that is about to be read
        return read(*arguments)

    monkeypatch.setattr(model_files, "_read_tensors", replaced)
    assert gncn.load(folder).circuit == other.circuit != network.circuit


def test_arrays_go_back_into_a_tree_and_all_else_stays():
    key = jax.random.key(3)
    tree = {"own": np.zeros(2), "key": key, "number": 5, "word": "as it was"}
    arrays = {"own": np.array([1.0, 2.0]), "key": np.asarray(jax.random.key_data(key))}
    found = with_arrays("The tree", arrays, tree)
    assert (found["number"], found["word"]) == (5, "as it was")
    assert found["own"].tolist() == [1.0, 2.0]
    assert jax.random.key_data(found["key"]).tolist() == arrays["key"].tolist()
