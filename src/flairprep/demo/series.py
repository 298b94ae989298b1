"""Write a case as DICOM files."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

from flairprep.demo.phantom import Atlas, altered, grid, head, scan
from flairprep.demo.plan import FILES, DemoCase, Fault


def write_case(atlas: Atlas, folder: Path, signal: float, case: DemoCase) -> None:
    """Write folder/CASE_ID/FLAIR/Image-<k>.dcm, with names and instance numbers in no spatial order."""
    patient = head(atlas, case, signal)
    acquisition = grid(case, patient)
    volume = altered(case, scan(case, patient, acquisition), acquisition)
    if case.fault is Fault.DARK:
        volume[:] = 0
    rng = case.rng(FILES)
    dataset = _series(case, rng, acquisition)
    signed = not case.rescaled and rng.uniform() < 0.4
    dataset.PixelRepresentation = int(signed)
    dataset.BitsStored = 16 if signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    slice_indices = np.arange(len(volume))
    if case.fault is Fault.MISSING_SLICES:
        slice_indices = np.delete(slice_indices, slice(len(slice_indices) // 3, len(slice_indices) // 3 + 3))
    if case.fault is Fault.DUPLICATED_SLICE:
        slice_indices = np.append(slice_indices, len(slice_indices) // 2)
    first = 1 if rng.uniform() < 0.2 else int(rng.integers(2, 60))
    names, instances = first + rng.permutation(len(slice_indices)), 1 + rng.permutation(len(slice_indices))
    series = folder / case.case_id / "FLAIR"
    series.mkdir(parents=True)
    for file, slice_index in enumerate(slice_indices):
        values = volume[slice_index]
        slope = float(f"{max(values.max(), 1) / 4095:.6f}") if case.rescaled else 1.0
        stored = np.clip(np.rint(values / slope), 0, 4095)
        position = acquisition.TransformIndexToPhysicalPoint((0, 0, int(slice_index)))
        dataset.SOPInstanceUID = _uid(case, "instance", file)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = int(instances[file])
        dataset.ImagePositionPatient = [round(value, 6) for value in position]
        dataset.RescaleSlope = slope
        dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        dataset.save_as(series / f"Image-{names[file]}.dcm", enforce_file_format=True)


def _uid(case: DemoCase, kind: str, number: int = 0) -> str:
    return generate_uid(entropy_srcs=["flairprep demo", str(case.seed), str(case.index), kind, str(number)])


def _series(case: DemoCase, rng: np.random.Generator, acquisition: sitk.Image) -> Dataset:
    """Return the elements that the files of one series share."""
    columns, rows, _ = acquisition.GetSize()
    in_plane, _, step = acquisition.GetSpacing()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["flairprep demo"])
    meta.ImplementationVersionName = "FLAIRPREP_DEMO"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Modality = "MR"
    dataset.Manufacturer = case.manufacturer
    dataset.PatientName = f"Demo^{case.case_id}"
    dataset.PatientID = case.case_id
    dataset.PatientSex = str(rng.choice(["F", "M"]))
    dataset.PatientAge = f"{rng.integers(20, 86):03d}Y"
    dataset.PatientPosition = "HFS"
    dataset.SeriesDescription = "FLAIR"
    dataset.SeriesNumber = int(rng.integers(2, 12))
    dataset.ScanningSequence = ["SE", "IR"]
    dataset.SequenceVariant = "SK"
    dataset.MRAcquisitionType = "3D" if case.volumetric else "2D"
    dataset.MagneticFieldStrength = float(rng.choice([1.5, 3.0]))
    dataset.EchoTime = int(rng.integers(90, 141))  # ms, as are the next two
    dataset.RepetitionTime = int(rng.integers(80, 111)) * 100
    dataset.InversionTime = int(rng.integers(220, 281)) * 10
    dataset.StudyInstanceUID = _uid(case, "study")
    dataset.SeriesInstanceUID = _uid(case, "series")
    dataset.FrameOfReferenceUID = _uid(case, "frame")
    dataset.ImageOrientationPatient = np.round(np.reshape(acquisition.GetDirection(), (3, 3)).T[:2].ravel(), 6).tolist()
    dataset.PixelSpacing = [in_plane, in_plane]
    dataset.SpacingBetweenSlices = step
    dataset.SliceThickness = round(step * (1 if case.volumetric else rng.choice([1, 0.9, 0.8])), 4)  # the rest is gap
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.RescaleIntercept = 0
    return dataset
