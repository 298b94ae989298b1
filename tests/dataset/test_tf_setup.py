"""tf_setup: where tensorflow is not installed, a stage ends with one line that names the extra."""

import os
import subprocess
import sys
from pathlib import Path

import exports
import pytest
from heads import draw
from workspace import contents, write_params

IMPORTS_TENSORFLOW = [
    *("dataset.tf_setup", "dataset.tf_data"),
    *(f"network.{name}" for name in ("input_pipeline", "model", "recorder", "saving", "training")),
    *(f"sanity.{name}" for name in ("network_checks", "suite", "trial")),
]
QUICK = """
import gc, sys
from flairprep.dataset import tf_setup
assert "sklearn" not in sys.modules and gc.isenabled()
import keras, sklearn.linear_model
"""
STAYS = """
import sklearn, sys
from flairprep.dataset import tf_setup
assert sys.modules["sklearn"] is sklearn
"""
EACH = """
import importlib, sys
from flairprep.core.errors import FlairprepError
for name in sys.argv[1:]:
    try:
        importlib.import_module(f"flairprep.{name}")
    except FlairprepError:
        print(name)
"""


def python(folder: Path, *arguments: str, lacking: str = "tensorflow") -> subprocess.CompletedProcess[str]:
    """Python in `folder` with a tensorflow whose import fails since the module `lacking` is not there."""
    (folder / "shadow").mkdir()
    (folder / "shadow/tensorflow.py").write_text(f"raise ModuleNotFoundError('No module', name={lacking!r})\n")
    environment = {**os.environ, "PYTHONPATH": str(folder / "shadow")}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("stage", ["sanity", "train"])
def test_a_stage_without_tensorflow_ends_with_one_line_that_names_the_extras(tmp_path: Path, stage: str) -> None:
    write_params(tmp_path)
    exports.write_export(tmp_path, {0: "01", 1: "10"}, draw)
    former = contents(tmp_path / "data")
    done = python(tmp_path, "-m", f"flairprep.stages.{stage}")
    assert (done.returncode, done.stdout) == (1, "")
    first, *others = done.stderr.splitlines()
    assert first.startswith("error: tensorflow is not installed: ")
    assert {"'flairprep[cpu]',", "'flairprep[gpu]'"} <= set(first.split())
    assert "Traceback" not in done.stderr
    assert not [line for line in others if not line.startswith(f"{stage}: ")]  # that nothing was written
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "params.yaml", "shadow"]
    assert contents(tmp_path / "data") == former


def test_whatever_imports_tensorflow_says_so(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", EACH, *IMPORTS_TENSORFLOW)
    assert done.stdout.split() == IMPORTS_TENSORFLOW, done.stderr


def test_a_tensorflow_that_lacks_a_part_is_not_called_missing(tmp_path: Path) -> None:
    done = python(tmp_path, "-c", "import flairprep.dataset.tf_setup", lacking="ml_dtypes")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ModuleNotFoundError: ")


def test_tensorflow_comes_without_scikit_learn_which_can_be_had_later() -> None:
    subprocess.run([sys.executable, "-c", QUICK], check=True)


def test_a_scikit_learn_that_is_there_stays() -> None:
    subprocess.run([sys.executable, "-c", STAYS], check=True)
