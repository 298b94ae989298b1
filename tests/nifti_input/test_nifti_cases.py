"""NIfTI scans in the raw folder, as ingest and inspect find them: layouts, choices, tables, privacy, the cache."""

import gzip
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import phantoms
import pytest
from workspace import in_this_process, write_params

from flairprep.cli import check, inspect, main, who
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.imaging import nifti
from flairprep.nifti_input import discovery
from flairprep.runner import result_cache
from flairprep.stages import ingest

RAW = Path("data/raw/train")
OUT = Path("data/ingest")
SIDECAR = {
    **{"Modality": "MR", "Manufacturer": "Philips", "MagneticFieldStrength": 3, "EchoTime": 0.09},
    **{"RepetitionTime": 9, "InversionTime": 2.5, "MRAcquisitionType": "2D"},
}
IDENTIFYING = {
    **{"PatientName": "CANARY", "PatientID": "CANARY", "PatientBirthDate": "1961-02-03", "SeriesDescription": "CANARY"},
    **{"AcquisitionDateTime": "1961-02-03", "ProtocolName": "CANARY", "InstitutionName": "CANARY", "CANARY": "CANARY"},
}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the current folder."""
    root = tmp_path / "project"
    (root / RAW).mkdir(parents=True)
    monkeypatch.chdir(root)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    monkeypatch.setattr(inspect, "map_cases", in_this_process)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    write_params(root, ingest={"max_failed": 1, "min_slices": 6})
    return root


def brain(seed: int, slices: int = 8) -> np.ndarray:
    """A skull-stripped volume (x, y, z), so that nothing warns of a face."""
    return np.pad(np.random.default_rng(seed).integers(1, 999, (6, 7, slices - 2)), 1).astype(np.int16)


def put(name: str, seed: int = 0, values: np.ndarray | None = None, sidecar: Any = None, **fields: Any) -> np.ndarray:
    """Write a scan below the raw folder, with a sidecar where there is one; return its voxels (x, y, z)."""
    path = RAW / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = brain(seed) if values is None else values
    image = nib.Nifti1Image(data, np.diag([-1, -1, 1, 1]))
    image.set_qform(image.affine, 1)
    image.set_sform(image.affine, 0)
    for field, value in fields.items():
        image.header[field] = value
    nib.save(image, path)
    if sidecar is not None:
        path.with_name(path.name.split(".nii")[0] + ".json").write_text(json.dumps(sidecar))
    return data


def put_dicom(folder: str, seed: int, **elements: Any) -> None:
    own = {"PatientID": f"p{seed}", "StudyInstanceUID": f"1.2.{seed}", "SeriesInstanceUID": f"1.2.{seed}.1"}
    phantoms.save(phantoms.slices(brain(seed).T, **own, **elements), RAW / folder)


def rows() -> dict[str, dict[str, str]]:
    ingest.main()
    return {str(row["case_id"]): row for row in read_csv(OUT / "cases.csv").to_dict("records")}


def outcomes() -> dict[str, str]:
    return {case: row["code"] or row["status"] for case, row in rows().items()}


def test_each_data_set_has_its_flair_read() -> None:
    scans = {
        "00002": "FLAIR.nii.gz",
        "00003": "00003_flair.nii.gz",
        "00004": "FLAIR/anything.nii.gz",
        "BraTS20_Training_001": "BraTS20_Training_001_flair.nii",
        "BraTS-GLI-00000-000": "BraTS-GLI-00000-000-t2f.nii.gz",
        "UPENN-GBM-00001_11": "UPENN-GBM-00001_11_FLAIR.nii.gz",
        "UCSF-PDGM-0004_nifti": "UCSF-PDGM-0004_FLAIR.nii.gz",
    }
    others = ("{}_t1", "{}-t2w", "{}_seg", "{}_T1GD", "{}_FLAIR_mask", "{}_tumor_segmentation")
    expected = {case: put(f"{case}/{name}", seed) for seed, (case, name) in enumerate(scans.items())}
    for case in scans:
        for other in others:
            put(f"{case}/{other.format(case.removesuffix('_nifti'))}.nii.gz", 99)
    assert outcomes() == dict.fromkeys(sorted(scans), "ok")
    for case, values in expected.items():
        np.testing.assert_array_equal(nib.load(OUT / f"volumes/{case}.nii.gz").dataobj, values)
        assert nifti.volume_size(OUT / f"volumes/{case}.nii.gz") == (8, 9, 8)


def test_row_is_complete_and_unknown_cells_are_empty() -> None:
    put("a/FLAIR.nii.gz", 1, sidecar=SIDECAR | {"ContrastBolusIngredient": "GADOLINIUM"})
    put("b/FLAIR.nii.gz", 2)
    table = rows()
    assert tuple(table["b"]) == ingest.COLUMNS
    shape = {"rows": "9", "columns": "8", "slices": "8", "spacing_x": "1", "spacing_y": "1", "spacing_z": "1"}
    filled = {"case_id": "b", "status": "ok", "skull_stripped": "yes", **shape}
    assert {column: cell for column, cell in table["b"].items() if cell} == filled
    assert (
        table["a"].items()
        >= {
            **{"manufacturer": "philips", "field_strength": "3", "echo_time": "90", "repetition_time": "9000"},
            **{"inversion_time": "2500", "acquisition_type": "2D", "contrast_agent": "yes", "code": "MARKED_SERIES"},
        }.items()
    )


def test_bids_subjects_sessions_and_inherited_sidecars() -> None:
    (RAW / "FLAIR.json").write_text(json.dumps(SIDECAR))
    (RAW / "dataset_description.json").write_text('{"Name": "CANARY"}')
    put("sub-01/anat/sub-01_FLAIR.nii.gz", 1)
    put("sub-01/anat/sub-01_T1w.nii.gz", 2)
    put("sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", 3, sidecar={"EchoTime": 0.12})
    put("sub-03/ses-1/anat/sub-03_ses-1_FLAIR.nii.gz", 4)
    put("sub-03/ses-2/anat/sub-03_ses-2_FLAIR.nii.gz", 5)
    put("sub-04/anat/sub-04_part-phase_FLAIR.nii.gz", 6)
    put("derivatives/brain/sub-01/anat/sub-01_space-T1w_FLAIR.nii.gz", 7)
    table = rows()
    assert {case: row["code"] for case, row in table.items()} == {
        **{"sub-01": "", "sub-02": "", "sub-03": "AMBIGUOUS_SERIES", "sub-04": "NOT_MAGNITUDE"}
    }
    assert [table[case]["echo_time"] for case in ("sub-01", "sub-02")] == ["90", "120"]
    assert [table[case]["inversion_time"] for case in ("sub-01", "sub-02")] == ["2500", "2500"]


def test_one_case_costs_no_other() -> None:
    put("ambiguous/a_FLAIR.nii.gz", 1)
    put("ambiguous/b_FLAIR.nii.gz", 2, brain(2, 20))  # more slices say nothing: it may have been resampled
    put("plain/plain_FLAIR.nii.gz", 3)
    put("plain/plain_FLAIR_bias.nii.gz", 4)
    put("none/none_t1.nii.gz", 5)
    put("masks/masks_seg.nii.gz", 6)
    put("few/FLAIR.nii.gz", 7, brain(7, 5))
    put("times/FLAIR.nii.gz", 8, sidecar=SIDECAR | {"InversionTime": 0.8, "EchoTime": 0.01})  # a T1 FLAIR
    put("four/FLAIR.nii.gz", 9, np.stack([brain(9)] * 2, axis=3))
    put("cut/FLAIR.nii.gz", 10)
    content = (RAW / "cut/FLAIR.nii.gz").read_bytes()
    (RAW / "cut/FLAIR.nii.gz").write_bytes(content[: len(content) // 2])
    put("sidecar/FLAIR.nii.gz", 11)
    (RAW / "sidecar/FLAIR.json").write_text("{")
    put("head/FLAIR.nii.gz", 12, np.random.default_rng(0).integers(1, 999, (8, 9, 8)).astype(np.int16))
    put("image/FLAIR.nii", 13)
    (RAW / "image/FLAIR.nii").rename(RAW / "image/FLAIR.img")
    assert outcomes() == {
        **{"ambiguous": "AMBIGUOUS_SERIES", "plain": "ok", "none": "NO_SERIES", "masks": "NO_SERIES"},
        **{"few": "TOO_FEW_SLICES", "times": "NO_SERIES", "four": "MULTIPLE_VOLUMES", "cut": "DECODE_FAILED"},
        **{"sidecar": "DECODE_FAILED", "head": "WHOLE_HEAD", "image": "NO_GEOMETRY"},
    }
    series = read_csv(OUT / "series.csv")
    assert set(series.loc[series["case_id"] == "plain", "verdict"]) == {"read", "derived"}
    np.testing.assert_array_equal(nib.load(OUT / "volumes/plain.nii.gz").dataobj, brain(3))


def test_volume_of_four_dimensions_is_chosen_as_params_say_and_yields_to_one_of_three(project: Path) -> None:
    volumes = np.stack([brain(1), brain(2), brain(3)], axis=3)
    put("a/FLAIR.nii.gz", values=volumes)
    put("b/first_flair.nii.gz", values=volumes)
    put("b/second_flair.nii.gz", 4)
    assert outcomes() == {"a": "MULTIPLE_VOLUMES", "b": "ok"}
    for volume, seed in (("first", 1), ("last", 3)):
        write_params(project, ingest={"max_failed": 1, "min_slices": 6, "volume": volume})
        assert outcomes() == {"a": "VOLUME_CHOSEN", "b": "ok"}
        np.testing.assert_array_equal(nib.load(OUT / "volumes/a.nii.gz").dataobj, brain(seed))
        np.testing.assert_array_equal(nib.load(OUT / "volumes/b.nii.gz").dataobj, brain(4))


def test_scans_of_one_patient_and_equal_voxels_are_found() -> None:
    put("BraTS-GLI-00005-100/BraTS-GLI-00005-100-t2f.nii.gz", 1)
    put("BraTS-GLI-00005-101/BraTS-GLI-00005-101-t2f.nii.gz", 2)
    put("BraTS-GLI-00006-100/BraTS-GLI-00006-100-t2f.nii.gz", 1)
    ingest.main()
    table = read_csv(OUT / "same_as.csv").set_index("case_id")
    assert list(table["patient"]) == ["BraTS-GLI-00005-100", "BraTS-GLI-00005-100", "BraTS-GLI-00006-100"]
    assert list(table["voxels"]) == ["BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "BraTS-GLI-00005-100"]


def test_pair_whose_voxels_begin_like_an_old_dicom_file_is_read() -> None:
    values = brain(1)
    values[0, 0, 0] = 8  # as group 8 does
    (RAW / "a").mkdir()
    pair = nib.Nifti1Pair(values, np.diag([-1, -1, 1, 1]))
    pair.set_qform(pair.affine, 1)
    nib.save(pair, RAW / "a/a_flair.img")
    assert outcomes() == {"a": "ok"}
    (RAW / "a/a_flair.hdr").unlink()
    put_dicom("a/T1w", 5, SeriesDescription="t1", EchoTime=3)
    assert outcomes() == {"a": "NO_SERIES"}


# Beside DICOM


def test_cases_of_both_kinds_may_lie_beside_each_other_and_dicom_is_read_where_a_case_has_both() -> None:
    put_dicom("a/FLAIR", 1)
    put("b/FLAIR.nii.gz", 2)
    put_dicom("c/FLAIR", 3)
    put("c/FLAIR/converted_FLAIR.nii.gz", 4)
    put_dicom("d/T1w", 5, SeriesDescription="t1", EchoTime=3)
    put("d/FLAIR.nii.gz", 6)
    assert outcomes() == {"a": "ok", "b": "ok", "c": "NOT_DICOM", "d": "ok"}
    for case, seed in {"c": 3, "d": 6}.items():
        np.testing.assert_array_equal(nib.load(OUT / f"volumes/{case}.nii.gz").dataobj, brain(seed))


def test_both_kinds_without_folders_of_sequences_are_refused_with_a_remedy() -> None:
    put_dicom("a/1", 1)
    put("b/FLAIR.nii.gz", 2)
    with pytest.raises(FlairprepError, match=r"CASE/FLAIR/.*flairprep key"):
        ingest.main()
    (RAW / "flairprep.key").write_text("0" * 64)  # then it is an export, in which NIfTI files are skipped
    assert len(outcomes()) == 1


def test_scans_in_no_folder_of_a_case_are_refused_with_a_remedy() -> None:
    put("a_flair.nii.gz")
    with pytest.raises(FlairprepError, match="CASE/"):
        discovery.find_cases(RAW, "FLAIR")


def test_link_out_of_the_raw_folder_is_not_followed(tmp_path: Path) -> None:
    put("a/FLAIR.nii.gz", 1)
    put("b/b_T1w.nii.gz", 1)
    target = (RAW / "b/b_T1w.nii.gz").rename(tmp_path / "b_flair.nii.gz")
    (RAW / "b/FLAIR.nii.gz").symlink_to(target)
    assert outcomes() == {"a": "ok", "b": "LINK_OUTSIDE"}


# Privacy, inspect, and the cache


def test_no_text_of_headers_names_or_sidecars_comes_out(capfd: pytest.CaptureFixture[str]) -> None:
    texts = {"descrip": b"CANARY 19610203", "aux_file": b"CANARY", "intent_name": b"CANARY", "db_name": b"CANARY"}
    put("a/CANARY_FLAIR.nii.gz", 1, sidecar=SIDECAR | IDENTIFYING, **texts)
    put("b/CANARY_1_FLAIR.nii.gz", 2, sidecar=SIDECAR | IDENTIFYING, **texts)
    put("b/CANARY_2_FLAIR.nii.gz", 3, **texts)
    put("c/CANARY_FLAIR.nii.gz", 4, sidecar=SIDECAR | {"Modality": "CANARY", "Manufacturer": "CANARY"}, **texts)
    put("d/CANARY_FLAIR.nii.gz", 5, sidecar={"CANARY": "CANARY"}, **texts)
    (RAW / "d/CANARY_FLAIR.json").write_text('{"CANARY": CANARY')
    put("e/CANARY_FLAIR.nii.gz", 6, sidecar=SIDECAR | {"EchoTime": "CANARY", "MRAcquisitionType": "CANARY"}, **texts)
    assert outcomes() == {"a": "ok", "b": "AMBIGUOUS_SERIES", "c": "NOT_MR", "d": "DECODE_FAILED", "e": "ok"}
    main.main(["inspect", str(RAW)])
    shown = capfd.readouterr()
    contents = {str(path): path.read_bytes() for path in OUT.rglob("*") if path.is_file()}
    unpacked = {name: gzip.decompress(one) if name.endswith(".gz") else one for name, one in contents.items()}
    assert len(unpacked) == 5
    for content in (*unpacked.values(), shown.out.encode(), shown.err.encode()):
        assert b"canary" not in content.lower()
        assert b"1961" not in content


def test_inspect_says_what_ingest_then_does(capfd: pytest.CaptureFixture[str]) -> None:
    put("a/FLAIR.nii.gz", 1)
    put("a/a_seg.nii.gz", 1)
    put("b/b_flair.nii.gz", 2)
    put("b/FLAIR_2.nii.gz", 3)
    put("c/c_t1.nii.gz", 3)
    main.main(["inspect", str(RAW)])
    shown = capfd.readouterr().out
    assert "AMBIGUOUS_SERIES" in shown
    assert "1 of 3 cases" in shown
    assert [code == "ok" for code in outcomes().values()] == [True, False, False]
    for folder in ("a", "b/../a"):
        capfd.readouterr()
        main.main(["inspect", str(RAW / folder)])
        assert "1 of 1 cases" in capfd.readouterr().out


def test_unchanged_case_comes_from_the_cache_and_a_changed_sidecar_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    for case in "abc":
        put(f"{case}/FLAIR.nii.gz", ord(case), sidecar=SIDECAR)
    assert [row["echo_time"] for row in rows().values()] == ["90", "90", "90"]
    (RAW / "b/FLAIR.json").write_text(json.dumps(SIDECAR | {"EchoTime": 0.1}))
    put("c/FLAIR.nii.gz", 7)
    read = []
    whole = ingest.ingest
    monkeypatch.setattr(ingest, "ingest", lambda case, **options: read.append(case.case_id) or whole(case, **options))
    assert [row["echo_time"] for row in rows().values()] == ["90", "100", "90"]
    assert read == ["b", "c"]
    np.testing.assert_array_equal(nib.load(OUT / "volumes/c.nii.gz").dataobj, brain(7))


def test_check_finds_the_cases_of_nifti_files() -> None:
    table = Path("data/raw/train_labels.csv")
    put("a/FLAIR.nii.gz", 1)
    table.write_text("BraTS21ID,MGMT_value\na,1\n")
    faults = check.check()  # nothing is under DVC or git here
    assert not [fault for fault in faults if fault.startswith("params.yaml: ingest")]
    table.write_text("BraTS21ID,MGMT_value\nb,1\n")
    (unknown,) = set(check.check()) - set(faults)
    assert unknown.startswith(str(table))


def test_check_takes_a_table_of_participants_among_the_scans() -> None:
    put("sub-01/anat/sub-01_FLAIR.nii.gz", 1)
    own = {"table": str(RAW / "participants.tsv"), "case_column": "participant_id", "label_column": "mgmt"}
    write_params(Path(), labels=own)
    (RAW / "participants.tsv").write_text("participant_id\tmgmt\n01\t1\n02\tn/a\n")
    (fault,) = check.check()
    assert "dvc add" in fault  # alone: DVC then has the table, too


@pytest.mark.parametrize("case", ["plain", "BraTS-GLI-00005-100", "two", "damaged"])
def test_who_prints_one_line_and_only_the_patient_that_an_id_names(
    case: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(who, "map_cases", in_this_process)
    put("plain/FLAIR.nii.gz", 1, descrip=b"Jane Doe")
    put("BraTS-GLI-00005-100/BraTS-GLI-00005-100-t2f.nii.gz", 2)
    put("two/a_flair.nii.gz", 3)
    put("two/b_flair.nii.gz", 4, sidecar={"PatientID": "Jane Doe"})
    put("damaged/FLAIR.nii.gz", 5)
    (RAW / "damaged/FLAIR.nii.gz").write_bytes(b"rubbish")
    main.main(["who", case])
    (line,) = capfd.readouterr().out.splitlines()
    assert "Jane" not in line
    assert line == case[:-4] if case.startswith("BraTS") else "NIfTI" in line
