"""What `import flairprep` offers, the examples of docs/api.md, and the notebook."""

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import trained_run
from docs_pages import DOCS, ROOT, blocks
from ruamel.yaml import YAML
from trained_run import RAW, SHAPE
from workspace import in_this_process, write_params

import flairprep
from flairprep.core.errors import FlairprepError
from flairprep.imaging import nifti
from flairprep.inference.networks import Ensemble
from flairprep.runner import result_cache
from flairprep.stages import export, ingest, normalize, select_slices

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a project with a finished run; no test changes it."""
    return trained_run.make(tmp_path_factory.mktemp("finished"))


@pytest.fixture
def project(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a copy of the project as the current folder."""
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    monkeypatch.chdir(trained_run.copy_of(whole, tmp_path / "project"))
    return Path.cwd()


@pytest.fixture
def by_the_stages(project: Path) -> dict[str, np.ndarray]:
    """Return case id -> tensor (z, y, x), by the stages."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_cache, "run_cases", in_this_process)
        for stage in (ingest, normalize, select_slices):
            stage.main()
    files = sorted(Path("data/select_slices").glob("*.nii.gz"))
    return {file.name[:5]: export.tensor(nifti.read_volume(file))[..., 0].astype(np.float32) for file in files}


def test_importing_the_package_imports_no_other() -> None:
    shown = "import sys, flairprep; print({'numpy', 'pandas', 'SimpleITK', 'tensorflow', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", shown], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
    assert set(flairprep.__all__) <= set(dir(flairprep))
    with pytest.raises(AttributeError):
        _ = flairprep.nonsense


def test_preprocess_gives_the_tensor_of_the_stages_whoever_has_more_threads(
    project: Path, by_the_stages: dict[str, np.ndarray]
) -> None:
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(3)
    values = YAML(typ="safe").load(project / "params.yaml")
    assert len(by_the_stages) == 3
    for case_id, expected in by_the_stages.items():
        for given in ({}, {"params": "params.yaml"}, {"params": values}):
            made = flairprep.preprocess(f"{RAW}/{case_id}", **given)
            assert made.dtype == np.float32
            np.testing.assert_array_equal(made, expected)
    assert sitk.ProcessObject.GetGlobalDefaultNumberOfThreads() == 3


def test_load_volume_gives_the_volume_of_ingest(project: Path, by_the_stages: dict[str, np.ndarray]) -> None:
    made, expected = flairprep.load_volume(f"{RAW}/00001"), nifti.read_volume(Path("data/ingest/volumes/00001.nii.gz"))
    assert made.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayFromImage(made), sitk.GetArrayFromImage(expected))
    for read in (sitk.Image.GetSpacing, sitk.Image.GetOrigin, sitk.Image.GetDirection):
        assert read(made) == read(expected)


def test_what_fails_is_an_error_with_its_code(project: Path) -> None:
    for file in Path(RAW, "00001/FLAIR").iterdir():
        file.write_bytes(b"no DICOM")
    for function in (flairprep.load_volume, flairprep.preprocess):
        with pytest.raises(FlairprepError, match=r"^NOT_DICOM: .*00001"):
            function(f"{RAW}/00001")
        with pytest.raises(FlairprepError, match=RAW):
            function(RAW)
        with pytest.raises(FlairprepError, match="missing"):
            function("missing")


def test_run_predicts_one_path_or_several_as_its_network_does(
    project: Path, by_the_stages: dict[str, np.ndarray]
) -> None:
    network = Ensemble({"it": Path("data/train/model.keras").read_bytes()})
    expected = network.predict(np.stack(list(by_the_stages.values()))[..., np.newaxis])[0]
    assert np.diff(np.sort(expected)).min() > 1e-4
    run = flairprep.load_run()
    made = run.predict(RAW)
    assert list(made["case_id"]) == list(by_the_stages)
    np.testing.assert_allclose(made["probability"], expected, rtol=0, atol=2e-7)
    assert list(made["predicted"]) == [int(value > 0.5) for value in expected]
    pd.testing.assert_frame_equal(run.predict([f"{RAW}/{case_id}" for case_id in by_the_stages]), made)


def test_prior_is_that_of_the_training_cases_and_fills_failed_ones(project: Path) -> None:
    table = project / "data/split/split.csv"
    table.write_text(table.read_text().replace("10000,0,10000,1", "10000,1,10000,1"))
    cases = project / "data/export/cases.csv"
    cases.write_text(cases.read_text().replace("10001,ok", "10001,failed"))
    run = flairprep.load_run()
    assert run.prior == pytest.approx(2 / 3)  # of 10000, 10002, 10003 with the labels 1, 1, 0
    for file in Path(RAW, "00001/FLAIR").iterdir():
        file.write_bytes(b"no DICOM")
    empty, filled = run.predict(RAW), run.predict(RAW, on_failure="prior")
    assert empty["probability"].isna().tolist() == [False, True, False]
    assert empty["predicted"].isna().tolist() == [False, True, False]
    assert filled["probability"][1] == pytest.approx(2 / 3)
    assert filled["predicted"][1] == 1


def test_network_of_other_params_is_refused(project: Path) -> None:
    write_params(project, **trained_run.SECTIONS, normalize={"orientation": "RAS"})
    with pytest.raises(FlairprepError, match=r"normalize\.orientation.*LPS.*RAS"):
        flairprep.load_run()


def test_network_of_other_code_is_refused(project: Path) -> None:
    lock = project / "dvc.lock"
    values = YAML(typ="safe").load(lock)
    values["stages"]["ingest"]["deps"][2]["md5"] = "0123456789abcdef.dir"
    YAML().dump(values, lock)
    with pytest.raises(FlairprepError, match=r"src/flairprep/dicom \(0123456, here"):
        flairprep.load_run()


def test_run_of_code_with_other_keys_is_refused_by_its_code(project: Path) -> None:
    lock = project / "dvc.lock"
    values = YAML(typ="safe").load(lock)
    values["stages"]["ingest"]["deps"][2]["md5"] = "0123456789abcdef.dir"
    del values["stages"]["ingest"]["params"]["params.yaml"]["ingest"]["min_slices"]
    YAML().dump(values, lock)
    with pytest.raises(FlairprepError, match=r"src/flairprep/dicom"):
        flairprep.load_run()


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("data/train/model.keras", None),
        ("data/train/model.keras", "no network"),
        ("dvc.lock", None),
        ("dvc.lock", "stages: {}"),
        ("dvc.lock", "<<<<<<< ours"),
        ("data/split/split.csv", None),
    ],
)
def test_run_that_is_not_whole_is_an_error_of_one_line(project: Path, path: str, content: str | None) -> None:
    if content is None:
        (project / path).unlink()
    else:
        (project / path).write_text(content)
    with pytest.raises(FlairprepError) as failure:
        flairprep.load_run().predict(f"{RAW}/00001")
    assert "\n" not in str(failure.value)
    assert "dvc" in str(failure.value)


def run_all(cells: list[str], names: dict[str, Any]) -> Iterator[Any]:
    """Run cells of code in turn, as a notebook does; yield what the last expression of each is."""
    for cell in cells:
        body = ast.parse(cell).body
        last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        yield eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_the_examples_of_the_page_run(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = [content for kind, content in blocks(DOCS["api"]) if kind == "python"]
    assert len(cells) >= 5
    names: dict[str, Any] = {}
    assert len(list(run_all(cells, names))) == len(cells)
    assert names["tensor"].shape == SHAPE[:3]
    assert list(names["table"]["case_id"]) == ["00000", "00001", "00002"]
    assert len(names["cases"]) == len(trained_run.LABELS[1])


def notebook() -> dict[str, Any]:
    return json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))


def test_the_notebook_goes_from_a_scan_to_a_probability(project: Path) -> None:
    cells = ["".join(cell["source"]) for cell in notebook()["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    shown = list(run_all(cells, names))
    np.testing.assert_array_equal(names["tensor"], flairprep.preprocess(f"{RAW}/00000"))
    pictures = [one for one in shown if type(one).__name__ == "Image"]
    assert pictures
    assert all(picture.getextrema()[0] != picture.getextrema()[1] for picture in pictures)
    assert names["probability"] == flairprep.load_run().predict(f"{RAW}/00000")["probability"][0]


def test_the_notebook_holds_no_outputs() -> None:
    cells = notebook()["cells"]
    assert notebook()["nbformat"] == 4
    assert all(
        cell["outputs"] == [] and cell["execution_count"] is None for cell in cells if cell["cell_type"] == "code"
    )
    assert all(set(cell) >= {"cell_type", "metadata", "source", "id"} for cell in cells)
