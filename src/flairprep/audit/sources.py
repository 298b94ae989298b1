"""Gather what may give the label away: the columns of each classifier, and those that are tested by themselves."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from flairprep.audit.association import Columns, parse_columns
from flairprep.audit.features import CaseFeatures
from flairprep.audit.shading import AXES, DIFFERENCES

LEAVE_OUT = ("manufacturer", "plane")  # columns whose values the classifiers are also tested without
SPACINGS = ("spacing_x", "spacing_y", "spacing_z")  # of a volume as acquired: columns, rows, slices
ACQUIRED_AXES = {  # plane -> spacings along z, y and x of the head; an oblique one is near no axis
    "axial": ("spacing_z", "spacing_y", "spacing_x"),
    "coronal": ("spacing_y", "spacing_z", "spacing_x"),
    "sagittal": ("spacing_y", "spacing_x", "spacing_z"),
}
SINGLE = ("extent", "size", "matrix", "blur")  # beginnings of the names of geometry tested by themselves


def collect(header: pd.DataFrame, features: Sequence[CaseFeatures]) -> tuple[dict[str, Columns], list[str]]:
    """Return the columns of each source, and the names of those to test by themselves too.

    Args:
        header: text, fields of data/ingest/cases.csv without status and message.
        features: of the preprocessed volumes, in the order of `header`.
    """
    geometry = _columns([of_case.geometry for of_case in features])
    sources = {
        "header fields": parse_columns(header),
        "geometry": geometry | acquired_matrix(header, geometry),
        "intensity statistics": _columns([of_case.statistics for of_case in features]),
        "shading": _columns([of_case.shading for of_case in features]),
    }
    shapes = [name for name in sources["geometry"] if name.startswith(SINGLE)]
    return sources, [*sources["header fields"], *shapes, *DIFFERENCES]


def acquired_matrix(header: pd.DataFrame, geometry: Columns) -> Columns:
    """Return how many voxels of the acquired volume the head spans per axis, as far as select_slices keeps it.

    NaN where the plane is oblique, since no acquired axis runs along the head's.

    Args:
        header: plane and SPACINGS.
        geometry: size_z, size_y, size_x (n_cases,), mm.
    """
    spacings = header[list(SPACINGS)].apply(pd.to_numeric, errors="coerce")
    columns = {}
    for axis, name in enumerate(AXES):
        along = np.full(len(header), np.nan)
        for plane, names in ACQUIRED_AXES.items():
            in_plane = (header["plane"] == plane).to_numpy()
            along[in_plane] = spacings.loc[in_plane, names[axis]]
        columns[f"matrix_{name}"] = geometry[f"size_{name}"] / np.where(along > 0, along, np.nan)
    return columns


def _columns(rows: Sequence[dict[str, float]]) -> Columns:
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
