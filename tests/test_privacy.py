"""Canaries in every place of a DICOM file that can hold text: none may come out anywhere but case ids.

What is searched: every byte of every out, unpacked, and all that stages and commands print, workers included.
"""

import gzip
import hashlib
import hmac
import importlib
import struct
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import phantoms
import pytest
from pydicom.datadict import DicomDictionary
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.uid import UID
from workspace import write_params

from flairprep.cli import main
from flairprep.core.tables import read_csv
from flairprep.dicom import discovery, survey

RAW = Path("data/raw/train")
KEY = bytes(range(32))
SLICES = 5

# One canary a kind of value; that of UIDs holds that of numbers.
VALUES = {
    **dict.fromkeys(("AE", "CS", "LO", "LT", "SH", "ST", "UC", "UT"), "CANARY"),
    **{"DA": "19610203", "TM": "232425.424242", "DT": "19610203232425.424242", "UI": "1.2.424242.19610203"},
    **{"IS": "424242", "DS": "424242", "PN": "Canary^Name", "UR": "http://canary.example/CANARY"},
    **{"UN": b"CANARY", "OB": b"CANARY"},
}
CANARIES = ("canary", "19610203", "1961-02-03", "232425", "23:24:25", "424242", "424.242", "424,242")
# What decides whether and how an image is read, or what cases.csv holds as a number, is no place for a canary.
DECISIVE = {
    *("TransferSyntaxUID", "SpecificCharacterSet", "SOPClassUID", "Modality", "PhotometricInterpretation", "ImageType"),
    *("NumberOfFrames", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleSlope"),
    *("RescaleIntercept", "EchoTime", "RepetitionTime", "InversionTime", "MagneticFieldStrength", "PixelData"),
    *("DirectoryRecordSequence", "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"),
    *("ContrastBolusAgent", "ContrastBolusAgentSequence"),  # they warn
}
META = {
    **dict.fromkeys(
        ("SourceApplicationEntityTitle", "SendingApplicationEntityTitle", "ReceivingApplicationEntityTitle"), "CANARY"
    ),
    **{"ImplementationVersionName": "CANARY", "ImplementationClassUID": "1.2.424242"},
    **{"PrivateInformationCreatorUID": "1.2.424242", "PrivateInformation": b"CANARY"},
    **dict.fromkeys(("SourcePresentationAddress", "SendingPresentationAddress"), "http://canary.example"),
}


def keywords(*kinds: str) -> Iterator[tuple[str, str]]:
    """(keyword, VR) of the data dictionary: what a data set may hold, of any of these kinds."""
    for tag, (vr, _, _, _, keyword) in DicomDictionary.items():
        if keyword and vr in kinds and tag >> 16 not in (0x0000, 0x0002) and keyword not in DECISIVE:
            yield keyword, vr


def private(dataset: Dataset) -> None:
    block = dataset.private_block(0x0099, "CANARY CREATOR", create=True)
    for element, vr in enumerate(sorted(VALUES)):
        block.add_new(element, vr, VALUES[vr])
    dataset.add_new(0x00291010, "UN", b"CANARY of no creator")


def template() -> dict[int, bytes]:
    """Every element of the dictionary that can hold a canary, with one; sequences with an item of canaries."""
    item = Dataset()
    for keyword in ("PatientName", "PatientID", "StudyDate", "StudyInstanceUID", "TextValue", "StudyTime"):
        setattr(item, keyword, VALUES[next(v[0] for v in DicomDictionary.values() if v[4] == keyword)])
    private(item)
    dataset = Dataset()
    for keyword, vr in keywords(*VALUES):
        setattr(dataset, keyword, VALUES[vr])
    for keyword, _ in keywords("SQ"):
        setattr(dataset, keyword, [item])
    private(dataset)
    return encoded(dataset)


def encoded(dataset: Dataset) -> dict[int, bytes]:
    """The elements of a data set as they stand in a file, by tag; made once, since there are thousands."""
    elements = {}
    for element in dataset:
        buffer = DicomBytesIO()
        buffer.is_little_endian, buffer.is_implicit_VR = True, False
        write_data_element(buffer, element)
        elements[int(element.tag)] = buffer.getvalue()
    return elements


def whole(dataset: Dataset, patterns: dict[int, bytes]) -> bytes:
    """The file of `dataset`, and of `patterns` where it lacks an element."""
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True, implicit_vr=False, little_endian=True)
    start = 132 + 12 + struct.unpack_from("<I", buffer.getvalue(), 140)[0]  # the meta elements state their length
    return buffer.getvalue()[:start] + b"".join(value for _, value in sorted((patterns | encoded(dataset)).items()))


def brain(seed: int) -> np.ndarray:
    """A brain among exact zeros, so that nothing warns of a face."""
    inside = np.random.default_rng(seed).integers(300, 400, (SLICES - 2, 14, 14))
    return np.pad(inside, ((1, 1), (3, 3), (3, 3))).astype(np.int16)


def without(keyword: str) -> Callable[[Dataset], object]:
    return lambda dataset: dataset.pop(keyword)


def with_values(**values: object) -> Callable[[Dataset], object]:
    return lambda dataset: [setattr(dataset, keyword, value) for keyword, value in values.items()]


def halved(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 4 * 2]


def of_syntax(dataset: Dataset) -> None:
    dataset.file_meta.TransferSyntaxUID = UID("1.2.424242.1")


# case -> what ingest makes of it, and what is changed in each of its files
CASES: dict[str, tuple[str, str, Callable[[Dataset], object]]] = {
    "ok1": ("ok", "", lambda dataset: None),
    "ok2": ("ok", "", with_values(Manufacturer="SIEMENS CANARY")),
    "warned1": ("warned", "INVERTED", with_values(PhotometricInterpretation="MONOCHROME1")),
    "warned2": ("warned", "MARKED_SERIES", with_values(ContrastBolusAgent="CANARY")),
    "modality": ("failed", "NOT_MR", with_values(Modality="CANARY")),
    "mosaic": ("failed", "MOSAIC", with_values(ImageType=["CANARY", "PRIMARY", "MOSAIC"])),
    "cut": ("failed", "DECODE_FAILED", halved),
    "slope": ("failed", "DECODE_FAILED", with_values(RescaleSlope="424242")),
    "nowhere": ("failed", "NO_GEOMETRY", without("ImagePositionPatient")),
    "twice": ("failed", "AMBIGUOUS_SERIES", lambda dataset: None),
    "none": ("failed", "NO_SERIES", with_values(EchoTime=10, InversionTime=300)),
    "color": ("failed", "NOT_GRAYSCALE", with_values(PhotometricInterpretation="CANARY")),
    "syntax": ("failed", "UNSUPPORTED_TRANSFER_SYNTAX", of_syntax),
    "text": ("failed", "NOT_DICOM", lambda dataset: None),
}
BY_HEADER = [case for case in CASES if case != "text"]  # no patient, no case
SEVERAL = {"twice": 2, "none": 3}  # series


def write_case(case: str, seed: int, folder: Path, patterns: dict[int, bytes]) -> None:
    """The files of a case, their names canaries too."""
    folder.mkdir(parents=True, exist_ok=True)
    change = CASES[case][2]
    for number in range(SEVERAL.get(case, 1)):
        series = phantoms.slices(brain(seed), spacing=(4, 1, 1))
        for index, dataset in enumerate(series):
            dataset.SeriesDescription = "FLAIR CANARY"
            dataset.EchoTime, dataset.RepetitionTime, dataset.InversionTime = 90, 9000, 2500
            dataset.preamble = b"CANARY 424242 19610203".ljust(128, b"\0")
            dataset.PatientID = f"CANARY {case}"
            dataset.StudyInstanceUID = dataset.FrameOfReferenceUID = f"1.2.424242.{seed}"
            dataset.SeriesInstanceUID = f"1.2.424242.{seed}.{number}"
            dataset.SOPInstanceUID = f"1.2.424242.{seed}.{number}.{index}"
            for keyword, value in META.items():
                setattr(dataset.file_meta, keyword, value)
            change(dataset)
            path = folder / f"CANARY 19610203 {case} {number} {index * 7 % SLICES}"
            path.write_bytes(whole(dataset, patterns))
            if case == "slope":
                content = path.read_bytes()
                assert content.count(b"\x28\x00\x53\x10DS\x06\x00424242") == 1
                path.write_bytes(content.replace(b"\x53\x10DS\x06\x00424242", b"\x53\x10DS\x06\x00CANARY"))
    if case in ("text", "warned2"):
        (folder / "CANARY.txt").write_text("CANARY 424242")


def write_cohort(place: Callable[[str], Path], cases: list[str]) -> None:
    patterns = template()
    for seed, case in enumerate(cases):
        if case == "text":
            place(case).mkdir(parents=True)
            (place(case) / "CANARY").write_text("CANARY")
        else:
            write_case(case, seed, place(case), patterns)
    # Not readable at all, beside the files of a patient and where no patient is.
    for folder in (place("cut"), RAW / "CANARY alone/CANARY"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "CANARY damaged").write_bytes(b"CANARY".ljust(128, b"\0") + b"DICM" + b"CANARY 19610203" * 9)


def write_labels(ids: dict[str, str]) -> None:
    rows = [f"{patient},{number % 2},CANARY {number % 4}" for number, patient in enumerate(ids.values())]
    Path("data/raw/train_labels.csv").write_text("\n".join(["BraTS21ID,MGMT_value,site", *rows]) + "\n")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project whose stages run with two workers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "2")
    monkeypatch.delenv("FLAIRPREP_DEBUG", raising=False)
    RAW.mkdir(parents=True)
    write_params(
        tmp_path,
        ingest={"max_failed": 1, "min_slices": SLICES},
        select_slices={"count": 8, "size": 16},
        split={"folds": 2, "group_column": "site"},
    )
    return tmp_path


def run(*stages: str) -> None:
    for stage in stages:
        importlib.import_module(f"flairprep.stages.{stage}").main()


def run_commands(*options: str) -> None:
    main.main(["inspect", str(RAW), *options])
    with pytest.raises(SystemExit):  # nothing is under DVC here
        main.main(["check"])


def pseudonym(patient: str) -> str:
    return hmac.new(KEY, patient.encode(), hashlib.sha256).hexdigest()[:16]


def needles(patients: list[str]) -> dict[str, bytes]:
    """What is looked for in lower case: the canaries in the encodings that programs write, and digests without key."""
    wanted = {f"{text} {code}": text.encode(code) for text in CANARIES for code in ("ascii", "utf-16-le", "utf-16-be")}
    for name in ("md5", "sha1", "sha256"):
        for patient in patients:
            wanted[f"{name} of {patient}"] = hashlib.new(name, patient.encode()).hexdigest()[:16].encode()
    return wanted


def written() -> dict[str, bytes]:
    """Every file but the raw ones and the user's own: name and content, unpacked."""
    own = {Path("params.yaml"), Path("data/raw/train_labels.csv")}
    paths = [path for path in Path().rglob("*") if path.is_file() and RAW not in path.parents and path not in own]
    return {
        str(path): gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes() for path in paths
    }


def leaks(contents: dict[str, bytes], patients: list[str]) -> list[str]:
    wanted = needles(patients)
    return [
        f"{where}: {what}"
        for where, content in contents.items()
        for what, needle in wanted.items()
        if needle in content.lower() or needle in where.lower().encode()
    ]


def outcomes(ids: dict[str, str]) -> dict[str, tuple[str, str]]:
    """case -> (status, code) of data/ingest/cases.csv; ids: case -> its case id."""
    names = {case_id: case for case, case_id in ids.items()}
    rows = read_csv(Path("data/ingest/cases.csv")).to_dict("records")
    return {names[row["case_id"]]: (row["status"], row["code"]) for row in rows}


def expected(cases: list[str]) -> dict[str, tuple[str, str]]:
    return {case: CASES[case][:2] for case in cases}


def test_the_search_finds_what_it_looks_for() -> None:
    kinds = {vr for _, vr in keywords(*VALUES)}
    assert kinds >= set(VALUES) - {"UN"}
    assert len(dict(keywords(*VALUES))) > 2000
    for text in ("xxCaNaRy", "born 19610203", "1.2.424242.1"):
        assert leaks({"a.csv": text.encode()}, [])
        assert leaks({"a.csv": text.encode("utf-16")}, [])
        assert leaks({text: b""}, [])
    for vr, value in VALUES.items():
        assert leaks({vr: value if isinstance(value, bytes) else value.encode()}, [])
    assert leaks({"a": hashlib.sha256(b"CANARY ok1").hexdigest().encode()}, ["CANARY ok1"])
    assert not leaks({"data/ingest/cases.csv": b"ok1,warned"}, ["CANARY ok1"])


@pytest.mark.slow
def test_nothing_of_headers_and_names_comes_out_of_folders_of_cases(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cases = list(CASES)
    write_cohort(lambda case: RAW / case / "FLAIR/CANARY", cases)
    (RAW / "CANARY alone/CANARY/CANARY damaged").unlink()  # its folder would be a case with a canary for an id
    (RAW / "CANARY alone/CANARY").rmdir()
    (RAW / "CANARY alone").rmdir()
    write_labels({case: case for case in cases})
    run("ingest", "normalize", "select_slices", "balance", "split")
    run_commands("--any-modality")
    shown = capfd.readouterr()
    assert outcomes({case: case for case in cases}) == expected(cases)
    patients = [f"CANARY {case}" for case in cases]
    assert leaks(written() | {"stdout": shown.out.encode(), "stderr": shown.err.encode()}, patients) == []
    assert len(read_csv(Path("data/split/split.csv"))) == 4
    assert {row["case_id"] for row in read_csv(Path("data/normalize/cases.csv")).to_dict("records")} == set(cases)


@pytest.mark.slow
def test_nothing_of_headers_and_names_comes_out_of_an_export(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def place(case: str) -> Path:
        mixed = case in ("ok1", "ok2", "twice")  # of several patients in one folder
        return RAW / ("CANARY^Name/19610203 mixed" if mixed else f"CANARY {case}/1.2.424242/Canary_Name")

    write_cohort(place, BY_HEADER)
    (place("ok1") / "CANARY damaged, whose?").write_bytes(bytes(128) + b"DICM" + b"CANARY 19610203" * 9)
    (RAW / "DICOMDIR").write_bytes(b"CANARY")
    (RAW / "CANARY.csv").write_text("CANARY,CANARY\n")
    (RAW / "flairprep.key").write_text(KEY.hex())
    patients = {case: f"CANARY {case}" for case in BY_HEADER}
    write_labels(patients)
    run("ingest", "normalize", "select_slices", "balance", "split", "export")
    run_commands()
    shown = capfd.readouterr()
    by_case = outcomes({case: pseudonym(patient) for case, patient in patients.items()})
    assert by_case == expected(BY_HEADER) | {"warned2": ("warned", "MARKED_SERIES")}
    contents = written()
    assert leaks(contents | {"stdout": shown.out.encode(), "stderr": shown.err.encode()}, list(patients.values())) == []
    assert not any(KEY.hex().encode() in content or KEY in content for content in contents.values())
    assert KEY.hex() not in shown.out + shown.err
    assert [name for name in contents if "tfrecord" in name]
    assert len([name for name in contents if name.endswith(".nii.gz")]) == 3 * 4
    for name, content in contents.items():
        if name.endswith(".nii.gz"):
            assert free_texts(content) == [], name


def test_description_that_is_not_told_is_still_understood(tmp_path: Path) -> None:
    """By its name alone: there are no times that could tell the sequence."""
    series = phantoms.slices(brain(0), SeriesDescription="FLAIR CANARY", SeriesNumber=424242)
    case = discovery.RawCase("a", tuple(phantoms.save(series, tmp_path / "Canary_Name")))
    (one,) = survey.survey_case(case).candidates
    assert (one.sequence, one.title) == ("FLAIR", "series 1 (FLAIR)")  # so long a number may be an id


def free_texts(nifti: bytes) -> list[bytes]:
    """What a NIfTI-1 header says in its fields for text, and in extensions (nifti1.h)."""
    assert struct.unpack_from("<i", nifti)[0] == 348
    assert nifti[344:348] == b"n+1\0"
    names = {"data_type": (4, 10), "db_name": (14, 18), "descrip": (148, 80), "aux_file": (228, 24)}
    fields = [nifti[start : start + length].strip(b"\0") for start, length in names.values()]
    fields.append(nifti[328:344].strip(b"\0"))  # intent_name
    fields.append(nifti[348:352].strip(b"\0"))  # whether extensions follow
    assert struct.unpack_from("<f", nifti, 108)[0] == 352  # vox_offset: the voxels follow at once
    return [field for field in fields if field]
