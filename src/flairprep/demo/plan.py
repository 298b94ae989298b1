"""Decide what each case of the synthetic cohort is."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

PREVALENCE = 0.52
MANUFACTURERS = ("SIEMENS", "Philips Medical Systems", "GE MEDICAL SYSTEMS", "TOSHIBA")


class Fault(StrEnum):
    """Fault of a case; each has one case, after the sound ones and in this order."""

    NONE = "none"
    DARK = "dark"
    MISSING_SLICES = "missing slices"
    DUPLICATED_SLICE = "duplicated slice"
    NO_LABEL = "no label"
    NO_SCAN = "no scan"


class Copy(StrEnum):
    """Difference of a planted duplicate from its source; every one has ids and UIDs of its own."""

    EXACT = "exact"
    NOISY = "noisy"
    MIRRORED = "mirrored"  # left to right, and noisy


@dataclass(frozen=True)
class DemoCase:
    """Properties that are drawn for the cohort as a whole, so that even a small one has some of each kind."""

    seed: int
    index: int
    label: int
    plane: str
    manufacturer: str
    volumetric: bool  # acquired in 3D: thin slices, many of them
    stripped: bool  # only the brain is left, with zeros around it
    rescaled: bool  # each slice has its own rescale slope
    fault: Fault
    copy: Copy | None = None
    source: int | None = None  # index of the case that this one copies

    @property
    def case_id(self) -> str:
        """Return the folder's name, which is the PatientID too."""
        return f"{self.index:05d}"

    def rng(self, purpose: int) -> np.random.Generator:
        """Return the case's own generator for one purpose, independent of other cases and of other draws.

        A copy draws what its source does, except for COPY.
        """
        index = self.index if self.source is None or purpose == COPY else self.source
        return np.random.default_rng([self.seed, index]).spawn(purpose + 1)[purpose]


ANATOMY, SCANNER, NOISE, FILES, COPY = range(5)


def plan(cases: int, seed: int, shortcut: float = 0.0, duplicates: int = 0) -> list[DemoCase]:
    """Plan the sound cases, then one of each fault, then `duplicates` copies of sound cases.

    The label is independent of all else, unless there is a `shortcut`. With that probability the manufacturer is the
    label's own (the first two of MANUFACTURERS), else one of all four, each as often. Every second copy is exact; the
    others by turns have more noise, or are mirrored too.
    """
    rng = np.random.default_rng(seed)
    faults, positive = list(Fault)[1:], round(PREVALENCE * cases)
    labels = [*rng.permutation([1] * positive + [0] * (cases - positive)), *np.resize([0, 1], len(faults))]

    def shared_out(*pattern: str | bool) -> list[Any]:
        groups = (cases, len(faults))  # one by one, so that the sound cases alone have some of each kind
        return [value for size in groups for value in rng.permutation(np.resize(pattern, size)).tolist()]

    planes = shared_out("axial", "axial", "axial", "sagittal", "coronal")
    manufacturers = shared_out(*MANUFACTURERS)
    volumetric = shared_out(True, False, False, False)
    stripped = shared_out(False, True, True, True, True, True)
    rescaled = shared_out(True, False, False, False, False)
    columns = zip(
        labels, planes, manufacturers, volumetric, stripped, rescaled, [Fault.NONE] * cases + faults, strict=True
    )
    planned = [DemoCase(seed, index, int(label), *rest) for index, (label, *rest) in enumerate(columns)]
    planting = np.random.default_rng([seed, cases])  # a separate one: plants change nothing else
    owned = planting.uniform(size=len(planned)) < shortcut
    planned = [
        replace(case, manufacturer=MANUFACTURERS[case.label]) if own else case
        for case, own in zip(planned, owned, strict=True)
    ]
    sources = planting.permutation(cases)[:duplicates].tolist()
    kinds = np.resize([Copy.EXACT, Copy.NOISY, Copy.EXACT, Copy.MIRRORED], duplicates)
    copies = [
        replace(planned[source], index=len(planned) + number, copy=Copy(kind), source=source)
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True))
    ]
    return planned + copies
