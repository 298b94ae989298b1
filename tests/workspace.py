"""A project folder for the tests of a stage's main()."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from ruamel.yaml import YAML

SCANS = Path(__file__).resolve().parents[2] / "shared/scans"  # real ones beside the checkout
PARAMS = Path(__file__).with_name("params.yaml")  # the project's as it ships; the root's is edited by its users


def write_params(folder: Path, **changed: Any) -> None:
    """The shipped params.yaml in `folder` with values changed: key=value, or section={key: value}."""
    yaml = YAML()
    values = yaml.load(PARAMS)
    for key, value in changed.items():
        if isinstance(value, dict):
            values[key].update(value)
        else:
            values[key] = value
    yaml.dump(values, folder / "params.yaml")


def contents(folder: Path) -> dict[str, str]:
    """File name -> hash, of all files below `folder`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def volume(values: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0), **geometry: Any) -> sitk.Image:
    """`values` (z, y, x) as an image; spacing (x, y, z) in mm; geometry: origin, direction."""
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(spacing)
    image.SetOrigin(geometry.get("origin", (0.0, 0.0, 0.0)))
    image.SetDirection(geometry.get("direction", (1, 0, 0, 0, 1, 0, 0, 0, 1)))
    return image


def points(image: sitk.Image) -> np.ndarray:
    """The position of each voxel, mm: (z, y, x, 3), the last axis x, y, z."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in image.GetSize()), indexing="ij"), axis=-1)
    matrix = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    return (index @ matrix.T + np.array(image.GetOrigin())).transpose(2, 1, 0, 3)


def in_this_process(function: Any, items: Any, label: str, **options: Any) -> Iterator[Any]:
    """Stands for the pool where its workers, which take a second to start, do not matter."""
    yield from map(function, items)
