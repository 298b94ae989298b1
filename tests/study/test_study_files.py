"""The files of a study: made from the root's own, all of them in a wheel, and written over nothing."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from flairprep import __version__
from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.inference import code
from flairprep.study import files

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src/flairprep/study"


def load(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def test_the_pipeline_is_the_roots_but_for_where_the_code_lies() -> None:
    own, root = load(files.template("pipeline.yaml")), load((ROOT / "dvc.yaml").read_text())
    for stage in root["stages"].values():
        stage["cmd"] = stage["cmd"].removeprefix("PYTHONPATH=src ")
        record = (f".flairprep{dep.removeprefix('src/flairprep')}.md5" for dep in stage["deps"] if dep[:3] == "src")
        stage["deps"] = [*record, *(dep for dep in stage["deps"] if dep[:3] != "src")]
    assert own == root
    assert "src" not in files.template("pipeline.yaml")


def test_every_template_is_in_a_wheel() -> None:
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    packed = {path for pattern in patterns["flairprep.study"] for path in PACKAGE.glob(pattern) if path.is_file()}
    own = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert own - packed == set(PACKAGE.glob("*.py"))
    assert not [path for path in packed if path.name == "dvc.yaml"], "DVC would see a second pipeline in a clone"


def test_a_study_records_the_installed_code_of_every_stage() -> None:
    made = files.new(files.template("params.yaml"), "title", ["dvc repro"])
    stages = load(made[files.PIPELINE])["stages"]
    deps = {dep for stage in stages.values() for dep in stage["deps"] if dep.startswith(".flairprep/")}
    assert deps == {str(path) for path in made if path.suffix == ".md5"}
    assert made[files.BASE] == made[files.PIPELINE]
    assert re.fullmatch(rf"flairprep\[(cpu|gpu)\]=={re.escape(__version__)}\n", made[installed.REQUIREMENTS])
    assert "{" not in made[files.README]


def test_code_that_is_not_there_is_refused() -> None:
    text = files.template("pipeline.yaml").replace(".flairprep/cohort.md5", ".flairprep/gone.md5")
    with pytest.raises(FlairprepError, match=r"gone\.md5"):
        files.record(text)


def test_predict_knows_the_code_of_a_study_by_its_record(tmp_path: Path) -> None:
    made = files.record(files.template("pipeline.yaml"))
    for path, text in made.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    stages = {
        name: {"deps": [{"path": dep, "md5": code.dvc_hash(tmp_path / dep)} for dep in stage["deps"]]}
        for name, stage in load(files.template("pipeline.yaml").replace("${ingest.dicom_dir}", "x"))["stages"].items()
    }
    own = code.preprocessing_code(stages)
    assert {".flairprep/dicom.md5", ".flairprep/stages/normalize.py.md5", ".flairprep/stages/export.py.md5"} < set(own)
    assert not {".flairprep/network.md5", ".flairprep/dataset.md5"} & set(own)
    assert code.differing(own, installed.PACKAGE) == []
    other = own | {".flairprep/dicom.md5": "0" * 32}
    assert [fault.split(" ")[0] for fault in code.differing(other, installed.PACKAGE)] == [".flairprep/dicom.md5"]
    assert len(code.differing(own, tmp_path)) == len(own)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("numpy\nflairprep[cpu,dask]==0.0.1\n", f"numpy\nflairprep[cpu,dask]=={__version__}\n"),
        ("flairprep==9  # pinned\n", f"flairprep=={__version__}  # pinned\n"),
    ],
)
def test_the_pin_changes_and_nothing_beside_it(text: str, expected: str) -> None:
    assert files.with_pin(text) == expected


def test_a_missing_pin_is_added() -> None:
    assert installed.pinned(files.with_pin("numpy")) == __version__
    assert files.with_pin("numpy").startswith("numpy\n")


@pytest.mark.parametrize("path", ["params.yaml", "README.md", ".dvc/plots/epochs.json", "data/raw/train"])
def test_a_file_in_the_way_is_named(tmp_path: Path, path: str) -> None:
    planned = [*files.new("", "", []), Path("data/raw/train")]
    (tmp_path / "beside.txt").touch()
    files.refuse_existing(tmp_path, planned)
    (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / path).symlink_to("nowhere")
    with pytest.raises(FlairprepError, match=re.escape(str(tmp_path / path))):
        files.refuse_existing(tmp_path, planned)


@pytest.mark.parametrize(("path", "told"), [("src/flairprep/x", "clone"), (".flairprep/x", "flairprep upgrade")])
def test_a_clone_and_a_study_are_refused(tmp_path: Path, path: str, told: str) -> None:
    (tmp_path / path).mkdir(parents=True)
    with pytest.raises(FlairprepError, match=told):
        files.refuse_existing(tmp_path, [])
