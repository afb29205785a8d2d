"""Records made by hand: numbers are the test's, pictures are of random pixels."""

import numpy as np

from gncn.data import Dataset, Split
from gncn.study.paper import PUBLISHED
from gncn.study.pictures import pack_pictures
from gncn.study.plan import Study
from gncn.study.record import Earlier, Fixed, History, Record
from gncn.training.history import EpochRecord, SplitRecord

MODELS = ("gmm", "rae", "gvae-cv", "gvae", "gan-ae", "gncn", "dsrn")
SIDE = 28


def study(data=("mnist",), models=MODELS, trials=2, **options):
    return Study(
        name="made",
        title="A study made by hand",
        trials=trials,
        data={name: {"title": name.upper()} for name in data},
        models={name: {"title": name.upper(), "preset": name} for name in models},
        **options,
    )


def epochs(values, split="test", name="bce"):
    def at(value):
        return SplitRecord(error=value, discrepancy=-value, layer_discrepancy=(), sparsity=())

    return tuple(
        EpochRecord(
            trial=0,
            epoch=number,
            error_name=name,
            seconds=1.0,
            train=at(value + 1),
            validation=at(value if split == "validation" else value + 2),
            test=at(value if split == "test" else value + 3),
        )
        for number, value in enumerate(values, start=1)
    )


def record(model, data="mnist", trial=0, *, bce=(), metrics=None, name=None, **fields):
    """A finished run; `bce` after each epoch, the last of which is kept."""
    done = epochs(bce, name="error_percent" if model == "dsrn" else "bce")
    given = {
        "status": "finished",
        "model": model,
        "data": data,
        "trial": trial,
        "spec": {"split": "test", "config": {"model": model}},
        "started": "2026-01-01T00:00:00+00:00",
        "finished": "2026-01-01T01:00:00+00:00",
        "seconds": {"training": 60.0, "evaluation": 30.0, "total": 90.0},
        "versions": {"gncn": "0.1.0"},
        "source": "0123456789ab",
        "hardware": {"machine": "abacus", "cpus": 2},
        "dataset": {
            "name": name or data,
            "fingerprint": "f",
            "images": {"train": 7000, "validation": 1000, "test": 2000},
        },
        "kept": done[-1] if done else None,
        "history": History.of(done),
        "metrics": metrics or {},
    }
    return Record(**(given | fields))


def with_lock(one, tested):
    """The record with locked settings, which changed after a test if `tested`."""
    day = "2026-01-01T00:00:00+00:00"
    history = (Earlier(settings="a", date=day, tested=True),) if tested else ()
    lock = Fixed(settings="b", date=day, kept="git", version="c", history=history)
    return one.model_copy(update={"lock": lock})


def metrics(*, log_p=None, error=None, m_mse=None, supervised=19.0, sparsity=()):
    found = {}
    if log_p is not None:
        found["likelihood"] = {
            "mean": float(log_p),
            "paper_convention": float(log_p + 2 * np.log(5000)),
        }
    if error is not None:
        one = {"layer": 3, "better_on_validation": "phi", "phi": {"error_percent": float(error)}}
        found["probe"] = [one]
    if m_mse is not None:
        found["completion"] = {
            "best_way": "refined",
            "ways": {
                "refined": {"m_mse": float(m_mse)},
                "clamped": {"m_mse": float(m_mse) + 5},
            },
        }
        found["yardsticks"] = {
            "m_mse": {
                "supervised": {"m_mse": supervised},
                "nearest_neighbours": {"m_mse": supervised + 3},
                "mean_image": {"m_mse": 36.0},
            }
        }
    found["sparsity"] = [{"layer": i, "active": a} for i, a in enumerate(sparsity, start=1)]
    return found


def pictures(images=None, labels=None, seed=0):
    """Pictures of everything; of the given images, or of random ones."""
    rng = np.random.default_rng(seed)
    if images is None:
        images = (rng.uniform(size=(300, SIDE * SIDE)) < 0.2).astype(np.uint8)
    side = round(images.shape[1] ** 0.5)
    labels = rng.integers(0, 10, len(images)).astype(np.int32) if labels is None else labels
    split = Split(images, labels)
    data = Dataset("made", split, split, split, (side, side), int(labels.max()) + 1, "", "")
    soft = np.clip(0.85 * images + 0.1 * rng.uniform(size=images.shape), 0, 1)
    shown = {
        "samples": soft,
        "visible": np.tile(np.arange(side) < side // 2, side),
        "whole": images[:12],
        "completed_refined": soft[:12].astype(np.float32),
        "embedding": rng.normal(size=(len(images), 2)) + 4 * labels[:, None] % 7,
        "embedding_labels": labels,
    }
    return pack_pictures(shown, data, "test", "refined")


def plausible(data=("mnist", "fashion-mnist", "caltech-16", "kmnist"), trials=3, draw=pictures):
    """Records near the paper's numbers, KMNIST's of a part of the data."""
    rng = np.random.default_rng(1)
    records = []
    for name in data:
        for model in MODELS:
            paper = PUBLISHED[name][model]
            for trial in range(trials):
                noise = 1 + 0.02 * rng.normal(size=4)
                bce = paper.bce and paper.bce * noise[0] * (0.8 if model == "gncn" else 1)
                curve = bce * (1 + 1.2 * np.exp(-np.arange(20) / 3)) if bce else ()
                if model == "dsrn":
                    curve = np.linspace(5, 2, 10)
                honest = paper.honest_log_likelihood
                found = metrics(
                    log_p=honest and honest * noise[1],
                    error=None if model == "dsrn" else paper.error_percent and paper.error_percent,
                    m_mse=paper.m_mse and max(paper.m_mse * noise[2] + 3, 19.5),
                    sparsity=(0.25, 0.2, 0.18) if model == "gncn" else (),
                )
                if model == "gncn" and trial == 0:
                    found["tight"] = {"mean": honest + 20}
                partial = name == "kmnist"
                one = record(
                    model,
                    name,
                    trial,
                    bce=tuple(map(float, curve)),
                    metrics=found,
                    name=name + " (test part only)" if partial else name,
                    pictures=draw() if trial == 0 and model != "dsrn" else {},
                )
                records.append(one)
    return records
