"""Canaries in NIfTI headers, extensions, sidecars and archives: none may come out, whatever a case's fate."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from archived import replace_folder, write_zip
from nifti_canaries import SIDECAR, TEXT, mark, put
from test_privacy import (
    BY_HEADER,
    KEY,
    RAW,
    brain,
    expected,
    leaks,
    outcomes,
    project,
    pseudonym,
    run,
    run_commands,
    write_cohort,
    write_labels,
    written,
)

__all__ = ["project"]  # the fixture

CASES = {  # case -> what ingest makes of it
    "ok": ("ok", ""),
    "words": ("ok", ""),
    "agent": ("warned", "MARKED_SERIES"),
    "more": ("ok", ""),
    "modality": ("failed", "NOT_MR"),
    "phase": ("failed", "NOT_MAGNITUDE"),
    "burned": ("failed", "BURNED_IN"),
    "times": ("failed", "NO_SERIES"),
    "json": ("failed", "DECODE_FAILED"),
    "cut": ("failed", "DECODE_FAILED"),
    "nowhere": ("failed", "NO_GEOMETRY"),
    "colour": ("failed", "NOT_GRAYSCALE"),
    "twice": ("failed", "AMBIGUOUS_SERIES"),
    "several": ("failed", "MULTIPLE_VOLUMES"),
    "none": ("failed", "NO_SERIES"),
}
SIDECARS = {
    "words": dict.fromkeys(SIDECAR, TEXT) | {"Modality": "MR", "BurnedInAnnotation": TEXT, "SeriesDescription": TEXT},
    "agent": SIDECAR | {"ContrastBolusIngredient": TEXT},
    "modality": SIDECAR | {"Modality": TEXT},
    "phase": SIDECAR | {"ImageType": ["CANARY", "PHASE"]},
    "burned": SIDECAR | {"BurnedInAnnotation": "YES"},
    "times": SIDECAR | {"InversionTime": 0.8, "EchoTime": 0.01},
    "json": json.dumps(SIDECAR).encode()[:-9],
}


def put_case(case: str, seed: int) -> None:
    """The scans of a case, named with canaries."""
    values = brain(seed).T
    if case == "several":
        values = np.stack([values] * 2, axis=3)
    patches = {"colour": {70: 128, 72: 24}, "nowhere": {252: 0, 254: 0}}.get(case, {})  # types; qform and sform
    name = "T2w" if case == "none" else "FLAIR"
    for number in range(1 + (case == "twice")):
        put(RAW / f"{case}/CANARY/{TEXT} {number}_{name}.nii.gz", values, SIDECARS.get(case, SIDECAR), patches)
    if case == "cut":
        (path,) = (RAW / case).rglob("*.nii.gz")
        path.write_bytes(path.read_bytes()[:-40])
    (RAW / f"{case}/CANARY.txt").write_text(TEXT)


def pack(kind: str) -> None:
    for case in CASES:
        mark(replace_folder(RAW / case, kind, f"{TEXT}/"))


def pack_inside() -> None:
    """One archive in the folder of each case, its name a canary."""
    for case in CASES:
        mark(replace_folder(RAW / case / "CANARY").rename(RAW / f"{case}/{TEXT}.zip"))


LAYOUTS: dict[str, Callable[[], None]] = {
    "folders": lambda: None,
    ".zip": lambda: pack(".zip"),
    ".tar.gz": lambda: pack(".tar.gz"),
    ".tar.zst": lambda: pack(".tar.zst"),
    "inside": pack_inside,
}
FAST = ("folders", ".zip")


@pytest.mark.parametrize(
    "layout", [pytest.param(one, marks=[] if one in FAST else pytest.mark.slow) for one in LAYOUTS]
)
@pytest.mark.slow
def test_nothing_of_nifti_scans_comes_out(layout: str, project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for seed, case in enumerate(CASES):
        put_case(case, seed)
    LAYOUTS[layout]()
    write_zip(RAW / "up.zip", [(f"../{TEXT}_FLAIR.nii.gz", b"")])
    (RAW / "rubbish.tar").write_bytes(TEXT.encode() * 99)
    write_labels({case: case for case in CASES})
    run("ingest", "normalize", "select_slices", "balance", "split")
    run_commands()
    shown = capfd.readouterr()
    archives = {"up": ("failed", "LINK_OUTSIDE"), "rubbish": ("failed", "DAMAGED_ARCHIVE")}
    assert outcomes({case: case for case in (*CASES, *archives)}) == CASES | archives
    assert leaks(written() | {"stdout": shown.out.encode(), "stderr": shown.err.encode()}, []) == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".zip", ".tgz"])
def test_nothing_of_archives_of_an_export_comes_out(
    kind: str, project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_cohort(lambda case: RAW / f"CANARY {case}/1.2.424242", BY_HEADER)
    for folder in sorted(path for path in RAW.iterdir() if path.is_dir()):
        mark(replace_folder(folder, kind, f"{TEXT}/"))
    (RAW / f"{TEXT} damaged{kind}").write_bytes(TEXT.encode() * 99)
    (RAW / "flairprep.key").write_text(KEY.hex())
    patients = {case: f"CANARY {case}" for case in BY_HEADER}
    write_labels(patients)
    run("ingest", "normalize", "select_slices", "balance", "split")
    run_commands()
    shown = capfd.readouterr()
    by_case = outcomes({case: pseudonym(patient) for case, patient in patients.items()})
    assert by_case == expected(BY_HEADER) | {"warned2": ("warned", "MARKED_SERIES")}
    assert leaks(written() | {"shown": (shown.out + shown.err).encode()}, list(patients.values())) == []
