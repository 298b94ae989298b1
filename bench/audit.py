"""What the audit reports on demo cohorts, without training: false alarms, planted shortcuts, planted duplicates.

python bench/audit.py > bench/results/audit.txt

The demo's scans pass from ingest's arrays through normalize and select_slices at 1 / 8 of the usual number of voxels
(32 x 64 x 64 by default). Two hundred are made once. Each cohort of the seeds 0 to 99 draws 60 of them, with labels
and manufacturers of the demo's plan for that seed. The scans are independent of their labels (signal 0).
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import machine
import numpy as np
import pandas as pd
import SimpleITK as sitk
from pydicom.dataset import Dataset

os.environ.setdefault("FLAIRPREP_WORKERS", "2")

from flairprep.audit import leakage, near_duplicates
from flairprep.audit.features import CaseFeatures, extract_features
from flairprep.demo import phantom, plan, series
from flairprep.dicom import header
from flairprep.imaging import skull_stripping
from flairprep.runner.map_cases import map_cases
from flairprep.stages import audit, normalize, select_slices

FLAIR = Path(__file__).resolve().parents[2] / "shared/scans/flair-nifti"
PACKAGES = ("numpy", "scipy", "scikit-learn", "SimpleITK")
NORMALIZE = normalize.NormalizeParams(
    orientation="LPS", bias_field="none", intensity="zscore", clip=6.0, background=-4.0
)
POOL, COPIES = 200, 40
COHORTS, SIZE, SHORTCUT = 100, 60, 0.8
MAX_FLAGGED, PLANTED = 10, 10
PERMUTATIONS = 5000
ALL_CASES, MAX_SECONDS = 585, 20  # cases, and s that their statistics may take
Measured = tuple[CaseFeatures, np.ndarray]  # and the fingerprint (2, z, y, x)


class Scan(NamedTuple):
    """A case of the pool: its fields in ingest's table, and its features and fingerprint."""

    row: dict[str, str]
    measured: Measured


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
    image = sitk.GetImageFromArray(np.clip(np.rint(volume), 0, 4095))
    image.CopyInformation(grid)
    row = header.columns(series._series(case, case.rng(plan.FILES), grid))
    sizes = zip(("columns", "rows", "slices"), grid.GetSize(), strict=True)
    spacings = zip(("spacing_x", "spacing_y", "spacing_z"), grid.GetSpacing(), strict=True)
    row |= {name: f"{value:g}" for name, value in (*sizes, *spacings)} | {"plane": case.plane}
    stripped = "yes" if skull_stripping.is_skull_stripped(image) else "no"
    return Scan(row | {"skull_stripped": stripped}, measure(image, slices))


def audit_cohort(task: tuple[int, float], *, pool: list[Scan]) -> list[tuple[str, str]]:
    """Return (name, verdict) of leaks and shortcuts in a cohort of SIZE cases; task: its seed and planted shortcut."""
    seed, shortcut = task
    planned = plan.plan(SIZE, seed, shortcut)[:SIZE]
    scans = [pool[index] for index in np.random.default_rng(seed).permutation(len(pool))[:SIZE]]
    rows = [scan.row | {"manufacturer": manufacturer(case)} for scan, case in zip(scans, planned, strict=True)]
    report = run_audit([case.label for case in planned], rows, [scan.measured for scan in scans])
    return [(item["name"], item["verdict"]) for item in report["items"] if item["verdict"] in ("leak", "shortcut")]


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
    with TemporaryDirectory() as scratch:
        read = np.stack(fingerprints).__getitem__
        header_fields = pd.DataFrame(rows)
        return audit.audit(table, header_fields, list(features), read, params, NORMALIZE.intensity, Path(scratch))


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
        f"statistics of {ALL_CASES} cases, {PERMUTATIONS} permutations, in {MAX_SECONDS} s",
        f"{seconds:.1f} s, {processor:.1f} s of processor time; load {os.getloadavg()[0]:.0f}",
        seconds <= MAX_SECONDS,
    )


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
    tasks = [(seed, 0.0) for seed in range(COHORTS)] + [(seed, SHORTCUT) for seed in range(PLANTED)]
    reported = list(map_cases(partial(audit_cohort, pool=different), tasks, "cohorts", unit="cohort"))
    flagged = [items for items in reported[:COHORTS] if items]
    names = "; ".join(sorted({name for items in flagged for name, _ in items}))
    hits = sum(("manufacturer", "shortcut") in items for items in reported[COHORTS:])
    requirements = [
        Requirement(
            f"at most {MAX_FLAGGED} of {COHORTS} clean cohorts of {SIZE} cases are flagged",
            f"{len(flagged)}: {names or 'nothing'}",
            len(flagged) <= MAX_FLAGGED,
        ),
        Requirement(
            f"a shortcut of {SHORTCUT} through the manufacturer is found in {PLANTED} of {PLANTED} cohorts of {SIZE}",
            f"{hits} of {PLANTED}",
            hits == PLANTED,
        ),
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
