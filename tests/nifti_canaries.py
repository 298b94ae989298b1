"""NIfTI scans and archives with a canary in every place that can hold text."""

import gzip
import io
import json
import struct
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import nibabel as nib
import numpy as np
from archived import SHELLS
from backports import zstd

TEXT = "CANARY^Name 19610203 424242"
NOTHING: Mapping[int, int] = MappingProxyType({})
TEXTS = {"descrip": 80, "aux_file": 24, "intent_name": 16, "db_name": 18, "data_type": 10}  # bytes of each
NAMES = (
    *("PatientName", "PatientID", "PatientBirthDate", "OtherPatientIDs", "PatientAddress", "PatientWeight"),
    *("InstitutionName", "InstitutionAddress", "InstitutionalDepartmentName", "StationName", "DeviceSerialNumber"),
    *("ProcedureStepDescription", "StudyDescription", "SequenceName", "PulseSequenceName", "ProtocolName"),
    *(
        "StudyID",
        "AccessionNumber",
        "StudyInstanceUID",
        "SeriesInstanceUID",
        "FrameOfReferenceUID",
        "ConversionSoftware",
    ),
    *("AcquisitionDateTime", "AcquisitionDate", "AcquisitionTime", "SeriesDate", "StudyDate", "ContentTime"),
    *("ManufacturersModelName", "SoftwareVersions", "ImageComments", "ReferringPhysicianName", "OperatorsName"),
    *("BodyPartExamined", "PatientPosition", "ScanningSequence", "SequenceVariant", "ScanOptions", "DatasetName"),
)
FLAIR = {
    **{"Modality": "MR", "Manufacturer": f"SIEMENS {TEXT}", "MagneticFieldStrength": 3, "EchoTime": 0.09},
    **{"RepetitionTime": 9, "InversionTime": 2.5, "MRAcquisitionType": "2D", "SeriesDescription": f"FLAIR {TEXT}"},
    **{"ImageType": ["ORIGINAL", "PRIMARY", "CANARY"], "CANARY": "CANARY", "PatientSex": "CANARY"},
    **{"PatientAge": "CANARY", "global": {"const": {"PatientName": TEXT}}, "tags": [{"CANARY": 424242}]},
}
SIDECAR: dict[str, Any] = dict.fromkeys(NAMES, TEXT) | FLAIR


def scan(values: np.ndarray, patches: Mapping[int, int] = NOTHING) -> bytes:
    """The bytes of a .nii.gz of voxels (x, y, z): its texts, extensions and gzip's own name hold canaries.

    patches: byte of the header -> 16-bit number.
    """
    made = nib.Nifti1Image(values, np.diag([-1, -1, 2, 1]))
    made.set_qform(made.affine, 1)
    made.set_sform(made.affine, 0)
    for name, length in TEXTS.items():
        made.header[name] = TEXT.encode()[:length]
    for code in ("comment", "afni", "xcede"):
        made.header.extensions.append(nib.nifti1.Nifti1Extension(code, TEXT.encode() * 9))
    buffer, content = io.BytesIO(), bytearray(made.to_bytes())
    for place, number in patches.items():
        struct.pack_into("<h", content, place, number)
    with gzip.GzipFile(f"{TEXT}.nii", "wb", fileobj=buffer, mtime=424242) as file:
        file.write(content)
    return buffer.getvalue()


def put(path: Path, values: np.ndarray, sidecar: Any = SIDECAR, patches: Mapping[int, int] = NOTHING) -> None:
    """Write a scan, and its sidecar: fields, or bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(scan(values, patches))
    stated = sidecar if isinstance(sidecar, bytes) else json.dumps(sidecar).encode()
    path.with_name(path.name.removesuffix(".nii.gz") + ".json").write_bytes(stated)


def mark(archive: Path) -> Path:
    """Write an archive anew with canaries in comments, extra fields, owners, extended headers and further members."""
    content = archive.read_bytes()
    buffer = io.BytesIO()
    if archive.name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
            new.comment = TEXT.encode()
            for info in old.infolist():
                member = zipfile.ZipInfo(info.filename)
                member.comment = TEXT.encode()
                member.extra = struct.pack("<HH", 0x4343, len(TEXT)) + TEXT.encode()
                new.writestr(member, old.read(info), zipfile.ZIP_DEFLATED)
            new.writestr(f"{TEXT}.txt", TEXT)
    else:
        kind = next(kind for kind in (".tar.zst", ".tar.gz", ".tgz", ".tar") if archive.name.endswith(kind))
        plain = (
            zstd.decompress(content) if kind == ".tar.zst" else content if kind == ".tar" else gzip.decompress(content)
        )
        with (
            tarfile.open(fileobj=io.BytesIO(plain)) as old,
            tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT, pax_headers={"comment": TEXT}) as new,
        ):
            for info in old.getmembers():
                info.uname = info.gname = TEXT
                info.pax_headers = {"CANARY.name": TEXT, "comment": TEXT}
                new.addfile(info, old.extractfile(info))
            info = tarfile.TarInfo(f"{TEXT}.txt")
            info.size = len(TEXT)
            new.addfile(info, io.BytesIO(TEXT.encode()))
        buffer = io.BytesIO(SHELLS[kind](buffer.getvalue()))
    archive.write_bytes(buffer.getvalue())
    return archive


def unpacked(path: Path) -> bytes:
    """The bytes of a file, inflated where they are gzipped."""
    content = path.read_bytes()
    return gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
