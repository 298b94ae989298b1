"""NIfTI scans inside archives: the rows, volumes and codes of the folder, read in place."""

import gzip
import json
import shutil
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import phantoms
import pytest
from archived import of_folder, replace_folder, write, write_zip
from raw_folder import OUT, RAW, ingested, make_project
from workspace import contents, write_params

from flairprep.cli import main
from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.dicom import archive_entries

SIDECAR = {"Manufacturer": "Philips", "MagneticFieldStrength": 3, "EchoTime": 0.09, "InversionTime": 2.5}


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def brain(seed: int, slices: int = 8) -> np.ndarray:
    """A skull-stripped volume (x, y, z), so that nothing warns of a face."""
    return np.pad(np.random.default_rng(seed).integers(1, 999, (6, 7, slices - 2)), 1).astype(np.int16)


def image(values: np.ndarray, kind: type = nib.Nifti1Image) -> nib.Nifti1Image:
    made = kind(values, np.diag([-1, -1, 1, 1]))
    made.set_qform(made.affine, 1)
    made.set_sform(made.affine, 0)
    return made


def put(name: str, seed: int, sidecar: object = None) -> None:
    path = RAW / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(image(brain(seed), nib.Nifti1Pair if ".hdr" in name else nib.Nifti1Image), path)
    if sidecar is not None:
        path.with_name(path.name.split(".nii")[0] + ".json").write_text(json.dumps(sidecar))


def put_cohort() -> None:
    """One case of each layout, and one of each fault that the headers show."""
    put("00002/FLAIR.nii.gz", 1, SIDECAR)
    put("00002/FLAIR_bias.nii.gz", 2)
    put("00003/00003_flair.nii.gz", 3)
    put("00003/00003_t1.nii", 4)
    put("00003/00003_seg.nii.gz", 5)
    put("00004/FLAIR/anything.nii", 6)
    put("00004/other/FLAIR.nii", 7)
    put("BraTS-GLI-00005-100/BraTS-GLI-00005-100-t2f.nii.gz", 8)
    put("BraTS-GLI-00005-101/BraTS-GLI-00005-101-t2f.nii.gz", 9)
    put("pair/pair_flair.hdr", 10)
    put("sub-01/anat/sub-01_FLAIR.nii.gz", 11, {"EchoTime": 0.12})
    (RAW / "sub-01/sub-01_FLAIR.json").write_text(json.dumps(SIDECAR))
    put("sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", 12)
    put("sub-02/ses-2/anat/sub-02_ses-2_FLAIR.nii.gz", 13)
    put("half/half_flair.hdr", 14)
    (RAW / "half/half_flair.img").unlink()
    put("none/none_t1.nii.gz", 15)
    put("sidecar/FLAIR.nii.gz", 16)
    (RAW / "sidecar/FLAIR.json").write_text("{")
    put("cut/FLAIR.nii.gz", 17)
    (RAW / "cut/FLAIR.nii.gz").write_bytes((RAW / "cut/FLAIR.nii.gz").read_bytes()[:-30])
    put("both/converted_flair.nii.gz", 18)
    phantoms.save(phantoms.slices(brain(19).T, SeriesDescription="t1", EchoTime=3), RAW / "both/T1")
    (RAW / "both/notes.txt").write_text("no scan")


@pytest.mark.parametrize("kind", [".zip", ".tar.gz", ".tar.zst"])
def test_rows_and_volumes_are_those_of_the_folders(kind: str) -> None:
    put_cohort()
    (RAW / "more/FLAIR").mkdir(parents=True)  # by its folder, so that cases of one kind lie beside the other
    put("more/FLAIR/a.nii.gz", 20)
    of_folders = ingested()
    outs = contents(OUT)
    assert of_folders == {
        **dict.fromkeys(("00002", "00003", "00004", "BraTS-GLI-00005-100", "BraTS-GLI-00005-101", "more"), "ok"),
        **{"pair": "ok", "sub-01": "ok", "sub-02": "AMBIGUOUS_SERIES", "half": "NO_PIXEL_DATA", "none": "NO_SERIES"},
        **{"sidecar": "DECODE_FAILED", "cut": "DECODE_FAILED", "both": "NOT_DICOM"},
    }
    for case in of_folders:
        replace_folder(RAW / case, kind)
    assert ingested() == of_folders
    assert contents(OUT) == outs


def test_archive_of_the_sequence_and_one_inside_a_case_are_read() -> None:
    put("a/FLAIR/x.nii.gz", 1)
    put("b/anat/b_flair.nii.gz", 2)
    put("c/c_T1w.nii.gz", 3)
    put("c/c_flair.nii.gz", 4)
    ingested()
    outs = contents(OUT / "volumes")
    replace_folder(RAW / "a/FLAIR", ".tar.gz")
    replace_folder(RAW / "b/anat")
    write_zip(RAW / "c/more.zip", [("c_flair.nii.gz", (RAW / "c/c_flair.nii.gz").read_bytes())])
    (RAW / "c/c_flair.nii.gz").unlink()
    assert ingested() == {"a": "ok", "b": "ok", "c": "ok"}
    assert contents(OUT / "volumes") == outs


def test_damage_of_the_archive_costs_its_case_with_a_code_of_archives() -> None:
    for number, case in enumerate(("plain", "encrypted", "checksum", "twice", "up", "end")):
        put(f"{case}/{case}_flair.nii.gz", number)
    members = {case.name: of_folder(case) for case in RAW.iterdir()}
    for case in members:
        replace_folder(RAW / case)
    path = RAW / "encrypted.zip"
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    stored = write_zip(RAW / "checksum.zip", members["checksum"], zipfile.ZIP_STORED).read_bytes()
    inner = members["checksum"][0][1]
    (RAW / "checksum.zip").write_bytes(stored.replace(inner, inner[:-1] + b"\7"))
    (RAW / "twice.zip").unlink()
    write(RAW / "twice.tar", members["twice"] * 2)
    write_zip(RAW / "up.zip", [("../up_flair.nii.gz", members["up"][0][1])])
    (RAW / "end.zip").write_bytes((RAW / "end.zip").read_bytes()[:-9])
    assert ingested() == {
        **{"plain": "ok", "encrypted": "ENCRYPTED", "checksum": "DAMAGED_ARCHIVE", "twice": "DAMAGED_ARCHIVE"},
        **{"up": "LINK_OUTSIDE", "end": "DAMAGED_ARCHIVE"},
    }


def test_bomb_inside_an_archive_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = image(brain(1)).to_bytes()
    write_zip(RAW / "bomb.zip", [("FLAIR.nii.gz", gzip.compress(plain + bytes(2**24 + 2**20), 9))])
    write_zip(RAW / "large.zip", [("FLAIR.nii", plain)])
    monkeypatch.setattr(archive_entries, "MAX_FILE", len(plain) - 1)
    assert ingested() == {"bomb": "TOO_LARGE", "large": "TOO_LARGE"}


@pytest.mark.slow
def test_inspect_shows_scans_of_archives_and_no_name_of_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    put("a/CANARY_FLAIR.nii.gz", 1)
    put("b/CANARY_1_FLAIR.nii.gz", 2)
    put("b/CANARY_2_FLAIR.nii.gz", 3)
    for case in "ab":
        replace_folder(RAW / case, ".tar.zst", "CANARY/")
    main.main(["inspect", str(RAW)])
    shown = "".join(capfd.readouterr())
    assert "1 of 2 cases" in shown
    assert "AMBIGUOUS_SERIES" in shown
    assert "canary" not in shown.lower()
    assert ingested() == {"a": "ok", "b": "AMBIGUOUS_SERIES"}
    assert list(read_csv(OUT / "series.csv")["case_id"]) == ["a", "b", "b"]


def put_data_set() -> None:
    """A BIDS data set of two subjects, with what lies beside them."""
    for number, case in enumerate(("sub-01", "sub-02")):
        put(f"set/{case}/anat/{case}_FLAIR.nii.gz", number)
        put(f"set/derivatives/x/{case}/anat/{case}_FLAIR.nii.gz", number + 10)
    put("set/derivatives/x/sub-03/anat/sub-03_FLAIR.nii.gz", 13)
    (RAW / "set/FLAIR.json").write_text(json.dumps(SIDECAR))
    (RAW / "set/dataset_description.json").write_text("{}")


@pytest.mark.parametrize("inside", ["", "ds000001/"])
def test_data_set_in_one_zip_is_a_case_per_subject(inside: str) -> None:
    put_data_set()
    members = [(f"{inside}{name}", content) for name, content in of_folder(RAW / "set")]
    shutil.rmtree(RAW / "set")
    write_zip(RAW / "set.zip", members)
    put("sub-04.nii/x_flair.nii.gz", 14)  # a case beside it
    assert ingested() == {"sub-01": "ok", "sub-02": "ok", "sub-04.nii": "ok"}
    for number, case in enumerate(("sub-01", "sub-02")):
        np.testing.assert_array_equal(nib.load(OUT / f"volumes/{case}.nii.gz").dataobj, brain(number))
    table = read_csv(OUT / "cases.csv").set_index("case_id")
    assert list(table["manufacturer"]) == ["philips", "philips", ""]
    put("sub-02/anat/sub-02_FLAIR.nii.gz", 15)
    with pytest.raises(FlairprepError, match="'sub-02'"):
        ingested()


def test_zip_of_one_subject_is_a_case_of_its_own_name() -> None:
    put("set/sub-01/anat/sub-01_FLAIR.nii.gz", 1)
    replace_folder(RAW / "set")
    write_zip(RAW / "damaged.zip", []).write_bytes(b"PK")
    assert ingested() == {"damaged": "DAMAGED_ARCHIVE", "set": "ok"}


@pytest.mark.parametrize("kind", [".zip", ".tar.gz"])
def test_sessions_inside_an_archive_are_those_of_the_folder(kind: str, project: Path) -> None:
    put("sub-02/ses-1/anat/sub-02_ses-1_FLAIR.nii.gz", 1, SIDECAR)
    put("sub-02/ses-2/anat/sub-02_ses-2_FLAIR.nii.gz", 2)
    replace_folder(RAW / "sub-02", kind)
    for session, seeds in (("first", {"": 1}), ("last", {"": 2}), ("each", {"_1": 1, "_2": 2})):
        write_params(project, ingest={"max_failed": 1, "min_slices": 6, "session": session})
        assert ingested() == {f"sub-02{end}": "ok" for end in seeds}
        for end, seed in seeds.items():
            np.testing.assert_array_equal(nib.load(OUT / f"volumes/sub-02{end}.nii.gz").dataobj, brain(seed))
