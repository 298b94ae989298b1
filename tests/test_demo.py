"""The demo cohort: its layout, its bytes, its geometry and what its label explains."""

import hashlib
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from nilearn import datasets

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import read_csv
from flairprep.demo import cohort as demo
from flairprep.demo import phantom, plan
from flairprep.demo.plan import Copy, DemoCase, Fault
from flairprep.demo.series import write_case

CASES, SIGNAL, SEED = 10, 1.0, 3
PINNED_LABELS, PINNED_MANUFACTURERS = "001111001001010", "PGTPGSSTSPTGSSP"
PINNED_DRAWS = [0.915122986, 0.995419539]


@dataclass(frozen=True)
class Series:
    """One case read back; its datasets are in spatial order along the slices' normal."""

    case: DemoCase
    paths: list[Path]
    datasets: list[pydicom.Dataset]
    positions: np.ndarray


def _make(out: Path, workers: int) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAIRPREP_WORKERS", str(workers))
        demo.make(out, cases=CASES, signal=SIGNAL, seed=SEED)
    return out


def _hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def _read(folder: Path, case: DemoCase) -> Series:
    found = [(path, pydicom.dcmread(path)) for path in (folder / case.case_id / "FLAIR").iterdir()]
    cosines = np.array(found[0][1].ImageOrientationPatient, float)
    normal = np.cross(cosines[:3], cosines[3:])
    along = [float(np.dot(normal, np.array(dataset.ImagePositionPatient, float))) for _, dataset in found]
    order = np.argsort(along, kind="stable")
    paths, datasets = [found[i][0] for i in order], [found[i][1] for i in order]
    return Series(case, paths, datasets, np.array(along)[order])


def _volume(series: Series) -> np.ndarray:
    return np.stack([float(d.RescaleSlope) * d.pixel_array for d in series.datasets])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _make(tmp_path_factory.mktemp("demo") / "raw", workers=2)


@pytest.fixture(scope="module")
def atlas() -> phantom.Atlas:
    return phantom.load_atlas()


@pytest.fixture(scope="module")
def planned() -> list[DemoCase]:
    return plan.plan(CASES, SEED)


@pytest.fixture(scope="module")
def cohort(out: Path, planned: list[DemoCase]) -> list[Series]:
    return [_read(out / "train", case) for case in planned if case.fault is not Fault.NO_SCAN]


def _faulty(cohort: list[Series], fault: Fault) -> Series:
    return next(series for series in cohort if series.case.fault is fault)


def test_same_arguments_same_bytes_with_any_number_of_workers(out: Path, tmp_path: Path) -> None:
    assert _hashes(_make(tmp_path / "again", workers=1)) == _hashes(out)


def test_another_seed_another_cohort(out: Path, atlas: phantom.Atlas, tmp_path: Path, planned: list[DemoCase]) -> None:
    assert plan.plan(CASES, SEED + 1) != [replace(case, seed=SEED + 1) for case in planned]
    other = replace(planned[0], seed=SEED + 1)
    write_case(atlas, tmp_path, SIGNAL, other)
    assert not set(_hashes(tmp_path).values()) & set(_hashes(out / "train").values())


def test_layout_and_labels(out: Path, cohort: list[Series]) -> None:
    ids = [f"{index:05d}" for index in range(CASES + 5)]
    assert sorted(path.name for path in out.iterdir()) == ["train", "train_labels.csv"]
    assert sorted(path.name for path in (out / "train").iterdir()) == ids[:-1]
    assert b"\r" not in (out / "train_labels.csv").read_bytes()
    labels = read_csv(out / "train_labels.csv")
    assert list(labels.columns) == ["BraTS21ID", "MGMT_value"]
    without_label = _faulty(cohort, Fault.NO_LABEL).case.case_id
    assert list(labels["BraTS21ID"]) == [case_id for case_id in ids if case_id != without_label]
    assert list(labels["MGMT_value"].iloc[:CASES]).count("1") == 5
    assert {path.suffix for series in cohort for path in series.paths} == {".dcm"}
    assert [s.case.fault for s in cohort[:CASES]] == [Fault.NONE] * CASES


@pytest.mark.parametrize("seed", range(5))
def test_sound_cases_alone_have_some_of_each_kind(seed: int) -> None:
    sound = plan.plan(CASES, seed)[:CASES]
    assert {case.plane for case in sound} == set(phantom.PLANES)
    assert {case.manufacturer for case in sound} == set(plan.MANUFACTURERS)
    for kind in ("volumetric", "stripped", "rescaled", "label"):
        assert {getattr(case, kind) for case in sound} == {False, True}


def test_prevalence_is_near_52_percent() -> None:
    assert sum(case.label for case in plan.plan(80, 0)[:80]) == 42


def test_faults(cohort: list[Series], planned: list[DemoCase]) -> None:
    assert [case.fault for case in planned[CASES:]] == list(Fault)[1:]
    assert not _volume(_faulty(cohort, Fault.DARK)).any()
    for series in cohort:
        if series.case.fault is not Fault.DARK:
            assert _volume(series).any()
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


def test_names_and_instance_numbers_are_in_no_spatial_order(cohort: list[Series]) -> None:
    starts = []
    for series in cohort:
        names = [int(path.stem.removeprefix("Image-")) for path in series.paths]
        for numbers in (names, [int(dataset.InstanceNumber) for dataset in series.datasets]):
            assert len(set(numbers)) == len(numbers)
            assert len(set(np.sign(np.diff(numbers)))) == 2
        starts.append(min(names))
    assert sum(start > 1 for start in starts) > len(starts) / 2


def test_acquisitions_vary(cohort: list[Series]) -> None:
    first = [series.datasets[0] for series in cohort]
    assert {series.case.plane for series in cohort} == {"axial", "sagittal", "coronal"}
    assert {dataset.Manufacturer for dataset in first} == set(plan.MANUFACTURERS)
    assert {dataset.MRAcquisitionType for dataset in first} == {"2D", "3D"}
    assert {dataset.PixelRepresentation for dataset in first} == {0, 1}
    assert {float(dataset.MagneticFieldStrength) for dataset in first} == {1.5, 3.0}
    assert any(dataset.Rows != dataset.Columns for dataset in first)
    assert any(len({float(dataset.RescaleSlope) for dataset in series.datasets}) > 1 for series in cohort)
    for series, dataset in zip(cohort, first, strict=True):
        assert 20 <= len(series.datasets) <= 200
        assert 1.2 <= float(dataset.PixelSpacing[0]) <= 1.95
        assert 90 <= float(dataset.EchoTime) <= 140
        assert 2200 <= float(dataset.InversionTime) <= 2800


def test_files_are_plain_mr_images_without_dates(cohort: list[Series]) -> None:
    seen = set()
    for series in cohort:
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
    assert len(seen) == sum(len(series.datasets) for series in cohort)


def test_background_is_zero_where_stripped_and_noise_where_not(cohort: list[Series]) -> None:
    sound = [series for series in cohort if series.case.fault is not Fault.DARK]
    assert {series.case.stripped for series in sound} == {True, False}
    for series in sound:
        border = np.concatenate([_volume(series)[:, 0].ravel(), _volume(series)[:, :, 0].ravel()])
        assert (border == 0).all() if series.case.stripped else (border > 0).mean() > 0.9


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_tumour_lies_where_dicom_says(cohort: list[Series], atlas: phantom.Atlas, plane: str) -> None:
    series = next(s for s in cohort if s.case.plane == plane and s.case.fault is Fault.NONE)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([str(path) for path in series.paths])
    image = sitk.SmoothingRecursiveGaussian(sitk.Cast(reader.Execute(), sitk.sitkFloat32), 3)
    voxels = sitk.GetArrayViewFromImage(image)
    middle = np.argwhere(voxels > 0.9 * voxels.max()).mean(axis=0)[::-1]
    found = np.array(image.TransformContinuousIndexToPhysicalPoint(middle.tolist()))
    expected = phantom.head(atlas, series.case, SIGNAL).centre
    assert np.linalg.norm(found - expected) < 5
    assert abs(expected[0]) > 5  # else left and right could not be told apart


def test_left_stays_left(atlas: phantom.Atlas) -> None:
    """nilearn's RAS and the atlas's LPS agree at places off every axis of symmetry."""
    grey = datasets.load_mni152_gm_template(resolution=2)
    white = datasets.load_mni152_wm_template(resolution=2)
    for right, front, top in ((30, -20, 40), (-40, 34, 8), (22, 46, -2)):
        index = np.rint(np.linalg.inv(grey.affine) @ [right, front, top, 1]).astype(int)[:3]
        p_grey, p_white = grey.get_fdata()[tuple(index)], white.get_fdata()[tuple(index)]
        total = max(p_grey + p_white, 1)
        intensity = (
            phantom.GREY * p_grey + phantom.WHITE * p_white + phantom.FLUID * (total - p_grey - p_white)
        ) / total
        seen = atlas.image[atlas.image.TransformPhysicalPointToIndex((-right, -front, top))]
        assert seen[0] == pytest.approx(intensity, rel=1e-5)


def test_without_plants_the_cohort_is_what_it_was() -> None:
    planned = plan.plan(CASES, SEED)
    assert planned == plan.plan(CASES, SEED, 0.0, 0)
    assert "".join(str(case.label) for case in planned) == PINNED_LABELS
    assert "".join(case.manufacturer[0] for case in planned) == PINNED_MANUFACTURERS
    drawn = [float(planned[3].rng(purpose).uniform()) for purpose in (plan.ANATOMY, plan.FILES)]
    assert drawn == pytest.approx(PINNED_DRAWS)


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_shortcut_is_the_share_of_cases_whose_manufacturer_is_the_labels_own(share: float) -> None:
    planned, plain = plan.plan(1000, SEED, share), plan.plan(1000, SEED)
    own = [case.manufacturer == plan.MANUFACTURERS[case.label] for case in planned]
    assert np.mean(own) == pytest.approx(share + (1 - share) / 4, abs=0.04)
    others = [case.manufacturer for case, is_own in zip(planned, own, strict=True) if not is_own]
    assert set(others) == (set(plan.MANUFACTURERS) if share < 1 else set())
    for case, other in zip(planned, plain, strict=True):
        assert replace(case, manufacturer=other.manufacturer) == other  # nothing else changes


def test_duplicates_follow_the_others_and_every_second_one_is_exact() -> None:
    planned, plain = plan.plan(20, SEED, 0.0, 8), plan.plan(20, SEED)
    copies = planned[len(plain) :]
    assert planned[: len(plain)] == plain
    assert [case.copy for case in copies] == [*(Copy.EXACT, Copy.NOISY, Copy.EXACT, Copy.MIRRORED)] * 2
    assert len({case.source for case in copies}) == 8
    for case in copies:
        assert case.source is not None
        source = plain[case.source]
        assert source.fault is Fault.NONE
        assert replace(case, index=source.index, copy=None, source=None) == source


@pytest.mark.parametrize("kind", list(Copy))
def test_a_duplicate_has_its_sources_image_and_ids_of_its_own(tmp_path: Path, atlas: phantom.Atlas, kind: Copy) -> None:
    source = next(case for case in plan.plan(CASES, SEED) if case.stripped)
    copy = replace(source, index=90, copy=kind, source=source.index)
    for case in (source, copy):
        write_case(atlas, tmp_path, SIGNAL, case)
    one, other = _read(tmp_path, source), _read(tmp_path, copy)
    for keyword in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID"):
        assert not {d[keyword].value for d in one.datasets} & {d[keyword].value for d in other.datasets}
    for keyword in ("PatientSex", "PatientAge", "EchoTime", "Manufacturer", "PixelSpacing"):
        assert one.datasets[0][keyword].value == other.datasets[0][keyword].value
    before, after = _volume(one), _volume(other)
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


def test_full_signal_separates_the_classes() -> None:
    drawn = np.array([[phantom.tumour(np.random.default_rng(i), label, 1) for label in (0, 1)] for i in range(50)])
    (radius_0, bright_0), (radius_1, bright_1) = drawn[:, 0].T, drawn[:, 1].T
    assert radius_0.max() + 3 < radius_1.min()
    assert 2 * bright_0.max() < bright_1.min()


def test_without_signal_the_label_changes_nothing(atlas: phantom.Atlas, planned: list[DemoCase]) -> None:
    for i in range(50):
        assert phantom.tumour(np.random.default_rng(i), 0, 0) == phantom.tumour(np.random.default_rng(i), 1, 0)
    heads = [phantom.head(atlas, replace(planned[0], label=label), 0) for label in (0, 1)]
    volumes = [sitk.GetArrayViewFromImage(head.image) for head in heads]
    np.testing.assert_array_equal(*volumes)


def test_the_label_changes_nothing_but_the_tumour(atlas: phantom.Atlas, planned: list[DemoCase]) -> None:
    cases = [replace(planned[0], label=label) for label in (0, 1)]
    heads = [phantom.head(atlas, case, 1) for case in cases]
    np.testing.assert_array_equal(heads[0].centre, heads[1].centre)
    grids = [phantom.grid(case, head) for case, head in zip(cases, heads, strict=True)]
    assert grids[0].IsSameImageGeometryAs(grids[1], 0.0, 0.0)
    volumes = [phantom.scan(case, head, grids[0]) for case, head in zip(cases, heads, strict=True)]
    changed = np.argwhere(np.abs(volumes[1] - volumes[0]) > 1e-3)[:, ::-1]
    points = [grids[0].TransformIndexToPhysicalPoint(index) for index in changed.tolist()]
    assert 0 < np.linalg.norm(np.array(points) - heads[0].centre, axis=1).max() < 50


def test_whole_brain_is_covered(cohort: list[Series]) -> None:
    for series in cohort:
        if series.case.stripped and series.case.fault is not Fault.DARK:
            inside = _volume(series) > 0
            ends = [inside.take(i, axis=axis).mean() for axis in range(3) for i in (0, -1)]
            assert max(ends) < 0.01


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        *(
            ({"signal": 2.0}, "signal=2.0"),
            ({"signal": -0.1}, "signal"),
            ({"cases": 3}, "cases=3"),
            ({"seed": -1}, "seed"),
        ),
        *(({"shortcut": 1.5}, "shortcut=1.5"), ({"shortcut": -0.1}, "shortcut"), ({"duplicates": -1}, "duplicates=-1")),
        ({"duplicates": CASES + 1}, "duplicates=11"),
    ],
)
def test_refuses_what_is_out_of_range(tmp_path: Path, arguments: dict, named: str) -> None:
    with pytest.raises(FlairprepError, match=named):
        demo.make(tmp_path, **{"cases": CASES, "signal": SIGNAL, "seed": SEED, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["train", "train_labels.csv"])
def test_refuses_to_touch_existing_data(tmp_path: Path, name: str) -> None:
    kept = tmp_path / "train" / "00000" if name == "train" else tmp_path / name
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("mine")
    with pytest.raises(FlairprepError, match=f"{name}: exists already"):
        demo.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert kept.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_an_interrupted_run_leaves_nothing_that_looks_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, atlas: phantom.Atlas
) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(phantom, "load_atlas", lambda: atlas)
    monkeypatch.setattr(demo, "map_cases", stop)
    with pytest.raises(KeyboardInterrupt):
        demo.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert list(tmp_path.iterdir()) == []


def test_says_what_to_install_where_nilearn_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nilearn", None)
    with pytest.raises(FlairprepError, match=r"pip install 'flairprep\[demo\]'"):
        demo.make(tmp_path, cases=CASES, signal=SIGNAL, seed=SEED)
    assert list(tmp_path.iterdir()) == []
