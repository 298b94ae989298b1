"""series: the files are plain DICOM, as untidy as a real cohort's, and the tumour lies where they say."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from demo_series import CASES, SEED, SIGNAL, Series, faulty, read_series, volume_of
from workspace import contents

from flairprep.demo import phantom, plan
from flairprep.demo.plan import Copy, DemoCase, Fault
from flairprep.demo.series import write_case


def test_another_seed_another_cohort(out: Path, atlas: phantom.Atlas, tmp_path: Path, planned: list[DemoCase]) -> None:
    assert plan.plan(CASES, SEED + 1) != [replace(case, seed=SEED + 1) for case in planned]
    other = replace(planned[0], seed=SEED + 1)
    write_case(atlas, tmp_path, SIGNAL, other)
    assert not set(contents(tmp_path).values()) & set(contents(out / "train").values())


def test_faults(scanned: list[Series], planned: list[DemoCase]) -> None:
    assert [case.fault for case in planned[CASES:]] == list(Fault)[1:]
    assert not volume_of(faulty(scanned, Fault.DARK)).any()
    for series in scanned:
        if series.case.fault is not Fault.DARK:
            assert volume_of(series).any()
        gaps = np.diff(series.positions) / float(series.datasets[0].SpacingBetweenSlices)
        odd = np.flatnonzero(np.abs(gaps - 1) > 1e-3)
        match series.case.fault:
            case Fault.MISSING_SLICES:
                assert gaps[odd] == pytest.approx([4], abs=1e-3)
                assert 5 < odd[0] < len(gaps) - 5
            case Fault.DUPLICATED_SLICE:
                assert gaps[odd] == pytest.approx([0], abs=1e-6)
                first, second = series.datasets[odd[0]], series.datasets[odd[0] + 1]
                assert first.PixelData == second.PixelData
                assert first.SOPInstanceUID != second.SOPInstanceUID
            case _:
                assert len(odd) == 0


def test_names_and_instance_numbers_are_in_no_spatial_order(scanned: list[Series]) -> None:
    starts = []
    for series in scanned:
        names = [int(path.stem.removeprefix("Image-")) for path in series.paths]
        for numbers in (names, [int(dataset.InstanceNumber) for dataset in series.datasets]):
            assert len(set(numbers)) == len(numbers)
            assert len(set(np.sign(np.diff(numbers)))) == 2
        starts.append(min(names))
    assert sum(start > 1 for start in starts) > len(starts) / 2


def test_acquisitions_vary(scanned: list[Series]) -> None:
    first = [series.datasets[0] for series in scanned]
    assert {series.case.plane for series in scanned} == {"axial", "sagittal", "coronal"}
    assert {dataset.Manufacturer for dataset in first} == set(plan.MANUFACTURERS)
    assert {dataset.MRAcquisitionType for dataset in first} == {"2D", "3D"}
    assert {dataset.PixelRepresentation for dataset in first} == {0, 1}
    assert {float(dataset.MagneticFieldStrength) for dataset in first} == {1.5, 3.0}
    assert any(dataset.Rows != dataset.Columns for dataset in first)
    assert any(len({float(dataset.RescaleSlope) for dataset in series.datasets}) > 1 for series in scanned)
    for series, dataset in zip(scanned, first, strict=True):
        assert 20 <= len(series.datasets) <= 200
        assert 1.2 <= float(dataset.PixelSpacing[0]) <= 1.95
        assert 90 <= float(dataset.EchoTime) <= 140
        assert 2200 <= float(dataset.InversionTime) <= 2800


def test_files_are_plain_mr_images_without_dates(scanned: list[Series]) -> None:
    seen = set()
    for series in scanned:
        for dataset in series.datasets:
            assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.ExplicitVRLittleEndian
            assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
            assert (dataset.SOPClassUID, dataset.Modality) == (pydicom.uid.MRImageStorage, "MR")
            assert dataset.PatientID == series.case.case_id
            assert dataset.PatientName == f"Demo^{series.case.case_id}"
            assert not [element for element in dataset if element.VR in ("DA", "TM", "DT")]
            assert 0 <= dataset.pixel_array.min() <= dataset.pixel_array.max() < 2**12
            seen.add(dataset.SOPInstanceUID)
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
            assert len({dataset[keyword].value for dataset in series.datasets}) == 1
    assert len(seen) == sum(len(series.datasets) for series in scanned)


def test_background_is_zero_where_stripped_and_noise_where_not(scanned: list[Series]) -> None:
    sound = [series for series in scanned if series.case.fault is not Fault.DARK]
    assert {series.case.stripped for series in sound} == {True, False}
    for series in sound:
        border = np.concatenate([volume_of(series)[:, 0].ravel(), volume_of(series)[:, :, 0].ravel()])
        assert (border == 0).all() if series.case.stripped else (border > 0).mean() > 0.9


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_tumour_lies_where_dicom_says(scanned: list[Series], atlas: phantom.Atlas, plane: str) -> None:
    series = next(s for s in scanned if s.case.plane == plane and s.case.fault is Fault.NONE)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(path) for path in series.paths])
    image = sitk.SmoothingRecursiveGaussian(sitk.Cast(reader.Execute(), sitk.sitkFloat32), 3)
    voxels = sitk.GetArrayViewFromImage(image)
    middle = np.argwhere(voxels > 0.9 * voxels.max()).mean(axis=0)[::-1]
    centre = np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))
    expected = phantom.head(atlas, series.case, SIGNAL).centre
    assert np.linalg.norm(centre - expected) < 5
    assert abs(expected[0]) > 5  # else left and right could not be told apart


@pytest.mark.parametrize("kind", list(Copy))
def test_a_duplicate_has_its_sources_image_and_ids_of_its_own(tmp_path: Path, atlas: phantom.Atlas, kind: Copy) -> None:
    source = next(case for case in plan.plan(CASES, SEED) if case.stripped)
    copy = replace(source, index=90, copy=kind, source=source.index)
    for case in (source, copy):
        write_case(atlas, tmp_path, SIGNAL, case)
    one, other = read_series(tmp_path, source), read_series(tmp_path, copy)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
        assert not {d[keyword].value for d in one.datasets} & {d[keyword].value for d in other.datasets}
    for keyword in ("PatientSex", "PatientAge", "EchoTime", "Manufacturer", "PixelSpacing"):
        assert one.datasets[0][keyword].value == other.datasets[0][keyword].value
    before, after = volume_of(one), volume_of(other)
    if kind is Copy.EXACT:
        np.testing.assert_array_equal(before, after)
        return
    assert not np.array_equal(before, after)
    turns = {axes: np.corrcoef(before.ravel(), np.flip(after, axes).ravel())[0, 1] for axes in ((), 0, 1, 2)}
    best = max(turns, key=lambda axes: turns[axes])
    assert turns[best] > 0.99
    along = {"axial": 2, "coronal": 2, "sagittal": 0}  # the axis of the array from right to left
    assert best == (along[source.plane] if kind is Copy.MIRRORED else ())
    assert (np.flip(after, best)[before == 0] == 0).all()  # what was stripped stays zero


def test_whole_brain_is_covered(scanned: list[Series]) -> None:
    for series in scanned:
        if series.case.stripped and series.case.fault is not Fault.DARK:
            inside = volume_of(series) > 0
            ends = [inside.take(i, axis=axis).mean() for axis in range(3) for i in (0, -1)]
            assert max(ends) < 0.01
