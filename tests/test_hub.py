"""Models on the Hub: what is sent, what is received, and what a stranger may not do.

There is no network: a stand-in of the client keeps repositories as folders.
"""

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import jax
import numpy as np
import pytest
from tests.golden.stored import FORMATS

import gncn
from gncn.base.errors import ConfigError, RunError
from gncn.runs.folder import RunFolder
from gncn.runs.train import train_run

NETWORK = gncn.build(gncn.chain((9, 4, 3)), seed=0, n_settle_steps=3)
IMAGES = (np.random.default_rng(0).random((60, 9)) < 0.4).astype(np.uint8)
DATA = gncn.from_arrays(IMAGES, n_validation=10, n_test=20)


class Hub:
    """Repositories as folders, and what was asked for."""

    def __init__(self, home):
        self.home, self.downloaded, self.sizes, self.options = home, [], {}, {}

    def HfApi(self, **options):  # noqa: N802
        self.options = options
        return self

    def create_repo(self, repo_id, *, private=None, exist_ok=False):
        assert exist_ok
        if repo_id.startswith("others/"):
            raise PermissionError("403 Forbidden.\nYou may not.")
        (self.home / repo_id).mkdir(parents=True, exist_ok=True)

    def upload_folder(
        self, *, repo_id, folder_path, commit_message, allow_patterns, delete_patterns
    ):
        repo = self.home / repo_id
        for pattern in delete_patterns:
            for old in repo.glob(pattern):
                old.unlink()
        for pattern in allow_patterns:
            for path in folder_path.glob(pattern):
                shutil.copy(path, repo)
        return SimpleNamespace(commit_url=f"commit of {repo_id}")

    def model_info(self, repo_id, *, revision=None, files_metadata=False):
        assert files_metadata
        if not (self.home / repo_id).is_dir():
            raise OSError("404 Client Error. (Request ID: 1)\n\nRepository Not Found")
        files = [
            SimpleNamespace(rfilename=p.name, size=self.sizes.get(p.name, p.stat().st_size))
            for p in (self.home / repo_id).iterdir()
        ]
        return SimpleNamespace(sha="c0ffee", siblings=files)

    def snapshot_download(self, repo_id, *, revision, allow_patterns):
        assert revision == "c0ffee"
        self.downloaded += allow_patterns
        snapshot = self.home / "snapshots" / repo_id
        snapshot.mkdir(parents=True, exist_ok=True)
        for pattern in allow_patterns:
            for path in (self.home / repo_id).glob(pattern):
                link = snapshot / path.name
                link.unlink(missing_ok=True)
                link.symlink_to(path)  # as the client's cache has them
        return str(snapshot)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    made, module = Hub(tmp_path / "hub"), ModuleType("huggingface_hub")
    module.__spec__, module.HfApi = object(), made.HfApi
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return made


def same(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_array_equal(x, y)


def test_a_network_comes_back(hub):
    assert gncn.push_to_hub(NETWORK, "me/net", licence="mit", token="t") == "commit of me/net"
    assert hub.options["token"] == "t"
    names = sorted(path.name for path in (hub.home / "me" / "net").iterdir())
    assert [names[0], *names[2:]] == ["README.md", "model.json"]
    assert names[1].startswith("model-")
    assert hub.downloaded == []
    found = gncn.from_pretrained("me/net")
    same(found, NETWORK)
    assert found.circuit == NETWORK.circuit
    assert hub.downloaded == ["model.json", names[1]]


def test_the_card_says_what_it_is_and_its_snippet_runs(hub):
    measured = gncn.evaluate(NETWORK, DATA, only=["sparsity"])
    gncn.push_to_hub(NETWORK, "me/net_1", licence="apache-2.0", measured=measured)
    card = (hub.home / "me" / "net_1" / "README.md").read_text(encoding="utf-8")
    assert card.startswith("---\nlicense: apache-2.0\nlibrary_name: gncn\n")
    assert "# net\\_1" in card or "# net_1" in card
    assert "of 9-4-3 neurons, 48 synapses" in card or "of 9-4-3 neurons" in card
    assert f"{measured['bce']:.2f} nats" in card
    assert "Measured on 10 validation images" in card
    snippet = card.partition("```python\n")[2].partition("```")[0]
    names = {}
    exec(snippet, names)
    same(names["model"], NETWORK)


@pytest.mark.slow
def test_a_run_goes_with_its_settings_and_numbers_but_not_its_places(hub, tmp_path):
    np.save(tmp_path / "mine.npy", IMAGES)
    config = gncn.Config(
        data={"name": str(tmp_path / "mine.npy")},
        network={"sizes": (4, 2), "competition": "columns", "group_size": 2},
        training={"n_epochs": 1, "batch_size": 20},
    )
    data = config.data.load()
    folder = RunFolder.create(tmp_path / "run", config, data, overwrite=False)
    train_run(folder, config, data)
    measured = gncn.evaluate(folder.path, only=["sparsity"], split="test")
    gncn.push_to_hub(folder.path, "me/run", licence="mit")
    repo = hub.home / "me" / "run"
    assert str(tmp_path) not in "".join(
        path.read_text(encoding="utf-8") for path in repo.iterdir() if path.suffix != ".safetensors"
    )
    assert 'name = "mine.npy"' in (repo / "config.toml").read_text(encoding="utf-8")
    numbers = json.loads((repo / "metrics-test.json").read_text(encoding="utf-8"))
    assert numbers["bce"] == measured["bce"]
    card = (repo / "README.md").read_text(encoding="utf-8")
    assert "Trained on mine (licence of the data: yours)" in card
    assert f"{measured['bce']:.2f} nats" in card
    same(gncn.from_pretrained("me/run"), folder.model())
    gncn.save(config.model_copy(update={"seed": 9}).models(data)[0], folder.trial(0))
    gncn.push_to_hub(folder.path, "me/run", licence="mit")  # its numbers are another model's
    assert not (repo / "metrics-test.json").exists()


def test_a_stored_run_goes_with_the_numbers_of_its_own_model_alone(hub, tmp_path):
    folder = shutil.copytree(FORMATS / "run", tmp_path / "run")
    numbers = json.loads((folder / "metrics-test.json").read_text(encoding="utf-8"))
    others = json.dumps(numbers | {"model": "0123456789ab", "split": "validation"})
    gncn.push_to_hub(str(folder), "me/run", licence="mit")
    repo = hub.home / "me" / "run"
    before = {path.name: path.read_bytes() for path in repo.iterdir()}
    (folder / "metrics-validation.json").write_text(others, encoding="utf-8")
    gncn.push_to_hub(str(folder), "me/run", licence="mit")
    assert {path.name: path.read_bytes() for path in repo.iterdir()} == before
    assert json.loads((repo / "metrics-test.json").read_text(encoding="utf-8")) == numbers
    assert 'name = "digits"' in (repo / "config.toml").read_text(encoding="utf-8")
    card = (repo / "README.md").read_text(encoding="utf-8")
    assert f"{numbers['bce']:.2f} nats" in card
    assert "Measured on 297 test images" in card
    same(gncn.from_pretrained("me/run"), gncn.load(folder))


def test_another_model_takes_the_place_of_the_first(hub):
    gncn.push_to_hub(NETWORK, "me/net", licence="mit")
    other = gncn.build(gncn.chain((9, 4, 3)), seed=1, n_settle_steps=3)
    gncn.push_to_hub(other, "me/net", licence="mit")
    assert len(list((hub.home / "me" / "net").glob("model-*"))) == 1
    same(gncn.from_pretrained("me/net"), other)


@pytest.mark.slow
def test_estimators_send_their_model(hub):
    fitted = gncn.GNCN(sizes=(4,), group_size=2, n_epochs=1).fit(IMAGES)
    gncn.push_to_hub(fitted, "me/est", licence="mit")
    same(gncn.from_pretrained("me/est"), fitted.model_)


def harmed(repo, **changes):
    path = repo / "model.json"
    about = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(about), encoding="utf-8")


def test_what_a_stranger_sends_is_looked_at_before_more_is_downloaded(hub):
    gncn.push_to_hub(NETWORK, "me/net", licence="mit")
    repo = hub.home / "me" / "net"
    (arrays,) = [path.name for path in repo.glob("model-*")]
    hub.sizes = {"model.json": 1 << 40}
    with pytest.raises(RunError, match=r"model\.json of 'me/net' has 1099511627776 bytes"):
        gncn.from_pretrained("me/net")
    assert hub.downloaded == []
    for size in (1 << 30, None):
        hub.sizes = {arrays: size}
        with pytest.raises(RunError, match="are the most that this model may have"):
            gncn.from_pretrained("me/net")
    assert set(hub.downloaded) == {"model.json"}
    hub.sizes = {}
    for name in ("*", "../../secret", "model-?.safetensors"):
        harmed(repo, tensors=name)
        with pytest.raises(RunError, match="names arrays outside its folder"):
            gncn.from_pretrained("me/net")
    harmed(repo, tensors="none.safetensors")
    with pytest.raises(RunError, match="has no none.safetensors"):
        gncn.from_pretrained("me/net")
    assert set(hub.downloaded) == {"model.json"}
    harmed(repo, tensors=arrays)
    (repo / arrays).write_bytes((repo / arrays).read_bytes()[:-4] + b"evil")
    with pytest.raises(RunError, match="damaged or altered"):
        gncn.from_pretrained("me/net")
    harmed(repo, format="pickle")
    with pytest.raises(RunError, match="must say format"):
        gncn.from_pretrained("me/net")
    (repo / "model.json").unlink()
    with pytest.raises(RunError, match=r"has no model\.json, so it holds no model of gncn"):
        gncn.from_pretrained("me/net")


def test_what_the_hub_refuses_is_one_sentence(hub):
    with pytest.raises(RunError, match=r"^Can't load .* 'me/none': 404 Client Error.*1\)\.$"):
        gncn.from_pretrained("me/none")
    with pytest.raises(RunError, match=r"^Can't send the model to 'others/x': 403 Forbidden\.$"):
        gncn.push_to_hub(NETWORK, "others/x", licence="mit")
    with pytest.raises(ConfigError, match="licence must be a name"):
        gncn.push_to_hub(NETWORK, "me/x", licence="mit\nevil: true")
    with pytest.raises(RunError, match="can't be saved"):
        gncn.push_to_hub(3, "me/x", licence="mit")


def test_without_the_package_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    for call in (
        lambda: gncn.from_pretrained("me/x"),
        lambda: gncn.push_to_hub(NETWORK, "me/x", licence="mit"),
    ):
        with pytest.raises(ConfigError, match=r"huggingface-hub.*pip install 'gncn\[hub\]'"):
            call()


def test_the_client_has_what_is_called():
    """The arguments that the stand-in takes are the real client's."""
    import inspect

    api = pytest.importorskip("huggingface_hub").HfApi
    for name in ("create_repo", "upload_folder", "model_info", "snapshot_download"):
        own = inspect.signature(getattr(Hub, name)).parameters
        assert own.keys() <= inspect.signature(getattr(api, name)).parameters.keys()
    assert {"token", "library_name", "library_version"} <= inspect.signature(api).parameters.keys()
