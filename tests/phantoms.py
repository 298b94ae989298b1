"""Small DICOM series that the tests make themselves, and the volumes that they should become."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as Items
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from flairprep.core.outcomes import CaseError

# Directions of increasing column and of increasing row, LPS.
PLANES = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
}
OBLIQUE = (0.8, 0.6, 0.0, 0.0, 0.0, -1.0)
GROUPS = {  # functional group of an enhanced file -> its elements, taken from classic slices
    "PlanePositionSequence": ("ImagePositionPatient",),
    "PlaneOrientationSequence": ("ImageOrientationPatient",),
    "PixelMeasuresSequence": ("PixelSpacing",),
    "PixelValueTransformationSequence": ("RescaleIntercept", "RescaleSlope"),
}


def slices(
    stored: np.ndarray,
    *,
    orientation: Sequence[float] = PLANES["axial"],
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    **elements: Any,
) -> list[Dataset]:
    """One data set per slice of `stored` (slices, rows, columns), in spatial order along the slice normal.

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


def noise(shape: tuple[int, ...] = (10, 4, 5), dtype: Any = np.int16, low: int = -99, high: int = 999) -> np.ndarray:
    """Whole numbers from `low` to below `high`, the same on every call."""
    return np.random.default_rng(1).integers(low, high, shape).astype(dtype)


def files(folder: Path, stored: np.ndarray | None = None, **elements: Any) -> list[Path]:
    """A series of `stored` values, noise by default, as files of `folder`; elements as for `slices`."""
    return save(slices(noise() if stored is None else stored, **elements), folder)


def patch(path: Path, old: bytes, new: bytes) -> None:
    """Put other bytes into a file, which pydicom would refuse to write."""
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new.ljust(len(old))))


def enhanced(series: Sequence[Dataset], order: Sequence[int] | None = None, shared: Sequence[str] = ()) -> Dataset:
    """Classic slices as one enhanced file, stored in `order`; the groups `shared` stand there once."""
    frames = [series[index] for index in (range(len(series)) if order is None else order)]

    def group(classic: Dataset, sequences: Sequence[str]) -> Dataset:
        groups = Dataset()
        for sequence in sequences:
            item = Dataset()
            for keyword in GROUPS[sequence]:
                if keyword in classic:
                    setattr(item, keyword, classic[keyword].value)
            setattr(groups, sequence, Items([item]))
        return groups

    buffer = io.BytesIO()
    frames[0].save_as(buffer, enforce_file_format=True)
    whole = pydicom.dcmread(io.BytesIO(buffer.getvalue()))
    # Other values at the top: those of the groups come first.
    whole.ImagePositionPatient, whole.ImageOrientationPatient = [9, 9, 9], [0, 1, 0, 0, 0, 1]
    whole.PixelSpacing, whole.RescaleSlope, whole.RescaleIntercept = [9, 9], 9, 9
    whole.NumberOfFrames = len(frames)
    whole.PixelData = b"".join(frame.PixelData for frame in frames)
    own = [sequence for sequence in GROUPS if sequence not in shared]
    whole.SharedFunctionalGroupsSequence = Items([group(frames[0], shared)])
    whole.PerFrameFunctionalGroupsSequence = Items([group(frame, own) for frame in frames])
    return whole


def voxels(image: sitk.Image) -> np.ndarray:
    """The voxels (z, y, x) of an image."""
    return sitk.GetArrayFromImage(image)


def assert_same_image(one: sitk.Image, other: sitk.Image) -> None:
    """Check that type, voxels and geometry are equal."""
    assert one.GetPixelIDTypeAsString() == other.GetPixelIDTypeAsString()
    np.testing.assert_array_equal(voxels(one), voxels(other))
    assert one.GetSpacing() == pytest.approx(other.GetSpacing())
    assert one.GetOrigin() == pytest.approx(other.GetOrigin())
    assert one.GetDirection() == pytest.approx(other.GetDirection())


def refusal(call: Callable[..., Any], *arguments: Any) -> CaseError:
    """The CaseError that a call raises."""
    with pytest.raises(CaseError) as caught:
        call(*arguments)
    return caught.value
