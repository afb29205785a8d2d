"""The examples run, and what they say is good."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import gncn
from gncn.baselines.pixel_mixture import fit_pixel_mixture
from gncn.runs.folder import RunFolder
from gncn.runs.model_files import to_plain
from test_cli import run

EXAMPLES = Path(__file__).parent.parent / "examples"


@pytest.mark.slow
def test_from_a_frame_to_codes(tmp_path, monkeypatch, capsys):
    script = EXAMPLES / "from_frame_to_codes.py"
    assert len(script.read_text(encoding="utf-8").splitlines()) <= 40
    monkeypatch.chdir(tmp_path)
    names = runpy.run_path(str(script), run_name="__main__")
    assert names["search"].best_params_ == {"gncn__n_epochs": 10}
    assert -64 * np.log(2) < names["found"]["likelihood"]["mean"] < 0  # better than coins
    assert names["wrong"] < 0.25  # half of them, if they were drawn by coins
    assert names["samples"].shape == (16, 64)
    codes = names["codes"]
    np.testing.assert_array_equal(codes["label"], names["digits"])
    transformed = names["best"].transform(names["images"])
    np.testing.assert_allclose(codes.drop(columns="label"), transformed, atol=1e-5)
    assert "log p(x)" in capsys.readouterr().out


ESTIMATORS = {
    "gncn": gncn.GNCN(sizes=(20, 20), group_size=5, n_epochs=2, batch_size=100, random_state=7),
    "rae": gncn.RAE(budget=5000, n_latent=5, n_epochs=2, batch_size=100, random_state=7),
    "gmm": gncn.PixelMixture(n_components=3, max_iterations=5, random_state=7),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ESTIMATORS)
def test_one_seed_gives_one_model_from_python_estimator_and_command_line(tmp_path, kind):
    """Weights to the last bit, and the numbers of the history."""
    data = gncn.load_dataset("digits")
    by_estimator = ESTIMATORS[kind].fit(data.train.images)
    config = by_estimator.config_
    assert config.seed == 7

    settings = tmp_path / "settings.toml"
    settings.write_text(config.to_toml(), encoding="utf-8")
    folder = tmp_path / "run"
    done = run("train", "--config", settings, "--data", "digits", "--out", folder)
    assert done.returncode == 0, done.stderr
    by_command = RunFolder.open(folder)
    models = {"estimator": by_estimator.model_, "command": by_command.model()}
    histories = {"estimator": by_estimator.history_, "command": by_command.history}

    if kind == "gncn":
        circuit, seeds = config.network.circuit(data.n_pixels), [7]
        network = gncn.build(circuit, seed=7, **dict(config.settling))
        by_fit = gncn.fit(network, data, config.training, seeds=seeds)
    elif kind == "rae":
        by_fit = gncn.fit(config.models(data), data, config.training, seeds=[7])
    else:
        by_fit = fit_pixel_mixture(data, config.mixture, seeds=[7])
    arrays = to_plain(by_fit.network)["arrays"]
    for name, model in models.items():
        found = to_plain(model)["arrays"]
        assert found.keys() == arrays.keys()
        for one, array in found.items():
            np.testing.assert_array_equal(array, arrays[one], err_msg=f"{name}: {one}")
        errors = [record.train.error for record in histories[name]]
        if kind != "gmm" or name != "estimator":  # whose error is of as many images as it holds out
            assert errors == [record.train.error for record in by_fit.history]
    assert [one.test for one in by_command.history] == [one.test for one in by_fit.history]
