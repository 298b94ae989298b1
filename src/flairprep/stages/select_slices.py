"""select_slices: exactly `count` axial slices of `size` x `size`, resampled once, never stretched."""

from functools import partial
from pathlib import Path
from typing import Any, Literal

import SimpleITK as sitk
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.outcomes import OUTCOME_COLUMNS, Outcome, Status, failure, passed_on, remove_failed, table
from flairprep.core.tables import read_rows, write_rows
from flairprep.imaging import nifti
from flairprep.imaging.resampling import in_plane, resample, slice_positions
from flairprep.runner.result_cache import Store

NORMALIZE = Path("data/normalize")
OUT = Path("data/select_slices")


class Params(params.Section):
    """Section `select_slices` of params.yaml."""

    count: int = Field(ge=1, le=1024)
    size: int = Field(ge=8, le=1024)
    method: Literal["centre", "uniform", "foreground", "resample"]


class Background(params.Section, extra="ignore"):
    """What select_slices needs of section `normalize`: the value of what is no tissue."""

    background: float


def select_slices(image: sitk.Image, params: Params, *, background: float) -> sitk.Image:
    """`image` on a grid of (size, size, count) voxels; outside its field of view `background`.

    The third axis of `image` runs from feet to head or back, as normalize leaves it; the grid keeps its directions.
    """
    first, step = slice_positions(image, params.method, params.count, background)
    spacing, (left, top) = in_plane(image, params.size)
    size = (params.size, params.size, params.count)
    return resample(image, size, (spacing, spacing, step), (left, top, first), background)


def select_case(case_id: str, *, params: Params, background: float, out: Path) -> Outcome:
    """One case from data/normalize to out/ID.nii.gz."""
    image = select_slices(nifti.read(NORMALIZE / f"{case_id}.nii.gz"), params, background=background)
    nifti.write(image, out / f"{case_id}.nii.gz")
    return Outcome(case_id, Status.OK)


def file_name(case_id: str) -> str:
    """Of a case's volume."""
    return f"{case_id}.nii.gz"


def inputs(case_id: str) -> tuple[tuple[Path], Any]:
    """What decides on a case."""
    return (NORMALIZE / file_name(case_id),), case_id


def main() -> None:
    """Reads data/normalize, writes data/select_slices."""
    section = params.load(Params, "select_slices")
    background = params.load(Background, "normalize").background
    store = Store("select_slices", __file__, {**section.model_dump(), "background": background})
    failed, going = passed_on(read_rows(NORMALIZE / "cases.csv", OUTCOME_COLUMNS))
    with files.whole_folder(OUT) as out:
        work, cases = (
            partial(select_case, params=section, background=background, out=out),
            [row["case_id"] for row in going],
        )
        outcomes = list(store.map(work, cases, name=file_name, inputs=inputs, out=out, lost=failure))
        remove_failed(outcomes, out)
        console.summarise("select_slices", outcomes, passed_on=len(failed), reused=store.reused)
        write_rows(out / "cases.csv", table([*failed, *outcomes]), OUTCOME_COLUMNS)


if __name__ == "__main__":
    console.run(main, "select_slices")
