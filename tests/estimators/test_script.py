"""A whole session with scikit-learn, as a user would write it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import gncn

SCRIPT = Path(__file__).with_name("script.py")


@pytest.mark.slow
def test_a_session_from_a_frame_to_samples(tmp_path):
    pytest.importorskip("pandas")
    command = [sys.executable, "-W", "error::UserWarning", str(SCRIPT), str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        command, capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    said = done.stdout
    assert "best: {'network__learning_rate': 0.005}" in said
    assert "codes: 30 columns, gncn_z2_0 to gncn_z2_29" in said
    assert "100 validation images" in said
    ours, mean = map(float, re.findall(r"completed: ([\d.]+); the mean image: ([\d.]+)", said)[0])
    assert ours < mean
    assert said.rstrip().endswith("drawn (10, 64); True")
    assert (tmp_path / "figures" / "likelihood.png").exists() is False  # no curve, no picture
    assert (tmp_path / "figures" / "activity.png").exists()
    assert gncn.load(tmp_path / "network").circuit.sizes == (64, 30, 30)
