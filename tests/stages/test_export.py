"""export: exactly the cases of split.csv that did not fail, in their folds, to the bit."""

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from workspace import contents, volume, write_params

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError, Outcome
from flairprep.core.tables import read_csv
from flairprep.dataset import tf_data
from flairprep.imaging import nifti
from flairprep.stages import export

SPLIT = {"00003": (1, 0), "00005": (0, 0), "00008": (1, 1), "00009": (0, 1), "00020": (1, 1)}  # label, fold
UNLABELLED, FAILED, LARGE = "00004", "00007", "00020"
SHAPE = (3, 4, 5)


def values(case_id: str) -> np.ndarray:
    voxels = np.random.default_rng(int(case_id)).normal(size=SHAPE).astype(np.float32)
    if case_id == LARGE:
        voxels[0, 0, 0] = 7e4
    return voxels


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/select_slices and data/split of a small cohort."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, export={"cases_per_shard": 1})
    cases = sorted([*SPLIT, UNLABELLED])
    for case_id in cases:
        nifti.write_volume(volume(values(case_id)), Path(f"data/select_slices/{case_id}.nii.gz"))
    rows = [f"{case_id},ok,," for case_id in cases]
    table = ["case_id,status,code,message", *rows, f'{FAILED},failed,MISSING_SLICES,"3 of 20, too many"']
    (tmp_path / "data/select_slices/cases.csv").write_text("\n".join(table) + "\n")
    (tmp_path / "data/split").mkdir()
    split({**SPLIT, FAILED: (0, 0)})
    return tmp_path


def split(cases: dict[str, tuple[int, int]]) -> None:
    rows = [f"{case_id},{label},{case_id},{fold}" for case_id, (label, fold) in sorted(cases.items())]
    Path("data/split/split.csv").write_text("\n".join(["case_id,label,group,fold", *rows]) + "\n")


def test_main_writes_the_folds_of_the_split_and_a_row_for_every_failure(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main()
    out = project / "data/export"
    assert tf_data.read_info(out).image_shape == (*SHAPE, 1)
    for fold in (0, 1):
        elements = list(tf_data.dataset(out, [fold]).as_numpy_iterator())
        expected = [case_id for case_id, (_, of) in SPLIT.items() if of == fold and case_id != LARGE]
        assert [element["case_id"].decode() for element in elements] == expected
        for element, case_id in zip(elements, expected, strict=True):
            assert element["label"] == SPLIT[case_id][0]
            np.testing.assert_array_equal(element["image"][..., 0], values(case_id).astype(np.float16))
    rows = read_csv(out / "cases.csv")
    assert rows[["case_id", "status", "code"]].to_numpy().tolist() == [
        *([case_id, "ok", ""] for case_id in ("00003", "00005")),
        [FAILED, "failed", "MISSING_SLICES"],
        *([case_id, "ok", ""] for case_id in ("00008", "00009")),
        [LARGE, "failed", "OUT_OF_RANGE"],
    ]
    assert rows["message"][2] == "3 of 20, too many"
    assert "normalize.intensity" in rows["message"][5]
    assert "5 cases in, 4 out, 0 warned, 1 failed (1 failed earlier)" in capsys.readouterr().out


def test_a_second_run_gives_equal_bytes_with_more_workers_and_leaves_nothing_else(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    export.main()
    first = contents(project / "data/export")
    monkeypatch.setenv("FLAIRPREP_WORKERS", "3")
    export.main()
    assert contents(project / "data/export") == first
    assert {"features.json", "dataset_info.json", "cases.csv"} < set(first)
    others = {path.name for path in (project / "data/export").iterdir() if ".tfrecord-" not in path.name}
    assert others == {"features.json", "dataset_info.json", "cases.csv"}


def committed(project: Path) -> dict[str, Path]:
    """Put data/export into DVC's cache as `dvc repro` does; return the shards' places there by name."""
    kept = {}
    for path in sorted((project / "data/export").glob("*.tfrecord-*")):
        md5 = hashlib.md5(path.read_bytes()).hexdigest()
        kept[path.name] = project / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
        kept[path.name].parent.mkdir(parents=True, exist_ok=True)
        if not kept[path.name].exists():
            path.rename(kept[path.name])
            kept[path.name].chmod(0o444)
            path.hardlink_to(kept[path.name])
    return kept


@pytest.fixture
def linking(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The project with a DVC cache that links, and 17 cases in shards of at most 4."""
    monkeypatch.setenv("FLAIRPREP_CACHE", str(project / "cache"))
    (project / ".dvc").mkdir()
    (project / ".dvc/config").write_text("[cache]\n    type = hardlink,copy\n")
    write_params(project, export={"cases_per_shard": 4})
    grow(project, {f"{number:05d}": (number % 2, number % 2) for number in range(100, 117)})
    return project


def grow(project: Path, cases: dict[str, tuple[int, int]]) -> None:
    """Make these cases those of data/select_slices and data/split."""
    for case_id in cases:
        if not (path := Path(f"data/select_slices/{case_id}.nii.gz")).exists():
            nifti.write_volume(volume(values(case_id)), path)
    rows = [f"{case_id},ok,," for case_id in sorted(cases)]
    (project / "data/select_slices/cases.csv").write_text("\n".join(["case_id,status,code,message", *rows]) + "\n")
    split(cases)


def linked(project: Path, kept: dict[str, Path]) -> set[str]:
    """The shards that are files of DVC's cache."""
    out = project / "data/export"
    there = [name for name, file in kept.items() if file.is_file() and (out / name).is_file()]
    return {name for name in there if (out / name).samefile(kept[name])}


def test_shards_that_did_not_change_become_links_to_dvcs_files(
    linking: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    export.main()
    first, kept = contents(linking / "data/export"), committed(linking)
    assert len(kept) == 5  # 9 cases of label 0 in three, 8 of label 1 in two
    export.main()
    assert contents(linking / "data/export") == first
    assert linked(linking, kept) == set(kept)
    assert "17 cases in, 17 out, 0 warned, 0 failed (17 reused)" in capsys.readouterr().out
    more = {f"{number:05d}": (number % 2, number % 2) for number in [*range(100, 117), 200]}
    grow(linking, more)
    export.main()
    assert {name for name in linked(linking, kept) if "fold1" in name} == {name for name in kept if "fold1" in name}
    grown = contents(linking / "data/export")
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    export.main()
    assert contents(linking / "data/export") == grown
    assert not linked(linking, kept)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["label", "voxels", "damaged", "gone"])
def test_shard_of_another_case_or_of_a_damaged_cache_is_written_anew(linking: Path, what: str) -> None:
    export.main()
    first, kept = contents(linking / "data/export"), committed(linking)
    cases = {f"{number:05d}": (number % 2, number % 2) for number in range(100, 117)}
    shard = next(name for name in kept if name.startswith("flairprep-fold0"))
    if what == "label":
        grow(linking, cases | {"00100": (1, 0)})
    elif what == "voxels":
        nifti.write_volume(volume(values("00100") + 1), Path("data/select_slices/00100.nii.gz"))
    elif what == "damaged":
        kept[shard].chmod(0o644)
        kept[shard].write_bytes(kept[shard].read_bytes()[:-1] + b"x")
        kept[shard].chmod(0o444)
    else:
        kept[shard].unlink()
    export.main()
    assert linked(linking, kept) == set(kept) - {shard}
    changed = next(tf_data.dataset(linking / "data/export", [0]).as_numpy_iterator())
    assert changed["case_id"] == b"00100"
    assert int(changed["label"]) == (what == "label")
    np.testing.assert_array_equal(changed["image"][..., 0], (values("00100") + (what == "voxels")).astype(np.float16))
    if what in ("damaged", "gone"):
        assert contents(linking / "data/export") == first


def test_shard_that_lacks_a_case_is_never_remembered(linking: Path) -> None:
    grow(linking, {"00100": (0, 0), "00101": (1, 0), LARGE: (1, 0), "00102": (0, 1)})
    export.main()
    first, kept = contents(linking / "data/export"), committed(linking)
    export.main()
    assert contents(linking / "data/export") == first
    assert linked(linking, kept) == {name for name in kept if "fold1" in name}


@pytest.mark.slow
def test_a_case_whose_process_dies_is_a_row_and_leaves_no_record(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "export_case", writes_half_of_five)
    export.main()
    rows = read_csv(project / "data/export/cases.csv").set_index("case_id")
    assert rows.loc["00005", ["status", "code"]].tolist() == ["failed", "CRASHED"]
    assert "SIGKILL" in rows.loc["00005", "message"]
    case_ids = [element["case_id"].decode() for element in tf_data.dataset(project / "data/export").as_numpy_iterator()]
    assert case_ids == ["00003", "00008", "00009"]
    assert all(path.is_file() for path in (project / "data/export").iterdir())


REAL = export.export_case


def writes_half_of_five(case: tuple[str, int], *, out: Path) -> Outcome:
    outcome = REAL(case, out=out)
    if case[0] == "00005":
        path = out / f"{case[0]}.tfrecord"
        path.write_bytes(path.read_bytes()[:20])
        os.kill(os.getpid(), signal.SIGKILL)
    return outcome


def test_export_needs_no_tensorflow() -> None:
    code = "import sys; import flairprep.stages.export; sys.exit('tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("lost", [FAILED, LARGE], ids=["failed earlier", "failed here"])
def test_a_fold_that_is_left_without_a_case_is_refused_and_the_former_export_stays(project: Path, lost: str) -> None:
    export.main()
    former = contents(project / "data/export")
    split({**SPLIT, lost: (0, 2)})
    with pytest.raises(FlairprepError, match=r"split\.csv: fold 2: .*split\.folds"):
        export.main()
    assert contents(project / "data/export") == former


@pytest.mark.parametrize("value", [65504, -65504, 1e-8, 0])
def test_what_float16_can_hold_is_exported_as_z_y_x_1(value: float) -> None:
    array = np.zeros((2, 3, 4), np.float32)
    array[1, 2, 3] = value
    tensor = export.tensor(volume(array))
    assert (tensor.shape, tensor.dtype) == ((2, 3, 4, 1), np.float16)
    assert tensor[1, 2, 3, 0] == np.float16(value)
    assert np.count_nonzero(tensor) == (np.float16(value) != 0)


@pytest.mark.parametrize("value", [65505, -1e6, np.inf, -np.inf, np.nan])
def test_what_float16_cannot_hold_is_a_code(value: float) -> None:
    array = np.zeros((2, 3, 4), np.float32)
    array[1, 2, 3] = value
    with pytest.raises(CaseError) as refused:
        export.tensor(volume(array))
    assert refused.value.code is Code.OUT_OF_RANGE
