"""dcm2niix as the oracle of a series' volume, and the comparison with it."""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import dcm2niix
import numpy as np
import pydicom
import SimpleITK as sitk
from phantoms import voxels

DERIVED = ("_Eq", "_Tilt", "_Crop", "_ROI")  # in the names of what dcm2niix makes beside the volume


def conversions(paths: Sequence[Path], folder: Path) -> dict[str, sitk.Image]:
    """The volumes that dcm2niix makes of a series, not cropped, not rotated, by the suffix of their names."""
    for name in ("in", "out"):
        (folder / name).mkdir()
    for path in paths:
        (folder / "in" / path.name).symlink_to(path)
    maker = str(pydicom.dcmread(paths[0], stop_before_pixels=True).get("Manufacturer", ""))
    # By default dcm2niix scales Philips series to that maker's own floats, a constant factor off; -p n applies the
    # Modality LUT of each slice. No scan here is a Philips series whose slope changes from slice to slice.
    options = ("-p", "n") if maker.startswith("Philips") else ()
    command = [dcm2niix.bin, "-z", "n", "-x", "i", "-b", "n", *options, "-f", "volume", "-o", folder / "out"]
    subprocess.run([*command, folder / "in"], check=True, capture_output=True)
    made = [path for path in (folder / "out").glob("*.nii") if not any(word in path.stem for word in DERIVED)]
    return {path.stem.removeprefix("volume"): sitk.ReadImage(str(path)) for path in sorted(made)}


def converted(paths: Sequence[Path], folder: Path) -> sitk.Image:
    """The one volume that dcm2niix makes of a series, whatever its suffix, as in volume_ph.nii."""
    [image] = conversions(paths, folder).values()
    return image


@dataclass(frozen=True)
class Comparison:
    """Differences of two volumes: relative of voxels, of corners in mm, and which are beyond tolerance."""

    voxels: float
    corner: float
    beyond: tuple[str, ...]


def compare(ours: sitk.Image, theirs: sitk.Image) -> Comparison:
    """Compare after reorienting both, so that an array mirrored together with its geometry counts as equal."""
    ours, theirs = sitk.DICOMOrient(ours, "LPS"), sitk.DICOMOrient(theirs, "LPS")
    if ours.GetSize() != theirs.GetSize():
        return Comparison(np.inf, np.inf, (f"size {ours.GetSize()}, not {theirs.GetSize()}",))
    one, other = voxels(ours), voxels(theirs)
    whole = all(np.issubdtype(values.dtype, np.integer) for values in (one, other))
    one, other = one.astype(np.float64), other.astype(np.float64)
    off = np.abs(one - other)
    relative = float(np.divide(off, np.abs(other), where=other != 0, out=np.where(off > 0, np.inf, 0.0)).max())
    last = [size - 1 for size in ours.GetSize()]
    places = [
        [image.TransformIndexToPhysicalPoint(corner) for corner in product(*((0, index) for index in last))]
        for image in (ours, theirs)
    ]
    corner = float(np.linalg.norm(np.subtract(*places), axis=1).max())
    several = np.flatnonzero(last)  # a single slice has no step
    spacings = [np.array(image.GetSpacing())[several] for image in (ours, theirs)]
    faults = {
        "voxels": relative > (0 if whole else 1e-6),
        "corners": corner > 0.05,
        "spacing": not np.allclose(*spacings, rtol=1e-4, atol=0),
        "direction": not np.allclose(ours.GetDirection(), theirs.GetDirection(), rtol=0, atol=1e-4),
    }
    return Comparison(relative, corner, tuple(name for name, holds in faults.items() if holds))
