"""Mark the cases whose quality lies far from the cohort's, and write reports/preview/quality.csv."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from flairprep.core.tables import write_rows
from flairprep.imaging.quality import Quality

FILE = "quality.csv"
COLUMNS = ("case_id", *Quality._fields, "outliers")
FAR = 3.5  # robust z from which a value is an outlier (Iglewicz and Hoaglin 1993)
NORMAL = 0.6745  # median absolute deviation of a standard normal distribution
LEAST = 10  # values that a median is compared with
NAMES = {
    "snr": "SNR",
    "snrd": "SNR by air",
    "cnr": "CNR",
    "fber": "FBER",
    "efc": "EFC",
}
LOWER_IS_BETTER = ("efc",)


class Outlier(NamedTuple):
    """A measure of a case that lies far from the others. z: robust, in standard deviations, with its sign."""

    measure: str
    z: float

    @property
    def text(self) -> str:
        """Return what lies where, and whether that is the worse side."""
        low = self.z < 0
        worse = low != (self.measure in LOWER_IS_BETTER)
        return f"{NAMES[self.measure]} {'low' if low else 'high'} ({'worse' if worse else 'better'}, z {self.z:+.1f})"


class Measured(NamedTuple):
    """The quality of a case, beside the cohort's. z: robust, of each measure that is defined."""

    values: Quality
    z: Mapping[str, float]

    @property
    def outliers(self) -> tuple[Outlier, ...]:
        """Return the measures that lie FAR from the cohort's median."""
        return tuple(Outlier(name, z) for name, z in self.z.items() if abs(z) > FAR)

    @property
    def shown(self) -> dict[str, float]:
        """Return the measures that are defined, by their field."""
        return {name: value for name, value in self.values._asdict().items() if value is not None}


def compare(measured: Mapping[str, Quality]) -> dict[str, Measured]:
    """Compare each case with all: z = NORMAL (value - median) / median absolute deviation.

    Both directions count: what is far better than the rest was acquired otherwise, too. No value is an outlier among
    fewer than LEAST, or where more than half are equal.
    """
    distances: dict[str, dict[str, float]] = {case: {} for case in measured}
    for index, name in enumerate(Quality._fields):
        known = {case: value for case, found in measured.items() if (value := found[index]) is not None}
        for case, z in zip(known, robust_z(list(known.values())), strict=True):
            distances[case][name] = z
    return {case: Measured(found, distances[case]) for case, found in measured.items()}


def robust_z(values: list[float]) -> list[float]:
    """Return how far each value lies from the median, in deviations estimated by the median absolute one; or zeros."""
    if len(values) < LEAST:
        return [0.0] * len(values)
    distances = np.array(values) - np.median(values)
    deviation = float(np.median(np.abs(distances)))
    return [float(NORMAL * distance / deviation) if deviation else 0.0 for distance in distances]


def write(compared: Mapping[str, Measured], folder: Path) -> None:
    """Write folder/quality.csv: a row per case, empty where a measure is undefined."""
    rows = [
        (case, *found.values, "; ".join(f"{one.measure} {one.z:+.2f}" for one in found.outliers))
        for case, found in sorted(compared.items())
    ]
    write_rows(folder / FILE, [dict(zip(COLUMNS, row, strict=True)) for row in rows], COLUMNS)
