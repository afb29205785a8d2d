"""Write a golden file of each format in which gncn stores something, with what it holds as numbers.

``tests/test_formats.py`` reads the files in ``tests/golden/formats/``.  A released format is never
written again: what is there is refused.  A new format gets a new case here, and its files by::

    python -m tests.golden.stored
"""

import contextlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax.numpy as jnp
import numpy as np
from tests.command import call
from tests.golden import library
from tests.golden.cases import PRESETS, images

import gncn
from gncn.base.locks import LOCK
from gncn.base.tensors import read_tensors
from gncn.runs.assess import MAX_TENSOR_BYTES
from gncn.runs.folder import RunFolder
from gncn.runs.priors import load_mixture
from gncn.runs.train import train
from gncn.study.compare import compare
from gncn.study.journal import read_journal
from gncn.study.plan import load_study
from gncn.study.record import RUNNING, read_record
from gncn.study.reproduce import recorded_study, reproduce
from gncn.study.search import load_search
from gncn.study.specs import RunSpec
from gncn.study.tune import tune
from gncn.training import fit as fitting

FORMATS = Path(__file__).parent / "formats"
NUMBERS = "numbers.json"
Numbers = dict[str, Any]

PLAN = gncn.TrainingConfig(n_epochs=2, batch_size=5, learning_rate=0.02, precision_rate=0.05)
TINY = ("network.sizes=[6,4]", "network.group_size=2", "network.max_norm=[4.0,1.0]")
MEASURED = ["--only=likelihood", "--only=completion", "--only=sparsity", "--components=2"]
MEASURED += ["--samples=100", "--repeats=1", "--curve=100", "--no-other-priors"]
STUDY = """
name = "made"
split = "validation"
trials = 1
[evaluation]
measures = ["likelihood", "sparsity"]
n_components = [2]
n_samples = 100
n_repeats = 1
curve = [100]
other_priors = false
[data.digits]
[models.gncn]
preset = "digits"
settings.training.n_epochs = 2
settings.network = { sizes = [6, 4], group_size = 2, max_norm = [4.0, 1.0] }
"""
SEARCH = """
name = "made"
budget = { trials = 3, random_trials = 2 }
[objective]
columns = ["bce", "top_sparsity"]
combine = "worst"
[data.digits.yardsticks]
bce = 10.0
top_sparsity = 0.2
[models.gncn]
preset = "digits"
settings.training.n_epochs = 1
settings.network.sizes = [6, 6, 6]
space = { "training.learning_rate" = { low = 1e-3, high = 1e-2, log = true } }
"""


def network() -> gncn.Network:
    """An untrained network with learned feedback and a full precision."""
    circuit = gncn.chain(
        (12, 6, 4),
        competition=("columns", "none"),
        group_size=(2, None),
        feedback="learned",
        precision="full",
    )
    return gncn.build(circuit, seed=7, n_settle_steps=5, step_size=0.3)


def data() -> gncn.Dataset:
    """What it learns from."""
    return library.dataset(images(12, 21))


def _reconstructed(model: Any, n_pixels: int = 12) -> Numbers:
    """The reconstructions of two images."""
    x = images(n_pixels, 2, seed=1)
    return {"codes": gncn.encode(model, x), "reconstruct": gncn.reconstruct(model, x)}


def _write_network(folder: Path) -> None:
    gncn.save(gncn.fit(network(), data(), PLAN, seeds=0).network, folder)


def _of_network(folder: Path) -> Numbers:
    model = gncn.load(folder)
    return _reconstructed(model) | library.synapses(model)


def _write_baseline(name: str) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        config = gncn.load_config(preset=name, overrides=PRESETS[name])
        trained = train(config, library.dataset(images(16, 21, seed=5), n_classes=3))
        gncn.save(trained.network, folder)

    return write


def _of_gvae(folder: Path) -> Numbers:
    model, x = gncn.load(folder), jnp.asarray(images(16, 2, seed=1), jnp.float32)
    return {"codes": model.encode(x), "reconstruct": model.reconstruct(x)}


def _of_gmm(folder: Path) -> Numbers:
    model, x = gncn.load(folder), jnp.asarray(images(16, 2, seed=1), jnp.float32)
    return {"log_prob": model.log_prob(x), "decode": model.decode(x)}


def _write_checkpoints(folder: Path) -> None:
    gncn.fit(network(), data(), PLAN, seeds=0, checkpoints=folder)
    shutil.rmtree(folder / "000001")


def _of_checkpoints(folder: Path) -> Numbers:
    """The network after one more epoch of a training that goes on, whatever the versions."""
    then = json.loads((folder / "000002" / "state.json").read_text(encoding="utf-8"))["identity"]
    plan = PLAN.model_copy(update={"n_epochs": 3})
    with mock.patch.object(fitting, "identify", return_value=then):
        fit = gncn.fit(network(), data(), plan, seeds=0, resume_from=folder)
    return _reconstructed(fit.network) | library.history(fit)


def _write_run(folder: Path) -> None:
    arguments = ["train", "--preset=digits", "--epochs=2", "--seed=3", "--trials=2", "--out=run"]
    _command(folder.parent, *arguments, *(f"--set={one}" for one in TINY))
    _command(folder.parent, "evaluate", "run", "--split=test", *MEASURED, "--json")
    (folder.parent / "run").rename(folder)
    shutil.rmtree(folder / "figures")
    for name in ("000001/history.jsonl", "000002/history.jsonl"):
        assert (folder / "checkpoints" / name).exists()
    shutil.rmtree(folder / "checkpoints")  # which have their own format


def _command(where: Path, *arguments: str) -> None:
    with contextlib.chdir(where):
        assert call(arguments, io.StringIO(), io.StringIO()) == 0


def _of_run(folder: Path) -> Numbers:
    run = RunFolder.open(folder)
    about, config = run.about, run.config
    (row,) = compare([folder], split="test").rows
    stored = {
        f"{kind}.{name}": value
        for kind in ("per-image", "pictures")
        for name, value in read_tensors(
            folder / f"{kind}-test.safetensors", MAX_TENSOR_BYTES
        ).items()
    }
    errors = [[getattr(one, s).error for s in ("train", "test")] for one in run.history]
    return {
        "seeds": [*about["seeds"], *config.seeds],
        "epochs_kept": about["epochs_kept"],
        "sizes": config.network.sizes,
        "errors": errors,
        **{f"trial{k}.{n}": v for k in (0, 1) for n, v in _reconstructed(run.model(k), 64).items()},
        "prior": load_mixture(run.trial(0) / "prior.safetensors").log_prob(jnp.ones((1, 4))),
        **{name: [one.mean, one.n_trials] for name, one in row.values.items()},
        **{name: np.sum(value, dtype=np.float64) for name, value in stored.items()},
    }


def _write_study(folder: Path) -> None:
    folder.mkdir()
    (folder / "study.toml").write_text(STUDY, encoding="utf-8")
    study = load_study(folder / "study.toml")
    (made,) = reproduce(study, study.runs(), folder)
    assert made.error is None, made.error
    shutil.rmtree(folder / RUNNING)


def _of_study(folder: Path) -> Numbers:
    record = read_record(folder / "digits" / "gncn-0.json")
    study = load_study(folder / "study.toml")
    # The default number of chains was smaller when this was written.
    evaluation = study.evaluation.model_copy(update={"n_chains": 4})
    assert recorded_study(folder) == study.model_copy(update={"evaluation": evaluation})
    spec = RunSpec(**record.spec)
    assert record.kept is not None
    return {
        "sizes": spec.config.network.sizes,
        "trial": record.trial,
        "history": [record.history.train, record.history.validation, record.history.test],
        "kept": [record.kept.epoch, record.kept.validation.error],
        "bce": record.metrics["bce"],
        "log_likelihood": record.metrics["likelihood"]["mean"],
    }


def _write_search(folder: Path) -> None:
    folder.mkdir()
    (folder / "search.toml").write_text(SEARCH, encoding="utf-8")
    tune(load_search(folder / "search.toml"), "gncn", "digits", folder)
    shutil.rmtree(folder / RUNNING)


def _of_search(folder: Path) -> Numbers:
    study = read_journal(folder / "digits-gncn.journal")
    best = gncn.load_config(file=folder / "digits-gncn-best.toml")
    summary = json.loads((folder / "digits-gncn.json").read_text(encoding="utf-8"))
    assert {trial.state.name for trial in study.trials} == {"COMPLETE"}
    return {
        "rates": [trial.params["training.learning_rate"] for trial in study.trials],
        "values": [trial.value for trial in study.trials],
        "best": [best.training.learning_rate, summary["best"]],
        "bce": [trial.user_attrs["values"]["bce"] for trial in study.trials],
    }


class Stored(NamedTuple):
    """A format.

    Attributes:
        write: writes a folder in it, as gncn does today.
        numbers: what such a folder holds, as numbers.
    """

    write: Callable[[Path], None]
    numbers: Callable[[Path], Numbers]


STORED = {
    "gncn-model-2/gncn": Stored(_write_network, _of_network),
    "gncn-model-2/gvae": Stored(_write_baseline("gvae"), _of_gvae),
    "gncn-model-2/gmm": Stored(_write_baseline("gmm"), _of_gmm),
    "gncn-checkpoint-3": Stored(_write_checkpoints, _of_checkpoints),
    "record-2": Stored(_write_study, _of_study),
    "run": Stored(_write_run, _of_run),
    "search": Stored(_write_search, _of_search),
}
"""Every format by its name; a run folder and a search have no number yet."""


def main() -> None:
    """Write the formats that aren't there yet."""
    for name, stored in STORED.items():
        target = FORMATS / name
        if target.exists():
            print(f"{name}: is there, and stays as it was released")
            continue
        with tempfile.TemporaryDirectory() as temporary:
            made = Path(temporary) / "made"
            stored.write(made)
            for lock in made.rglob(f"{LOCK}*"):
                lock.unlink()
            read = stored.numbers(shutil.copytree(made, Path(temporary) / "read"))
            found = {key: np.asarray(value, np.float64) for key, value in read.items()}
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(made, target)
        lines = (f"{json.dumps(k)}: {json.dumps(_rounded(value))}" for k, value in found.items())
        (target / NUMBERS).write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
        print(f"{name}: written, {size:,} bytes")


def _rounded(values: np.ndarray) -> Any:
    return np.vectorize(lambda one: float(f"{one:.7g}"))(values).tolist()


if __name__ == "__main__":
    main()
