"""Damaged NIfTI files and sidecars: a volume or a code, soon, and no other exception."""

import gzip
import json
import time
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from workspace import PARAMS

from flairprep.core.codes import Code
from flairprep.core.outcomes import Status
from flairprep.core.params import load
from flairprep.dicom.discovery import RawCase
from flairprep.stages import ingest

FILES = 400
SIDECAR = {"EchoTime": 0.09, "InversionTime": 2.5, "Manufacturer": "GE", "ImageType": ["ORIGINAL", "PRIMARY"]}
SPECIAL = (0, 1, 0x7F, 0x80, 0xFF)


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """One to four damages, most of them to the header: bits, extreme bytes, floats and lengths; or a cut."""
    changed = bytearray(content)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(352)) if rng.random() < 0.8 else int(rng.integers(len(changed)))
        place = min(place, len(changed) - 1)
        match rng.integers(5):
            case 0:
                changed[place] ^= 1 << int(rng.integers(8))
            case 1:
                changed[place] = SPECIAL[rng.integers(len(SPECIAL))]
            case 2:
                number = rng.choice([np.nan, np.inf, -1e38, 1e38, 0, -1, 1e-40, 3e9])
                changed[place : place + 4] = np.float32(number).tobytes()
            case 3:
                at = 40 + 2 * int(rng.integers(8))
                changed[at : at + 2] = np.int16(rng.choice([-1, 0, 1, 7, 8, 300, 32767])).tobytes()
            case _:
                if rng.random() < 0.3 and len(changed) > 2:
                    del changed[int(rng.integers(1, len(changed))) :]
    return bytes(changed)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A scan of 12 x 11 x 10 voxels."""
    values = np.pad(np.random.default_rng(0).integers(1, 99, (10, 9, 8)), 1).astype(np.int16)
    path = tmp_path_factory.mktemp("whole") / "a.nii"
    image = nib.Nifti1Image(values, np.diag([-1, -1, 2, 1]))
    image.set_qform(image.affine, 1)
    nib.save(image, path)
    return path.read_bytes()


def test_damaged_scan_becomes_a_sound_volume_or_a_code(whole: bytes, tmp_path: Path) -> None:
    section = load(ingest.IngestParams, "ingest", PARAMS)
    seen = set()
    for number in range(FILES):
        rng = np.random.default_rng([7, number])
        folder = tmp_path / str(number)
        folder.mkdir()
        content = damaged(whole, rng)
        packed = gzip.compress(content, 1)
        kind = number % 4
        if kind == 1:
            packed = damaged(packed, rng)
        (folder / ("FLAIR.nii" if kind == 0 else "FLAIR.nii.gz")).write_bytes(content if kind == 0 else packed)
        sidecar = json.dumps(SIDECAR).encode()
        (folder / "FLAIR.json").write_bytes(damaged(sidecar, rng) if kind == 3 else sidecar)
        case = RawCase("case", tuple(sorted(folder.iterdir())))
        started = time.monotonic()
        outcome = ingest.ingest(case, params=section, volumes_dir=folder).outcome
        assert time.monotonic() - started < 20  # none that hangs
        if outcome.status is Status.FAILED:
            assert outcome.code in set(Code)
            assert not (folder / "case.nii.gz").exists()
        else:
            volume = sitk.ReadImage(str(folder / "case.nii.gz"))
            assert np.isfinite(sitk.GetArrayViewFromImage(volume)).all()
            assert np.isfinite([*volume.GetSpacing(), *volume.GetOrigin(), *volume.GetDirection()]).all()
        seen.add(outcome.code)
    assert len(seen) >= 6
