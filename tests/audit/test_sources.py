"""Which columns each classifier gets, and how many acquired voxels a head spans."""

import numpy as np
import pandas as pd

from flairprep.audit import shading, sources
from flairprep.audit.features import CaseFeatures

SIZES = {"size_z": np.full(5, 150.0), "size_y": np.full(5, 180.0), "size_x": np.full(5, 140.0)}
HEADER = pd.DataFrame(
    {
        "plane": ["axial", "coronal", "sagittal", "oblique", "axial"],
        "spacing_x": ["0.5", "0.5", "0.5", "0.5", ""],
        "spacing_y": ["1", "1", "1", "1", "1"],
        "spacing_z": ["5", "5", "5", "5", "5"],
    }
)


def test_the_matrix_counts_voxels_of_the_acquired_axes() -> None:
    matrix = sources.acquired_matrix(HEADER, SIZES)
    nan = np.nan
    np.testing.assert_allclose(matrix["matrix_z"], [30, 150, 150, nan, 30])  # slices, rows, rows
    np.testing.assert_allclose(matrix["matrix_y"], [180, 36, 360, nan, 180])  # rows, slices, columns
    np.testing.assert_allclose(matrix["matrix_x"], [280, 280, 28, nan, nan])  # columns, columns, slices


def test_single_columns_are_those_that_say_what_differs() -> None:
    geometry = {"filled": 0.5, **{f"{name}_{axis}": 1.0 for name in ("extent", "size", "blur") for axis in "zyx"}}
    statistics, shades = {"skewness": 0.0}, {"slab_x_1": 0.0, **dict.fromkeys(shading.DIFFERENCES, 0.0)}
    columns, single = sources.collect(HEADER, [CaseFeatures(geometry, statistics, shades)] * 5)
    assert list(columns) == ["header fields", "geometry", "intensity statistics", "shading"]
    assert set(columns["geometry"]) == {*geometry, "matrix_z", "matrix_y", "matrix_x"}
    assert [set(columns[name]) for name in ("intensity statistics", "shading")] == [set(statistics), set(shades)]
    assert {"plane", "size_z", "matrix_x", "blur_y", *shading.DIFFERENCES} < set(single)
    assert {"filled", "skewness", "slab_x_1"} & set(single) == set()
    assert set(single) <= {name for of_source in columns.values() for name in of_source}
