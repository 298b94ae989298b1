"""Leave one image at each position: copies, echoes, time points, corrected pairs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from oracle import conversions
from phantoms import noise, refusal, voxels
from test_stacking import frames

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.frames import Frame
from flairprep.dicom.stacking import stack
from flairprep.dicom.volume import read_series

ONE, OTHER = noise((10, 4, 5)), noise((10, 4, 5)) + 1000


def volumes(**differing: tuple[Any, Any]) -> list[Frame]:
    """Two volumes at the same positions; by field of `Frame` their values."""
    made = []
    for place, stored in enumerate((ONE, OTHER)):
        own = {name: values[place] for name, values in differing.items()}
        made += [replace(frame, **own) for frame in frames(stored)]
    return made


@pytest.mark.parametrize(
    "differing",
    [
        {"echo": (30.0, 90.0)},
        {"time_point": (1.0, 2.0)},
        {"acquisition": (1.0, 2.0), "echo": (90.0, 90.0)},
        {"inversion": (600.0, 2500.0)},
        {"echo": (30.0, 90.0), "instance": (9.0, 2.0)},  # what was measured comes before the numbering
    ],
)
def test_volume_is_chosen_by_what_the_headers_tell(differing: dict[str, tuple[Any, Any]]) -> None:
    made = volumes(**differing)
    error = refusal(stack, made)
    assert error.code is Code.MULTIPLE_VOLUMES
    assert "ingest.volume" in error.message
    for volume, stored in (("first", ONE), ("last", OTHER)):
        for order in (made, made[::-1]):
            image, _, notes = stack(order, volume)
            np.testing.assert_array_equal(voxels(image), stored)
            assert [code for code, _ in notes] == [Code.VOLUME_CHOSEN]


@pytest.mark.parametrize("alternate", [False, True])
def test_volume_is_chosen_by_instance_number_where_nothing_else_tells(alternate: bool) -> None:
    made = [
        replace(frame, instance=float(2 * (index % 10) + index // 10 if alternate else index))
        for index, frame in enumerate(volumes())
    ]
    np.testing.assert_array_equal(voxels(stack(made, "first")[0]), ONE)
    np.testing.assert_array_equal(voxels(stack(made, "last")[0]), OTHER)


def test_echoes_of_time_points_leave_one_volume() -> None:
    made = [
        replace(frame, stored=frame.stored + 10 * echo + 1000 * point, echo=float(echo), time_point=float(point))
        for echo in (1, 2)
        for point in (1, 2, 3)
        for frame in frames(ONE)
    ]
    np.testing.assert_array_equal(voxels(stack(made, "first")[0]), ONE + 1010)
    np.testing.assert_array_equal(voxels(stack(made, "last")[0]), ONE + 3020)


def test_volumes_that_nothing_tells_apart_are_refused_without_advice_that_cannot_help() -> None:
    for volume in (None, "first", "last"):
        error = refusal(stack, volumes(), volume)
        assert error.code is Code.MULTIPLE_VOLUMES
        assert "ingest.volume" not in error.message


def test_second_volume_may_be_incomplete() -> None:
    made = volumes(echo=(30.0, 90.0))[:-3]
    np.testing.assert_array_equal(voxels(stack(made, "first")[0]), ONE)
    assert refusal(stack, made, "last").code is Code.MULTIPLE_VOLUMES


@pytest.mark.parametrize(("copies", "code"), [(1, Code.DUPLICATE_SLICES), (2, None), (9, None)])
def test_series_of_mostly_copies_is_several_volumes(copies: int, code: Code | None) -> None:
    made = frames(ONE) * (copies + 1)
    if code is None:
        error = refusal(stack, made)
        assert error.code is Code.MULTIPLE_VOLUMES
        assert "ingest.volume" in error.message
    image, _, notes = stack(made, None if code else "first")
    np.testing.assert_array_equal(voxels(image), ONE)
    assert [code for code, _ in notes] == [Code.DUPLICATE_SLICES]


@pytest.mark.parametrize(
    ("plain", "corrected"),
    [
        ({"ORIGINAL", "PRIMARY", "M", "ND"}, {"ORIGINAL", "PRIMARY", "M", "ND", "NORM"}),
        ({"ORIGINAL", "PRIMARY", "M", "ND"}, {"ORIGINAL", "PRIMARY", "M", "DIS2D"}),
        ({"ORIGINAL", "PRIMARY", "M", "DIS2D"}, {"ORIGINAL", "PRIMARY", "M", "DIS3D", "NORM"}),
    ],
)
def test_corrected_volume_is_read_without_a_choice_of_the_user(plain: set[str], corrected: set[str]) -> None:
    for kinds, stored in (((plain, corrected), OTHER), ((corrected, plain), ONE)):
        image, _, notes = stack(volumes(image_type=tuple(map(frozenset, kinds))))
        np.testing.assert_array_equal(voxels(image), stored)
        assert [code for code, _ in notes] == [Code.CORRECTED_CHOSEN]


@pytest.mark.parametrize("number", [1, 2])
def test_few_images_of_another_image_type_are_skipped(number: int) -> None:
    made = [replace(frame, image_type=frozenset({"ORIGINAL", "PRIMARY"})) for frame in frames(ONE)]
    derived = [replace(frame, stored=OTHER[0], image_type=frozenset({"DERIVED", "SECONDARY"})) for frame in made]
    image, _, notes = stack([*derived[:number], *made])
    np.testing.assert_array_equal(voxels(image), ONE)
    assert [code for code, _ in notes] == [Code.FOREIGN_IMAGES]


@pytest.mark.parametrize("name", ["siemens-enhanced/In/8_gre_field_mapping"])
def test_real_echoes_are_those_conversions(name: str, scans: Path, tmp_path: Path) -> None:
    paths = sorted((scans / name).iterdir())
    theirs = sorted(conversions(paths, tmp_path).items())
    assert len(theirs) == 2
    for volume, (_, image) in zip(("first", "last"), theirs, strict=True):
        ours = read_series(paths, volume=volume).image
        np.testing.assert_array_equal(*(voxels(sitk.DICOMOrient(one, "LPS")) for one in (ours, image)))
    with pytest.raises(CaseError):
        read_series(paths)
