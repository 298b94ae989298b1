"""Small DICOM series that the tests make themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

# Directions of increasing column and of increasing row, LPS.
PLANES = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}


def slices(
    stored: np.ndarray,
    *,
    orientation: Sequence[float] = PLANES["axial"],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    **elements: Any,
) -> list[Dataset]:
    """One data set a slice of `stored` (slices, rows, columns), in spatial order along the slice normal.

    spacing: between slices, rows, columns, mm. elements: further DICOM elements of every slice, by keyword; a list
    whose length is the number of slices gives each slice its own value.
    """
    row, column = np.array(orientation, float).reshape(2, 3)
    normal = np.cross(row, column)
    unsigned = np.issubdtype(stored.dtype, np.unsignedinteger)
    series = []
    for index, pixels in enumerate(stored):
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = MRImageStorage
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[str(elements), str(index), str(pixels.tobytes()[:64])])
        dataset.Modality = "MR"
        dataset.PatientID = "phantom"
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.FrameOfReferenceUID = "1.2.1", "1.2.2", "1.2.3"
        dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MONOCHROME2", 1
        dataset.Rows, dataset.Columns = pixels.shape
        dataset.BitsAllocated = dataset.BitsStored = 16
        dataset.HighBit, dataset.PixelRepresentation = 15, int(not unsigned)
        dataset.PixelData = pixels.astype("<u2" if unsigned else "<i2").tobytes()
        dataset.ImageOrientationPatient = [float(value) for value in orientation]
        position = np.array(origin) + index * spacing[0] * normal
        dataset.ImagePositionPatient = [float(f"{value:.6f}") for value in position]
        dataset.PixelSpacing = [float(spacing[1]), float(spacing[2])]
        for keyword, value in elements.items():
            own = isinstance(value, list) and len(value) == len(stored)
            setattr(dataset, keyword, value[index] if own else value)
        series.append(dataset)
    return series


def save(series: Sequence[Dataset], folder: Path, seed: int = 0) -> list[Path]:
    """The slices as files of `folder` whose names are out of spatial order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = np.random.default_rng(seed).permutation(len(series)) + 7
    paths = [folder / f"Image-{name}.dcm" for name in names]
    for dataset, path in zip(series, paths, strict=True):
        dataset.save_as(path, enforce_file_format=True)
    return sorted(paths)
