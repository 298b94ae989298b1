"""The layers of a case: which there are, why one is missing, how each is shown, and its bytes as NIfTI.

Every layer keeps its own grid and its place in the scanner; the browser lays them over each other.
"""

import shlex
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

from flairprep.core.tables import read_rows
from flairprep.explanation import maps, space
from flairprep.imaging import nifti
from flairprep.report import previews

VOLUMES, NORMALIZE = Path("data/ingest/volumes"), Path("data/normalize")
MAPS = Path("reports/explain")  # where flairprep explain writes by default
OUTCOME = ("case_id", "status", "code", "message")


class Layer(NamedTuple):
    """One layer of the page.

    name: of its file, without .nii.gz; text: what it is. colour, negative: the colour maps of values above and below 0,
    one of NiiVue's or the page's. low, high: values of the first and the last colour. missing: why there is none, and
    remedy: the command that makes it; both empty where it is there.
    """

    name: str
    title: str
    text: str
    colour: str
    negative: str = ""
    opacity: float = 1.0
    shown: bool = False
    low: float = 0.0
    high: float = 1.0
    missing: str = ""
    remedy: str = ""


class Places(NamedTuple):
    """background: `normalize.background`; maps: the folder that flairprep explain wrote into."""

    background: float
    maps: Path


def contents(places: Places) -> dict[str, Callable[[str], bytes]]:
    """Return what makes the .nii.gz of each layer from a case id, by the layer's name.

    Each raises OSError where its file is missing or damaged.
    """
    return {
        "scan": lambda case_id: (VOLUMES / f"{case_id}.nii.gz").read_bytes(),
        "input": lambda case_id: encoded(network_input(case_id)),
        "mask": lambda case_id: encoded(mask(case_id, places.background)),
        "map": lambda case_id: (places.maps / f"{case_id}.nii.gz").read_bytes(),
        "control": lambda case_id: (places.maps / f"{case_id}.control.nii.gz").read_bytes(),
    }


def network_input(case_id: str) -> sitk.Image:
    """Read data/select_slices/ID.nii.gz with the values that reach the network, which float16 rounded; float32."""
    image, values = maps.network_input(case_id)
    return space.on_grid(values, image)


def mask(case_id: str, background: float) -> sitk.Image:
    """Return the tissue of data/normalize/ID.nii.gz, the voxels of the scan in other axes: sitkUInt8, 0 or 1."""
    image = nifti.read_volume(NORMALIZE / f"{case_id}.nii.gz")
    inside = sitk.GetImageFromArray(previews.mask(sitk.GetArrayViewFromImage(image), background).astype(np.uint8))
    inside.CopyInformation(image)
    return inside


def encoded(image: sitk.Image) -> bytes:
    """Return `image` as the bytes of a .nii.gz."""
    with tempfile.TemporaryDirectory(prefix="flairprep-") as scratch:  # open to its owner alone; gone in a moment
        path = Path(scratch) / "volume.nii.gz"
        nifti.write_volume(image, path)
        return path.read_bytes()


def layers(case_id: str, places: Places, *, explainable: bool) -> list[Layer]:
    """Return the layers of a case from the ground up; a missing one says why.

    explainable: whether data/split/split.csv has the case, so that flairprep explain takes it.
    """
    scan = Layer("scan", "Scan as acquired", "data/ingest: the voxels of the scanner.", "gray", shown=True)
    seen = Layer("input", "Input of the network", "data/select_slices: what the network gets.", "gray")
    tissue = Layer(
        "mask", "Mask", "data/normalize: the tissue, whose intensities were mapped.", "flairprep-mask", opacity=0.4
    )
    drawn = [
        _windowed(scan, VOLUMES, case_id, lambda values: previews.window(previews.tissue(values))),
        _windowed(seen, maps.SLICES, case_id, lambda values: previews.tissue_window(values, places.background)),
        tissue._replace(missing=_missing(NORMALIZE, case_id)),
    ]
    return [*drawn, *_explained(case_id, places, explainable=explainable and not drawn[1].missing)]


def _windowed(
    layer: Layer, folder: Path, case_id: str, window: Callable[[previews.Array], tuple[float, float]]
) -> Layer:
    if missing := _missing(folder, case_id):
        return layer._replace(missing=missing, shown=False)
    low, high = window(_values(folder / f"{case_id}.nii.gz"))
    return layer._replace(low=low, high=high)


def _values(path: Path) -> previews.Array:
    return sitk.GetArrayFromImage(nifti.read_volume(path))  # a view would outlive its image


def _missing(folder: Path, case_id: str) -> str:
    """Return why there is no volume in `folder`, from its stage's cases.csv; "" where there is one."""
    if (folder / f"{case_id}.nii.gz").is_file():
        return ""
    stage = folder.parts[1]
    table = Path("data") / stage / "cases.csv"
    rows = read_rows(table, OUTCOME) if table.is_file() else []
    for row in rows:
        if row["case_id"] == case_id and row["status"] == "failed":
            return f"The case failed: {row['code']}: {row['message']}."
    return f"{folder}/{case_id}.nii.gz is missing: dvc repro {stage} makes it, dvc checkout restores it."


def _explained(case_id: str, places: Places, *, explainable: bool) -> list[Layer]:
    kinds = (
        ("map", "", "Where the network looks", "Occlusion map of the trained network."),
        ("control", ".control", "Control of the map", "The same with random weights, which learned nothing."),
    )
    found = []
    for name, suffix, title, text in kinds:
        layer = Layer(name, title, text, "flairprep-for", "flairprep-against", opacity=0.7)
        path = places.maps / f"{case_id}{suffix}.nii.gz"
        if path.is_file():
            top = float(np.abs(_values(path)).max()) or 1.0
            found.append(layer._replace(high=top, shown=name == "map"))
        elif explainable:
            where = "" if places.maps == MAPS else f" --out {shlex.quote(str(places.maps))}"
            remedy = f"flairprep explain {shlex.quote(case_id)}{where}"
            found.append(layer._replace(missing="Not made yet. Make it and reload the page:", remedy=remedy))
        else:
            why = "A map needs a label and an input of the network, and this case lacks one of them."
            found.append(layer._replace(missing=why))
    return found
