"""Models on the Hugging Face Hub: `push_to_hub` and `from_pretrained`.

Sending takes the files of `gncn.save`, a model card, and of a run its configuration and what was
measured.  Files that arrive are a stranger's.  The description is read first, by the rules of
`gncn.load`.  Then only the file of arrays that it calls for is downloaded, if it is no larger than
such a model needs.
"""

import json
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, GncnError, RunError, quoted
from gncn.base.extras import needs
from gncn.base.files import jsonable, read_json, write_atomic
from gncn.base.shown import in_markdown, markdown_table
from gncn.runs.config import Config
from gncn.runs.evaluation import Evaluation
from gncn.runs.folder import RunFolder
from gncn.runs.model_files import (
    DESCRIPTION,
    MAX_DESCRIPTION_BYTES,
    VERSION,
    arrays_needed,
    load,
    save,
)

_CARD = """---
license: {licence}
library_name: gncn
tags:
- gncn
- predictive-coding
- generative-model
---

# {title}

{about}

```python
import gncn

model = gncn.from_pretrained({repo_id!r})
```

`pip install 'gncn[hub]'` installs what this needs. The weights are in safetensors and the
description is JSON: loading them runs no code.

{sections}"""


def push_to_hub(
    model: Any,
    repo_id: str,
    *,
    licence: str,
    measured: Evaluation | None = None,
    trial: int = 0,
    private: bool | None = None,
    token: str | None = None,
) -> str:
    """Send a model to the Hub, with a card that says what it is, how good, and how to load it.

    Args:
        model: the path of a run's folder, a network or baseline, or a fitted estimator.
        repo_id: ``user/name``; the repository is made if need be.
        licence: of the weights, as the Hub names licences: ``apache-2.0``.
        measured: the result of `gncn.evaluate`, which the card shows; a run has its own.
        trial: which of a run's models.
        private: whether a new repository is private.
        token: of the user; by default the one that is logged in.

    Returns:
        The address of the commit.

    Raises:
        ConfigError: huggingface-hub isn't installed, or an argument is malformed.
        RunError: the model can't be saved, or the Hub refuses it.

    >>> import gncn
    >>> gncn.push_to_hub("runs/mnist", "me/gncn-mnist", licence="mit")  # doctest: +SKIP
    """
    # Before anything is read: without the package nothing can be sent.
    api = _api(token)
    if not re.fullmatch(r"[\w.+-]+", licence):
        raise ConfigError(
            f"licence must be a name such as 'apache-2.0'; received {quoted(licence)}."
        )
    files: dict[str, str] = {}
    found, sections = [] if measured is None else [measured], []
    if isinstance(model, str | Path):
        folder = RunFolder.open(model)
        model, config = folder.model(trial), folder.config
        files["config.toml"] = _without_places(config).to_toml()
        sections += [_data_section(folder.about["data"])]
        which = "" if trial == 0 else f"-{trial}"
        for split in ("test", "validation"):
            name = f"metrics-{split}{which}.json"
            if (folder.path / name).exists():
                numbers = read_json(folder.path / name)
                # Numbers of an earlier model would be wrong on the card.
                if numbers.get("model") == folder.digest(trial):
                    found.append(Evaluation(numbers))
                    files[name] = json.dumps(jsonable(numbers), indent=2) + "\n"
    # An estimator holds its model in `model_`.
    model = getattr(model, "model_", model)
    sections += [_measured_section(one) for one in found]
    card = _CARD.format(
        licence=licence,
        title=in_markdown(repo_id.rpartition("/")[2]),
        about=_about(model),
        repo_id=repo_id,
        sections="\n".join(sections),
    )
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        save(model, place)
        for name, text in (files | {"README.md": card}).items():
            write_atomic(place / name, text)
        with _explained(f"Can't send the model to {quoted(repo_id)}"):
            api.create_repo(repo_id, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repo_id,
                folder_path=place,
                commit_message=f"Model of gncn {VERSION}",
                # No more than this is sent, whatever else might be in the folder.
                allow_patterns=[DESCRIPTION, "model-*.safetensors", *files, "README.md"],
                # What an earlier version left and this one doesn't have would be out of step.
                delete_patterns=["model-*.safetensors", "metrics-*.json", "config.toml"],
            )
    return str(getattr(commit, "commit_url", commit))


def from_pretrained(repo_id: str, *, revision: str | None = None, token: str | None = None) -> Any:
    """Load a model from the Hub; returns a model of the kind that was sent.

    Args:
        repo_id: ``user/name``.
        revision: a branch, tag or commit; by default the newest.
        token: of the user, for private models.

    Raises:
        ConfigError: huggingface-hub isn't installed.
        RunError: the Hub has no such model or can't be reached, or its files are damaged, too
            large, or of a kind that this version doesn't know.

    >>> import gncn
    >>> network = gncn.from_pretrained("me/gncn-mnist")  # doctest: +SKIP
    """
    api = _api(token)
    with _explained(f"Can't load the model {quoted(repo_id)}"):
        info = api.model_info(repo_id, revision=revision, files_metadata=True)
        sizes = {one.rfilename: one.size for one in info.siblings or ()}
        # All files from one commit, even if somebody pushes meanwhile.
        commit = info.sha if revision is None else info.sha or revision

        def download(name: str, most: int) -> Path:
            size = sizes.get(name, -1)
            if size == -1:
                raise RunError(f"{quoted(repo_id)} has no {name}, so it holds no model of gncn.")
            # Refused by its size alone, before a byte is downloaded.
            if size is None or size > most:
                raise RunError(
                    f"{name} of {quoted(repo_id)} has {size or 'an unknown number of'} bytes, and "
                    f"{most:,} are the most that this model may have."
                )
            return Path(api.snapshot_download(repo_id, revision=commit, allow_patterns=[name]))

        folder = download(DESCRIPTION, MAX_DESCRIPTION_BYTES)
        # The description was small and safe; only now is it known which arrays belong to it, and
        # how large.
        folder = download(*arrays_needed(folder))
    return load(folder)


def _api(token: str | None) -> Any:
    needs("huggingface_hub", "hub")
    hub = import_module("huggingface_hub")
    return hub.HfApi(token=token, library_name="gncn", library_version=VERSION)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Whatever a client of the network raises, as one sentence."""
    try:
        yield
    except GncnError:
        raise
    # Clients of networks raise errors of many libraries.
    except Exception as error:
        why = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
        raise RunError(f"{what}: {why}.") from error


def _without_places(config: Config) -> Config:
    """A configuration that doesn't say where its files lie on this machine."""
    # The name of the data without their path.
    data = {"name": Path(config.data.name).name, "data_dir": None}
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def _about(model: Any) -> str:
    """A sentence that says what the model is."""
    kind, what = type(model).__name__, ""
    if (circuit := getattr(model, "circuit", None)) is not None:
        sizes = "-".join(map(str, circuit.sizes))
        kind, what = "generative neural coding network", f" of {sizes} neurons"
    if (synapses := getattr(circuit or getattr(model, "blueprint", None), "n_synapses", 0)) > 0:
        what += f", {synapses:,} synapses"
    return f"A {kind}{what}, made by gncn {VERSION}."


def _data_section(data: dict[str, Any]) -> str:
    name, licence = (in_markdown(str(data.get(key, "?"))) for key in ("name", "licence"))
    return f"## Data\n\nTrained on {name} (licence of the data: {licence}).\n"


def _measured_section(found: Evaluation) -> str:
    rows = [tuple(map(in_markdown, (row.name, row.value, row.remark))) for row in found.rows]
    table = markdown_table([("measure", "value", "remark"), *rows], 3)
    notes = "".join(f"\n{in_markdown(note)}\n" for note in found.notes)
    return f"## Measured on {in_markdown(found.title)}\n\n{table}\n{notes}"
