"""`export`: the codes of images in a file, with their labels and numbers."""

import io
import os
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, check_whole
from gncn.base.files import make_folder, place, write_atomic
from gncn.base.progress import shown_progress
from gncn.base.tables import check_table, write_table
from gncn.data import Dataset, Split
from gncn.data.given import as_split
from gncn.evaluation.pixels import output_of
from gncn.measures import as_measurable
from gncn.measures.generative import n_pixels_of
from gncn.runs.assess import choose_split
from gncn.runs.folder import RunFolder


def export(
    model: Any,
    path: str | Path,
    data: Any = None,
    *,
    labels: Any = None,
    split: str = "test",
    layer: int | str | None = None,
    trial: int = 0,
    progress: bool = False,
) -> dict[str, Any]:
    """Write the codes of images to a file: the states of the top layer, or of other layers.

    A ``.npz`` file holds an array for each layer, as ``z2``, and ``numbers`` and ``labels`` of the
    images, and ``class_names`` if they are known.  A ``.csv`` or ``.parquet`` file has a row for
    each image: ``number``, ``label``, and a column for each neuron, as ``z2_17``.

    Args:
        model: a network or autoencoder, a fitted estimator, or the path of a run's folder.
        path: the file.  One that is there is replaced, once the new one is whole.
        data: a `gncn.Dataset`, of which a split is taken; or images in whatever form, or their
            path.  A run knows its own data.  Images for a Bernoulli output are binarised as by
            `gncn.from_arrays`.
        labels: of images that are given: one each.
        split: which images of a data set; an image's number is its place in it.
        layer: 1..L, or ``all``; None for the top.
        trial: which of a run's models.
        progress: draw a bar, in a terminal or a notebook.

    Returns:
        What was written: the path, how many images, and the width of each layer.

    Raises:
        ConfigError: there is no such layer, split or trial, the model has no codes, or the file
            is of an unknown kind.
        DataError: the images can't be data of the model.
        RunError: the file can't be written, or the folder holds no run.

    >>> import gncn, tempfile
    >>> data = gncn.load_dataset("digits")
    >>> network = gncn.build(gncn.chain((64, 20, 10)), seed=0, n_settle_steps=5)
    >>> path = Path(tempfile.mkdtemp()) / "codes.npz"
    >>> gncn.export(network, path, data, layer="all")["layers"]
    {'z1': 20, 'z2': 10}
    >>> np.load(path)["labels"].shape
    (297,)
    """
    path = place(path)
    # Refused before images are encoded, which takes longest.
    check_table(path, others=(".npz",))
    folder = None
    if isinstance(model, str | os.PathLike):
        folder = RunFolder.open(Path(model))
        model = folder.model(trial)
        data = folder.data() if data is None else data
    elif trial != 0:
        raise ConfigError(f"Only a run has trials; received trial={trial}.")
    names = None
    if hasattr(model, "to_evaluate") and data is not None:  # an estimator
        model, whole = model.to_evaluate(data)
        # Images that are given to an estimator become its test images; see `to_evaluate`.
        data = data if isinstance(data, Dataset) else whole.test
    own = as_measurable(model)
    if not own.has_codes:
        raise ConfigError(f"A {type(model).__name__} has no codes of images to export.")
    wanted = _layers(layer, len(own.group_sizes()))
    if data is None:
        raise ConfigError("Give data=..., a `gncn.Dataset` or images, to export their codes.")
    if isinstance(data, Dataset):
        names = data.class_names
        chosen = choose_split(data, split)
        if labels is not None:
            raise ConfigError("The data set has its own labels; leave labels out.")
    else:
        # Images for a run are made binary as its own were.
        rule, white = {}, None
        if folder is not None:
            rule, white = folder.config.data.preparation, folder.about["data"].get("white")
        binary = output_of(own.decoder).binary
        chosen, names = as_split(
            data, labels, n_pixels_of(model), binary=binary, white=white, **rule
        )
    with shown_progress(progress, "encoding"):
        states = own.encode_layers(chosen.array)
    found = {f"z{number}": np.asarray(states[number - 1]) for number in wanted}
    make_folder(path.parent)
    _write(path, found, chosen, names)
    layers = {name: codes.shape[1] for name, codes in found.items()}
    return {"path": path, "n_images": len(chosen), "layers": layers}


def _layers(layer: int | str | None, n_layers: int) -> list[int]:
    if layer is None:
        return [n_layers]
    if layer == "all":
        return [*range(1, n_layers + 1)]
    if isinstance(layer, str) or not 1 <= check_whole("layer", layer) <= n_layers:
        raise ConfigError(
            f"layer must be from 1 to {n_layers}, 'all', or None for the top; received {layer!r}."
        )
    return [layer]


def _write(
    path: Path, found: dict[str, np.ndarray], images: Split, names: tuple[str, ...] | None
) -> None:
    numbers, labels = np.arange(len(images)), images.labels
    if path.suffix == ".npz":
        arrays = {**found, "numbers": numbers}
        arrays |= {} if labels is None else {"labels": labels}
        arrays |= {} if names is None else {"class_names": np.asarray(names)}
        content = io.BytesIO()
        # Nothing is pickled: class names are an array of text.  NumPy 2.0 would take
        # `allow_pickle` for the name of an array.
        np.savez(content, **arrays)
        write_atomic(path, content.getvalue())
        return
    columns: dict[str, Any] = {"number": numbers}
    if labels is not None:
        known = labels if names is None else [names[one] if one >= 0 else None for one in labels]
        columns["label"] = known
    for name, codes in found.items():
        columns |= {f"{name}_{unit}": codes[:, unit] for unit in range(codes.shape[1])}
    write_table(path, columns)
