"""select_slices: resample once to exactly `count` axial slices of `size` x `size`, never stretched."""

from functools import partial
from pathlib import Path
from typing import Literal

import SimpleITK as sitk
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.outcomes import OUTCOME_COLUMNS, Outcome, Status, separate_failures
from flairprep.core.tables import read_rows
from flairprep.imaging import nifti
from flairprep.imaging.lattice import Lattice
from flairprep.imaging.resampling import in_plane, resample, slice_positions
from flairprep.runner.case_stage import transform_volumes
from flairprep.runner.result_cache import ResultCache

NORMALIZE = Path("data/normalize")
OUT = Path("data/select_slices")


class SelectSlicesParams(params.Section):
    """Section `select_slices` of params.yaml."""

    count: int = Field(ge=1, le=1024)
    """Axial slices."""
    size: int = Field(ge=8, le=1024)
    """Pixels of their width and height."""
    method: Literal["centre", "uniform", "foreground", "resample"]
    """`centre`: the middle slices as acquired; `uniform`: from the first to the last, evenly; `foreground`: from the
    vertex down over the head, 170 mm at most; `resample`: the whole extent in equal slabs."""


class BackgroundUsed(params.Section, extra="ignore"):
    """The value of everything but tissue, of section `normalize`."""

    background: float


def select_slices(
    image: sitk.Image, params: SelectSlicesParams, *, background: float, scaling: Lattice | None = None
) -> sitk.Image:
    """Resample `image` to (size, size, count) voxels, with `background` outside its field of view.

    The third axis of `image` runs from feet to head or back, as in data/normalize; the grid keeps its directions.
    `scaling`: the lattice of an image of codes.
    """
    empty = background if scaling is None else scaling.code(background)
    first, step = slice_positions(image, params.method, params.count, empty)
    spacing, (left, top) = in_plane(image, params.size)
    size = (params.size, params.size, params.count)
    return resample(image, size, (spacing, spacing, step), (left, top, first), background, scaling)


def select_case(case_id: str, *, params: SelectSlicesParams, background: float, out: Path) -> Outcome:
    """Resample one case from data/normalize to out/ID.nii.gz."""
    stored, scaling = nifti.read_stored(NORMALIZE / f"{case_id}.nii.gz")
    image = select_slices(stored, params, background=background, scaling=scaling)
    nifti.write_volume(image, out / f"{case_id}.nii.gz")
    return Outcome(case_id, Status.OK)


def main() -> None:
    """Read data/normalize; write data/select_slices."""
    section = params.load(SelectSlicesParams, "select_slices")
    background = params.load(BackgroundUsed, "normalize").background
    cache = ResultCache("select_slices", __file__, {**section.model_dump(), "background": background})
    failed, rows = separate_failures(read_rows(NORMALIZE / "cases.csv", OUTCOME_COLUMNS))
    with files.atomic_folder(OUT) as out:
        function = partial(select_case, params=section, background=background, out=out)
        transform_volumes(cache, function, [row["case_id"] for row in rows], failed, source=NORMALIZE, out=out)


if __name__ == "__main__":
    console.run(main, "select_slices")
