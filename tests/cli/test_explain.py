"""flairprep explain: what it writes, the same each time, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from tables import put
from workspace import contents, in_this_process, write_params

import reports
from flairprep.cli import explain
from flairprep.cli.main import main
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_rows
from flairprep.imaging import nifti

CASES = ["00001", "00002"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cases that have an input, and one that has none."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    reports.write_volumes(CASES)
    put("data/split/split.csv", "case_id,label,group,fold\n00001,1,a,0\n00002,0,b,1\n00003,0,c,1\n")


@pytest.fixture
def network(project: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that looks at the patient's left half alone."""
    from flairprep.explanation import networks  # imports tensorflow, which the other tests need not
    from flairprep.runner import result_cache

    keras = networks.keras
    images = keras.Input((8, 16, 16, 1))
    kept = keras.layers.Cropping3D(((0, 0), (0, 0), (8, 0)))(images)
    pooled = keras.layers.GlobalAveragePooling3D()(kept)
    model = keras.Model(images, keras.layers.Dense(1, activation="sigmoid")(pooled))
    model.layers[-1].set_weights([np.array([[2.0]]), np.array([0.0])])
    Path("data/train").mkdir()
    model.save("data/train/model.keras")
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setattr(networks, "keep_to", lambda _: None)  # of workers; this process has begun with more


@pytest.mark.slow
@pytest.mark.usefixtures("network")
def test_the_map_lies_in_the_scans_own_space_and_equal_runs_give_equal_bytes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["explain", "00002", "00001", "00001", "--out", "maps"])
    printed = capsys.readouterr().out
    names = [f"{case}{end}" for case in CASES for end in (".control.nii.gz", ".nii.gz", ".png", ".slices.png")]
    first = contents(Path("maps"))
    assert sorted(first) == [*names, "explain.csv"]
    rows = read_rows(Path("maps/explain.csv"), explain.COLUMNS)
    assert [(row["case_id"], row["label"]) for row in rows] == [("00001", "1"), ("00002", "0")]
    for row in rows:
        scan = nifti.read_volume(Path(f"data/ingest/volumes/{row['case_id']}.nii.gz"))
        response = nifti.read_volume(Path(f"maps/{row['case_id']}.nii.gz"))
        assert (response.GetSize(), response.GetOrigin(), response.GetSpacing(), response.GetDirection()) == (
            *(scan.GetSize(), scan.GetOrigin()),
            *(scan.GetSpacing(), scan.GetDirection()),
        )
        values = sitk.GetArrayFromImage(response)
        assert float(row["peak_x"]) > 7.5, "the half that the network looks at: x from 8 on, at 1 mm"
        assert np.abs(values[..., 8:]).sum() > 10 * np.abs(values[..., :7]).sum()
        assert float(row["largest"]) > 0, "tissue lies above the background, so it speaks for label 1"
        assert float(row["probability"]) == pytest.approx(1 / (1 + np.exp(-float(row["logit"]))), abs=1e-3)
        assert row["case_id"] in printed
    main(["explain", *CASES, "--out", "maps"])
    assert contents(Path("maps")) == first


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize(
    ("case", "named"),
    [("00009", ("00009", "3 cases", "00001, 00002, 00003")), ("00003", ("data/select_slices/00003.nii.gz",))],
    ids=["unknown", "failed"],
)
def test_a_case_without_an_input_is_refused_in_one_line(
    case: str, named: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["explain", "00001", case])
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all(part in line for part in named)
    assert not Path("reports/explain").exists()


@pytest.mark.usefixtures("project")
def test_without_a_network_the_stage_that_makes_it_is_named() -> None:
    with pytest.raises(FlairprepError, match=r"data/train/model\.keras: .*dvc repro"):
        explain.explain(CASES, dict.fromkeys(CASES, "1"), -4.0, Path("maps"))


def test_an_unknown_number_is_an_empty_cell() -> None:
    from flairprep.explanation.maps import Explanation

    image = sitk.Image([2, 2, 2], sitk.sitkFloat32)
    flat = Explanation(0.5, 0.0, float("nan"), float("nan"), (0.04, -1.0, 2.0), 0.0, image, image)
    row = explain.row("a", "1", flat)
    assert (row["correlation"], row["within_tissue"], row["peak_x"]) == ("", "", 0.0)
