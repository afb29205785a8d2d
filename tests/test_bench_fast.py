"""The study of ways to settle in fewer steps: its bookkeeping."""

import json

import pytest
import typer
from benchmarks import fast

from gncn import load_dataset


def record(way, seed, n_epochs, bce):
    numbers = {"bce": bce, "probe_error_percent": 4.0, "log_likelihood": -100.0}
    return {
        "way": way,
        "seed": seed,
        "n_epochs": n_epochs,
        "seconds": 45.0,
        "top_sparsity": 0.2,
    } | (numbers)


def test_the_table_has_means_and_spreads_and_all_numbers_of_epochs():
    first, second, *_ = fast.WAYS
    runs = [record(first, 0, 3, 50.0), record(first, 1, 2, 52.0), record(second, 0, 4, 60.0)]
    _, _, *rows = fast.table(runs).splitlines()
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert cells[0][:5] == [first, "2", "2–3", "45 ± 0", "51.00 ± 1.41"]
    assert cells[1][:5] == [second, "1", "4", "45", "60.00"]


@pytest.mark.parametrize(
    ("known", "asked", "was"),
    [
        ((45.0, 3), (45.0, None), None),
        ((None, 50), (None, 50), None),
        ((45.0, 3), (10.0, None), "45 seconds"),
        ((45.0, 3), (None, 3), "45 seconds"),
        ((None, 50), (45.0, None), "50 epochs"),
        ((None, 50), (None, 9), "50 epochs"),
    ],
)
def test_runs_of_another_length_are_refused(tmp_path, known, asked, was):
    path = tmp_path / "record.json"
    record = dict(zip(("budget", "n_epochs"), known, strict=True))
    if was is None:
        fast.refuse_other_lengths(record, path, *asked)
        return
    with pytest.raises(typer.BadParameter, match=f"record.json has runs of {was}; ask for as many"):
        fast.refuse_other_lengths(record, path, *asked)


def test_records_are_written_as_they_are_read():
    kept = {"runs": [record("a", 0, 1, 2.0)], "followed": {"mnist": {"a": {"psi": [1.0]}}}}
    assert json.loads(fast.as_text(kept)) == kept
    nothing = {"runs": [], "followed": {}}
    assert json.loads(fast.as_text(nothing)) == nothing


@pytest.mark.slow
@pytest.mark.parametrize("way", fast.WAYS)
def test_every_way_is_a_configuration(way):
    config = fast.configure(way, seed=3, n_epochs=2)
    assert (config.seed, config.training.n_epochs) == (3, 2)
    network = config.models(load_dataset("mnist"))[0]
    assert network.circuit.sizes == (784, 360, 360, 360)
