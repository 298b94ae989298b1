"""Judge positions by their distance from a regular grid."""

import numpy as np
import phantoms
import pytest
from oracle import compare, converted
from phantoms import noise, refusal

from flairprep.core.codes import Code
from flairprep.dicom.grid import is_regular, missing
from flairprep.dicom.volume import read_series


@pytest.mark.parametrize("step", [0.35, 0.45, 0.55, 0.55000001, 0.93, 1.25, 3.33])
@pytest.mark.parametrize("start", [0.0, -80.13])
def test_positions_that_were_rounded_to_a_tenth_are_a_grid(step: float, start: float) -> None:
    along = np.round(start + step * np.arange(64), 1)
    assert missing(along) == []
    assert is_regular(along[::-1])


def test_gap_among_rounded_positions_is_a_gap() -> None:
    along = np.delete(np.round(0.55 * np.arange(64), 1), 30)
    assert missing(along) == [29]
    assert not is_regular(along)


@pytest.mark.parametrize("off", [0.2, 0.3, -0.25])
def test_slice_that_is_off_its_place_is_refused(off: float) -> None:
    along = 1.0 * np.arange(40)
    along[20] += off
    assert refusal(missing, along).code is Code.UNEVEN_SPACING


@pytest.mark.parametrize(
    ("orientation", "step", "digits"), [(phantoms.PLANES["axial"], 0.55, 1), (phantoms.OBLIQUE, 0.65, 1)]
)
def test_rounded_series_equals_dcm2niix(orientation: tuple[float, ...], step: float, digits: int, tmp_path) -> None:
    series = phantoms.slices(noise((40, 12, 16)), orientation=orientation, spacing=(step, 1.0, 1.0))
    for dataset in series:
        dataset.ImagePositionPatient = [round(float(value), digits) for value in dataset.ImagePositionPatient]
    paths = phantoms.save(series, tmp_path / "series")
    read = read_series(paths)
    theirs = converted(paths, tmp_path)
    assert not read.warnings
    assert "voxels" not in compare(read.image, theirs).beyond
    assert read.image.GetSize() == theirs.GetSize()
    assert read.image.GetSpacing()[2] == pytest.approx(step, abs=0.1 / 39)
