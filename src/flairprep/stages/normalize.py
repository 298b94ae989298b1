"""normalize: reorient, correct the bias field on request, and map intensities by statistics of the foreground."""

from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, Outcome, Status, failure, separate_failures
from flairprep.core.tables import read_rows
from flairprep.imaging import intensity, lattice, nifti
from flairprep.imaging.foreground import tissue
from flairprep.imaging.orientation import reorient_part
from flairprep.runner.case_stage import transform_volumes
from flairprep.runner.result_cache import ResultCache

INGEST = Path("data/ingest")
OUT = Path("data/normalize")


class NormalizeParams(params.Section):
    """Section `normalize` of params.yaml."""

    orientation: Literal["LPS", "RAS", "LAS", "RPS"]
    """Directions in which x, y and z increase."""
    bias_field: Literal["none", "n4"]
    """`n4` evens out the coils' sensitivity; many seconds per case."""
    intensity: Literal["zscore", "percentile", "white_stripe", "none"]
    """Which map the intensities get: mean 0 and deviation 1 of the tissue; its 1st and 99th percentile to -1 and 1;
    the same as zscore by the white matter; as acquired."""
    clip: float = Field(gt=0)
    """Values are cut to [-clip, clip], in units of the map, unless it is none."""
    background: float
    """Value of everything but tissue, padding included; no tissue has exactly this value."""


def normalize(image: sitk.Image, params: NormalizeParams, *, skull_stripped: bool) -> sitk.Image:
    """Normalise `image`: nearest axes of params.orientation, float32, clipped, one background value.

    Values are rounded to a lattice, see `lattice.lattice_of`, and no tissue has exactly the background's value. The
    intensity `none` leaves the foreground's values as they are, neither clipped nor rounded.

    Raises:
        CaseError: EMPTY_FOREGROUND or CONSTANT_FOREGROUND.
    """
    return lattice.decoded(*normalized(image, params, skull_stripped=skull_stripped))


def normalized(
    image: sitk.Image, params: NormalizeParams, *, skull_stripped: bool
) -> tuple[sitk.Image, lattice.Lattice | None]:
    """Return `normalize` as it is stored: int16 codes and their lattice, or float32 and None.

    Raises:
        CaseError: see `normalize`.
    """
    found = tissue(image, skull_stripped=skull_stripped)
    if params.bias_field == "n4":
        image = intensity.remove_bias_field(sitk.Cast(image, sitk.sitkFloat32), found.mask(image))
    values = sitk.GetArrayViewFromImage(image)[found.region][found.inside]
    scaling, empty = None, params.background
    if params.intensity == "none":
        codes = values.astype(np.float32)
    else:
        offset, scale = intensity.fit(values, params.intensity)
        codes, empty, scaling = lattice.encoded(values, offset, scale, params.background, params.clip)
    part = np.full(found.inside.shape, empty, codes.dtype)
    part[found.inside] = codes
    return reorient_part(part, found.region, image, params.orientation, empty), scaling


def normalize_case(case: tuple[str, bool], *, params: NormalizeParams, out: Path) -> Outcome:
    """Normalise one (case_id, skull_stripped) from data/ingest to out/ID.nii.gz."""
    case_id, skull_stripped = case
    acquired = nifti.read_volume(INGEST / f"volumes/{case_id}.nii.gz")
    try:
        image, scaling = normalized(acquired, params, skull_stripped=skull_stripped)
    except CaseError as error:
        return failure(case_id, error)
    nifti.write_volume(image, out / f"{case_id}.nii.gz", scaling)
    return Outcome(case_id, Status.OK)


def main() -> None:
    """Read data/ingest; write data/normalize."""
    section = params.load(NormalizeParams, "normalize")
    cache = ResultCache("normalize", __file__, section.model_dump())
    failed, rows = separate_failures(read_rows(INGEST / "cases.csv", (*OUTCOME_COLUMNS, "skull_stripped")))
    cases = [(row["case_id"], row["skull_stripped"] == "yes") for row in rows]
    with files.atomic_folder(OUT) as out:
        function = partial(normalize_case, params=section, out=out)
        transform_volumes(cache, function, cases, failed, source=INGEST / "volumes", out=out)


if __name__ == "__main__":
    console.run(main, "normalize")
