"""What the audit reports on demo cohorts, without training: false alarms, planted shortcuts, planted duplicates.

python bench/audit.py > bench/results/audit.txt

The demo's scans pass from ingest's arrays through normalize and select_slices at 1 / 8 of the usual number of voxels
(32 x 64 x 64 by default). Two hundred are made once. Each cohort draws from them, with labels and manufacturers of the
demo's plan for its seed; more than two hundred cases are drawn with replacement. The scans are independent of their
labels (signal 0), and shaded at random by 15 to 20 % at most. What PLANTED changes in the scans of label 1 comes before
normalize.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import machine
import numpy as np
import pandas as pd
import SimpleITK as sitk
from pydicom.dataset import Dataset
from threadpoolctl import threadpool_limits

os.environ.setdefault("FLAIRPREP_WORKERS", "2")

from flairprep.audit import leakage, near_duplicates
from flairprep.audit.features import CaseFeatures, extract_features
from flairprep.demo import phantom, plan, series
from flairprep.dicom import header
from flairprep.imaging import skull_stripping
from flairprep.imaging.foreground import foreground
from flairprep.runner.map_cases import map_cases
from flairprep.stages import audit, normalize, select_slices

FLAIR = Path(__file__).resolve().parents[2] / "shared/scans/flair-nifti"
PACKAGES = ("numpy", "scipy", "scikit-learn", "SimpleITK")
NORMALIZE = normalize.NormalizeParams(
    orientation="LPS", bias_field="none", intensity="zscore", clip=6.0, background=-4.0
)
POOL, COPIES = 200, 40
CLEAN = {60: 50, 117: 30, 250: 15, 585: 5}  # cases of a cohort -> number of cohorts
SIZE, LARGER, SHORTCUT = 60, 117, 0.8
MAX_FLAGGED, COHORTS = 10, 10
GRADIENT, SLAB, CUT = 0.15, 0.05, 10.0  # change over the whole head, gain of a fifth of it, mm
PERMUTATIONS = 5000
ALL_CASES, MAX_SECONDS = 585, 20  # cases, and s of one core that their statistics may take
Measured = tuple[CaseFeatures, np.ndarray]  # and the fingerprint (2, z, y, x)


@dataclass(frozen=True)
class Plant:
    """A change of the scans of label 1, and the finding that has to name it.

    change: of intensities (z, y, x), given the places (3, z, y, x) of their voxels in the head, from 0 at its right,
    front and bottom to 1, and the height of the head in mm.
    """

    text: str
    found_as: str
    change: Callable[[np.ndarray, np.ndarray, float], np.ndarray]


def gradient(axis: int) -> Callable[[np.ndarray, np.ndarray, float], np.ndarray]:
    """Return a change by GRADIENT along x, y or z."""
    return lambda values, places, _: values * (1 + GRADIENT * (places[axis] - 0.5))


def bright_slab(values: np.ndarray, places: np.ndarray, _: float) -> np.ndarray:
    """Brighten the middle fifth of the head's height."""
    return values * (1 + SLAB * (np.abs(places[2] - 0.5) < 0.1))


def cut(values: np.ndarray, places: np.ndarray, height: float) -> np.ndarray:
    """Empty the lowest CUT mm of the head."""
    return np.where(places[2] * height < CUT, 0, values)


PLANTED = (
    Plant(f"a left-right gradient of {GRADIENT:.0%}", "left_minus_right", gradient(0)),
    Plant(f"a front-back gradient of {GRADIENT:.0%}", "front_minus_back", gradient(1)),
    Plant(f"a top-bottom gradient of {GRADIENT:.0%}", "top_minus_bottom", gradient(2)),
    Plant(f"an axial fifth of the head brighter by {SLAB:.0%}", "shading", bright_slab),
    Plant(f"a head without its lowest {CUT:g} mm", "geometry", cut),
)


class Scan(NamedTuple):
    """A case of the pool: its fields in ingest's table, its features and fingerprint, and features by Plant."""

    row: dict[str, str]
    measured: Measured
    planted: list[CaseFeatures]


class Task(NamedTuple):
    """A cohort: its seed, its number of cases, and what is planted in it."""

    seed: int
    size: int
    shortcut: float = 0.0
    plant: int | None = None


class Requirement(NamedTuple):
    """A row of the table."""

    text: str
    measured: str
    met: bool


def measure(image: sitk.Image, slices: int) -> Measured:
    """Return features and fingerprint of an image as acquired, after normalize and select_slices."""
    stripped = skull_stripping.is_skull_stripped(image)
    params = select_slices.SelectSlicesParams(count=slices, size=2 * slices, method="foreground")
    image = normalize.normalize(image, NORMALIZE, skull_stripped=stripped)
    image = select_slices.select_slices(image, params, background=NORMALIZE.background)
    return extract_features(image, NORMALIZE.intensity, NORMALIZE.background)


def make_scan(case: plan.DemoCase, *, atlas: phantom.Atlas, slices: int) -> Scan:
    """Make a case of the demo as `flairprep demo` writes it, without the files."""
    patient = phantom.head(atlas, case, 0.0)
    grid = phantom.grid(case, patient)
    volume = phantom.altered(case, phantom.scan(case, patient, grid), grid)
    image = as_image(volume, grid)
    row = header.columns(series._series(case, case.rng(plan.FILES), grid))
    sizes = zip(("columns", "rows", "slices"), grid.GetSize(), strict=True)
    spacings = zip(("spacing_x", "spacing_y", "spacing_z"), grid.GetSpacing(), strict=True)
    row |= {name: f"{value:g}" for name, value in (*sizes, *spacings)} | {"plane": case.plane}
    stripped = "yes" if skull_stripping.is_skull_stripped(image) else "no"
    places, height = places_in_head(image, stripped == "yes")
    changed = [as_image(plant.change(volume, places, height), grid) for plant in PLANTED]
    return Scan(
        row | {"skull_stripped": stripped}, measure(image, slices), [measure(one, slices)[0] for one in changed]
    )


def as_image(volume: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """Return intensities (z, y, x) as a scanner stores them."""
    image = sitk.GetImageFromArray(np.clip(np.rint(volume), 0, 4095))
    image.CopyInformation(grid)
    return image


def places_in_head(image: sitk.Image, skull_stripped: bool) -> tuple[np.ndarray, float]:
    """Return the places (3, z, y, x) of voxels in the head, see Plant, and the head's height in mm."""
    tissue = sitk.GetArrayViewFromImage(foreground(image, skull_stripped=skull_stripped)) > 0
    matrix = np.reshape(image.GetDirection(), (3, 3)) * np.array(image.GetSpacing())
    positions = np.tensordot(matrix, np.indices(tissue.shape)[::-1], 1)
    low, high = (extreme(positions[:, tissue], axis=1)[:, None, None, None] for extreme in (np.min, np.max))
    return (positions - low) / (high - low), float((high - low)[2].item())


def audit_cohort(task: Task, *, pool: list[Scan]) -> list[str]:
    """Return the names of the shortcuts found in a cohort."""
    planned = plan.plan(task.size, task.seed, task.shortcut)[: task.size]
    rng = np.random.default_rng(task.seed)
    drawn = rng.permutation(POOL)[: task.size] if task.size <= POOL else rng.integers(0, POOL, task.size)
    scans = [pool[index] for index in drawn]
    rows = [scan.row | {"manufacturer": manufacturer(case)} for scan, case in zip(scans, planned, strict=True)]
    measured = [scan.measured for scan in scans]
    if task.plant is not None:
        measured = [
            (scan.planted[task.plant], scan.measured[1]) if case.label else scan.measured
            for scan, case in zip(scans, planned, strict=True)
        ]
    report = run_audit([case.label for case in planned], rows, measured)
    return [item["name"] for item in report["items"] if item["verdict"] == "shortcut"]


def manufacturer(case: plan.DemoCase) -> str:
    """Return the manufacturer of a case as ingest names it."""
    dataset = Dataset()
    dataset.Manufacturer = case.manufacturer
    return str(header.columns(dataset)["manufacturer"])


def run_audit(labels: list[int], rows: list[dict[str, str]], measured: list[Measured]) -> dict[str, Any]:
    """Return the audit's report on cases in five folds, each a patient of its own."""
    ids = [f"{index:05d}" for index in range(len(labels))]
    folds = np.empty(len(labels), int)
    for label in (0, 1):  # stratified
        indices = np.flatnonzero(np.array(labels) == label)
        folds[indices] = np.arange(len(indices)) % 5
    table = pd.DataFrame({"case_id": ids, "label": labels, "group": ids, "fold": folds})
    table = table.assign(**dict.fromkeys(leakage.IDENTITIES, ids))
    params = audit.AuditParams(alpha=0.05, permutations=PERMUTATIONS, seed=0)
    features, fingerprints = zip(*measured, strict=True)
    with TemporaryDirectory() as scratch, threadpool_limits(1):  # as the stage
        read = np.stack(fingerprints).__getitem__
        header_fields = pd.DataFrame(rows)
        args = table, header_fields, list(features), read, params, NORMALIZE.intensity, Path(scratch)
        return audit.audit(*args)[0]


def correlate(measured: list[Measured]) -> np.ndarray:
    """Return the correlations of fingerprints, (n, n), -1 of a case with itself."""
    upper = np.zeros((len(measured), len(measured)))
    with TemporaryDirectory() as scratch:
        read = np.stack([fingerprint for _, fingerprint in measured]).__getitem__
        for row, column, block in near_duplicates.correlations(read, len(measured), Path(scratch)):
            upper[row : row + len(block), column : column + block.shape[1]] = block
    upper = np.triu(upper, 1)
    return upper + upper.T - np.eye(len(upper))


def check_duplicates(copies: list[plan.DemoCase], measured: list[Measured]) -> list[Requirement]:
    """Check that near-duplicates are the planted copies; measured: POOL different cases, then their copies."""
    threshold = near_duplicates.MIN_CORRELATION
    correlations = correlate(measured)
    different = correlations[:POOL, :POOL]
    planted = [float(correlations[POOL + number, case.source]) for number, case in enumerate(copies)]
    lowest = {kind: min(p for p, case in zip(planted, copies, strict=True) if case.copy is kind) for kind in plan.Copy}
    by_kind = ", ".join(f"{kind} {value:.3f}" for kind, value in lowest.items())
    expected = {(POOL + number, case.source) for number, case in enumerate(copies)}
    pairs = np.argwhere(np.tril(correlations) >= threshold).tolist()
    others = [pair for pair in pairs if tuple(pair) not in expected]
    return [
        Requirement(
            f"no two of {POOL} clean demo cases are near-duplicates (correlation {threshold} or more)",
            f"{int((np.triu(different) >= threshold).sum())} pairs, highest correlation {different.max():.3f}",
            bool(different.max() < threshold),
        ),
        Requirement(
            f"all {COPIES} planted copies are found, and nothing else",
            f"{sum(p >= threshold for p in planted)} of {COPIES}, lowest: {by_kind}; {len(others)} others",
            min(planted) >= threshold and not others,
        ),
    ]


def check_real_scans(pool: list[Scan], slices: int) -> Requirement:
    """Check that FLAIRs of different patients are no near-duplicates, by themselves and among the demo's."""
    paths = sorted(path for path in FLAIR.rglob("*.nii.gz") if path.name.startswith("FLAIR"))
    text = "FLAIRs of different patients (shared/scans/flair-nifti) are no near-duplicates"
    if not paths:
        return Requirement(text, "skipped: not there", True)
    measured = [measure(sitk.ReadImage(str(path), sitk.sitkFloat32), slices) for path in paths]
    alone = correlate(measured).max()
    among = correlate([*measured, *(scan.measured for scan in pool)])[: len(paths), : len(paths)].max()
    highest = f"{len(paths)} patients: at most {alone:.3f} by themselves, {among:.3f} among the demo's"
    return Requirement(text, highest, bool(max(alone, among) < near_duplicates.MIN_CORRELATION))


def check_seconds(pool: list[Scan]) -> Requirement:
    """Time the statistics of ALL_CASES cases, the pool repeated with random labels, without reading volumes."""
    rng = np.random.default_rng(0)
    scans = [pool[index % POOL] for index in range(ALL_CASES)]
    start, processor_start = time.perf_counter(), time.process_time()
    run_audit(rng.integers(0, 2, ALL_CASES).tolist(), [scan.row for scan in scans], [scan.measured for scan in scans])
    seconds, processor = time.perf_counter() - start, time.process_time() - processor_start
    return Requirement(
        f"statistics of {ALL_CASES} cases, {PERMUTATIONS} permutations, in {MAX_SECONDS} s of one core",
        f"{processor:.1f} s, on a machine of load {os.getloadavg()[0]:.0f} in {seconds:.1f} s",
        processor <= MAX_SECONDS,
    )


def check_cohorts(pool: list[Scan]) -> list[Requirement]:
    """Check that few clean cohorts are flagged, and that what is planted is found by its name."""
    clean = [Task(seed, size) for size, count in CLEAN.items() for seed in range(count)]
    makers = [Task(seed, SIZE, SHORTCUT) for seed in range(COHORTS)]
    plants = [Task(seed, LARGER, plant=number) for number in range(len(PLANTED)) for seed in range(COHORTS)]
    tasks = [*clean, *makers, *plants]
    found = dict(zip(tasks, map_cases(partial(audit_cohort, pool=pool), tasks, "cohorts", unit="cohort"), strict=True))
    flagged = [task for task in clean if found[task]]
    by_size = ", ".join(f"{sum(task.size == n for task in flagged)} of {CLEAN[n]} with {n} cases" for n in CLEAN)
    names = "; ".join(sorted({name for task in flagged for name in found[task]}))
    hits = sum("manufacturer" in found[task] for task in makers)
    requirements = [
        Requirement(
            f"at most {MAX_FLAGGED} of {len(clean)} clean cohorts of {min(CLEAN)} to {max(CLEAN)} cases are flagged",
            f"{len(flagged)} ({by_size}): {names or 'nothing'}",
            len(flagged) <= MAX_FLAGGED,
        ),
        Requirement(
            f"a shortcut of {SHORTCUT} through the manufacturer is found in {COHORTS} of {COHORTS} cohorts of {SIZE}",
            f"{hits} of {COHORTS}",
            hits == COHORTS,
        ),
    ]
    for number, plant in enumerate(PLANTED):
        hits = sum(plant.found_as in found[task] for task in plants if task.plant == number)
        text = f"{plant.text} in label 1 is found as {plant.found_as} in {COHORTS} of {COHORTS} cohorts of {LARGER}"
        requirements.append(Requirement(text, f"{hits} of {COHORTS}", hits == COHORTS))
    return requirements


def main() -> None:
    """Print the table; exit status 1 where a requirement is not met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=32, help="of a volume; its width is twice as many voxels")
    slices = parser.parse_args().slices
    start = time.perf_counter()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    planned = [case for case in plan.plan(POOL, 0, 0.0, COPIES) if case.fault is plan.Fault.NONE]
    pool = list(map_cases(partial(make_scan, atlas=phantom.load_atlas(), slices=slices), planned, "scans"))
    different, copies = pool[:POOL], planned[POOL:]
    requirements = [
        *check_cohorts(different),
        *check_duplicates(copies, [scan.measured for scan in pool]),
        check_real_scans(different, slices),
        check_seconds(different),
    ]
    print(machine.header(PACKAGES))
    print(f"python bench/audit.py --slices {slices}: volumes of {slices} x {2 * slices} x {2 * slices} voxels")
    for requirement in requirements:
        print(f"{'met' if requirement.met else 'NOT MET':8}{requirement.text}: {requirement.measured}")
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(0 if all(requirement.met for requirement in requirements) else 1)


if __name__ == "__main__":
    main()
