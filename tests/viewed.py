"""A study of three small scans, taken through the stages, with a map of one, for the tests of the viewer."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from tables import put
from workspace import volume, write_params

from flairprep.core.tables import write_rows
from flairprep.imaging import nifti
from flairprep.stages import normalize, select_slices
from flairprep.viewer.volumes import MAPS, Places

CASES = ["00001", "00002", "00003"]
EXPLAINED = CASES[0]
BACKGROUND = -4.0
PLACES = Places(BACKGROUND, MAPS)
PEAK = (4, 6, 9)  # index x, y, z of the largest response in the scan of EXPLAINED
NORMALIZE = normalize.NormalizeParams(
    orientation="LPS", bias_field="none", intensity="zscore", clip=4.0, background=BACKGROUND
)
SELECT = select_slices.SelectSlicesParams(count=12, size=24, method="resample")


def oblique(degrees: float) -> tuple[float, ...]:
    """Directions of coronal slices that are tilted by so many degrees: x to the left, y to the feet, z to the back."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (1, 0, 0, 0, sin, cos, 0, -cos, sin)


def scan(seed: int) -> sitk.Image:
    """An ellipsoid of noise among zeros, in oblique coronal slices far from the scanner's centre."""
    shape = (14, 20, 18)
    z, y, x = (np.indices(shape) - (np.array(shape).reshape(3, 1, 1, 1) - 1) / 2) / np.reshape(shape, (3, 1, 1, 1))
    values = np.where(x**2 + y**2 + z**2 < 0.2, np.random.default_rng(seed).integers(300, 400, shape), 0)
    geometry = {"origin": (-31.5, 12.25, 40.0), "direction": oblique(9)}
    return volume(values.astype(np.int16), (2.0, 2.0, 3.0), **geometry)


def write(folder: Path) -> None:
    """The study in `folder`, the working folder; the third case failed in select_slices, the fourth in ingest."""
    write_params(folder)
    columns = ("case_id", "status", "code", "message", "plane", "rows", "columns", "slices")
    spacings = ("spacing_x", "spacing_y", "spacing_z")
    rows = [
        dict.fromkeys(columns, "")
        | {"case_id": case, "status": "ok", "plane": "coronal", "rows": 20, "columns": 18}
        | {"slices": 14, "spacing_x": 2, "spacing_y": 2, "spacing_z": 3}
        for case in CASES
    ]
    rows[1] |= {"status": "warned", "code": "WHOLE_HEAD", "message": "not skull-stripped <b>"}
    nothing = dict.fromkeys((*columns, *spacings), "")
    rows.append(nothing | {"case_id": "00004", "status": "failed", "code": "BLANK_VOLUME", "message": "all are 0"})
    write_rows(Path("data/ingest/cases.csv"), rows, (*columns, *spacings))
    for made in ("normalize", "select_slices"):
        Path("data", made).mkdir(parents=True)
    Path("data/ingest/volumes").mkdir()
    for seed, case in enumerate(CASES):
        nifti.write_volume(scan(seed), Path(f"data/ingest/volumes/{case}.nii.gz"))
        normalize.normalize_case((case, True), params=NORMALIZE, out=Path("data/normalize"))
        if case != CASES[2]:
            select_slices.select_case(case, params=SELECT, background=BACKGROUND, out=Path("data/select_slices"))
    put("data/select_slices/cases.csv", f"case_id,status,code,message\n{CASES[2]},failed,TIMED_OUT,took too long\n")
    put("data/split/split.csv", "case_id,label,group,fold\n00001,1,a,0\n00002,0,b,1\n00003,0,c,1\n")
    put("reports/evaluate/cases.csv", "case_id,label,probability,wrong,flips\n00001,1,0.8125,0.25,1\n")
    write_map()


def write_map(probability: float = 0.8126, correlation: str = "0.1") -> None:
    """What flairprep explain leaves of EXPLAINED: a few voxels respond, PEAK the most."""
    image = sitk.Cast(scan(0), sitk.sitkFloat32) * 0
    image[3:6, 5:8, 8:11] = 0.4
    image[PEAK] = 0.5
    MAPS.mkdir(parents=True, exist_ok=True)
    nifti.write_volume(image, MAPS / f"{EXPLAINED}.nii.gz")
    nifti.write_volume(image * -0.1, MAPS / f"{EXPLAINED}.control.nii.gz")
    x, y, z = image.TransformIndexToPhysicalPoint(PEAK)
    columns = ("case_id", "label", "probability", "correlation", "peak_x", "peak_y", "peak_z")
    row = (EXPLAINED, 1, probability, correlation, round(x, 1), round(y, 1), round(z, 1))
    write_rows(MAPS / "explain.csv", [dict(zip(columns, row, strict=True))], columns)
