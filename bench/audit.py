"""What the audit finds in demo cohorts, without training: false alarms, planted shortcuts, planted duplicates.

python bench/audit.py > bench/results/audit.txt

The demo's scans go from ingest's arrays through normalize and select_slices at a quarter of the usual number of voxels
(32 x 64 x 64 by default). Two hundred are made once; each cohort of the seeds 0 to 99 is 60 of them, drawn by the seed,
under labels and manufacturers of the demo's plan for that seed. The scans know nothing of their labels (signal 0).
"""

import argparse
import os
import sys
import time
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pandas as pd
import SimpleITK as sitk
from pydicom.dataset import Dataset

os.environ.setdefault("FLAIRPREP_WORKERS", "2")

from machine import header

from flairprep.audit import leakage, near_duplicates
from flairprep.demo import phantom, plan, series
from flairprep.dicom import header as headers
from flairprep.imaging import skull_stripping
from flairprep.runner.map_cases import map_cases
from flairprep.stages import audit, normalize, select_slices

FLAIR = Path(__file__).resolve().parents[2] / "shared/scans/flair-nifti"
PACKAGES = ("numpy", "scipy", "scikit-learn", "SimpleITK")
NORMALIZE = normalize.NormalizeParams(
    orientation="LPS", bias_field="none", intensity="zscore", clip=6.0, background=-4.0
)
SEEN = audit.NormalizeUsed(intensity="zscore", background=-4.0)
POOL, COPIES = 200, 40
COHORTS, SIZE, SHORTCUT = 100, 60, 0.8
MOST_FLAGGED, PLANTED = 10, 10
PERMUTATIONS = 5000
WHOLE, SECONDS = 585, 20  # cases, and s that their statistics may take
Look = tuple[audit.CaseFeatures, np.ndarray]  # and the fingerprint (2, z, y, x)


class Scan(NamedTuple):
    """A case of the pool: its fields in ingest's table, and what audit measures on its volume."""

    row: dict[str, str]
    look: Look


def preprocessed(image: sitk.Image, slices: int) -> Look:
    """An image as acquired through normalize and select_slices to what audit measures."""
    stripped = skull_stripping.is_skull_stripped(image)
    params = select_slices.SelectSlicesParams(count=slices, size=2 * slices, method="foreground")
    image = normalize.normalize(image, NORMALIZE, skull_stripped=stripped)
    return audit.extract_features(select_slices.select_slices(image, params, background=NORMALIZE.background), SEEN)


def scan(case: plan.DemoCase, *, atlas: phantom.Atlas, slices: int) -> Scan:
    """A case of the demo as `flairprep demo` writes it, without the files."""
    patient = phantom.head(atlas, case, 0.0)
    grid = phantom.grid(case, patient)
    volume = phantom.altered(case, phantom.scan(case, patient, grid), grid)
    image = sitk.GetImageFromArray(np.clip(np.rint(volume), 0, 4095))
    image.CopyInformation(grid)
    row = headers.columns(series._series(case, case.rng(plan.FILES), grid))
    sizes = zip(("columns", "rows", "slices"), grid.GetSize(), strict=True)
    spacings = zip(("spacing_x", "spacing_y", "spacing_z"), grid.GetSpacing(), strict=True)
    row |= {name: f"{value:g}" for name, value in (*sizes, *spacings)} | {"plane": case.plane}
    stripped = "yes" if skull_stripping.is_skull_stripped(image) else "no"
    return Scan(row | {"skull_stripped": stripped}, preprocessed(image, slices))


def cohort(task: tuple[int, float], *, pool: list[Scan]) -> list[tuple[str, str]]:
    """(name, verdict) of what is not clean in a cohort of SIZE cases; task: seed and the shortcut planted in it."""
    seed, shortcut = task
    planned = plan.plan(SIZE, seed, shortcut)[:SIZE]
    scans = [pool[index] for index in np.random.default_rng(seed).permutation(len(pool))[:SIZE]]
    rows = [one.row | {"manufacturer": maker(case)} for one, case in zip(scans, planned, strict=True)]
    report = audited([case.label for case in planned], rows, [one.look for one in scans])
    return [(item["name"], item["verdict"]) for item in report["items"] if item["verdict"] in ("leak", "shortcut")]


def maker(case: plan.DemoCase) -> str:
    """The manufacturer of a case as ingest calls it."""
    dataset = Dataset()
    dataset.Manufacturer = case.manufacturer
    return str(headers.columns(dataset)["manufacturer"])


def audited(labels: list[int], rows: list[dict[str, str]], looks: list[Look]) -> dict:
    """audit's report on cases in five folds, each a patient of its own."""
    ids = [f"{index:05d}" for index in range(len(labels))]
    folds = np.empty(len(labels), int)
    for label in (0, 1):  # stratified
        where = np.flatnonzero(np.array(labels) == label)
        folds[where] = np.arange(len(where)) % 5
    table = pd.DataFrame({"case_id": ids, "label": labels, "group": ids, "fold": folds})
    table = table.assign(**dict.fromkeys(leakage.IDENTITY, ids))
    params = audit.AuditParams(alpha=0.05, permutations=PERMUTATIONS, seed=0)
    found, fingerprints = zip(*looks, strict=True)
    with TemporaryDirectory() as scratch:
        read = np.stack(fingerprints).__getitem__
        return audit.audit(table, pd.DataFrame(rows), list(found), read, params, SEEN.intensity, Path(scratch))


def alike(looks: list[Look]) -> np.ndarray:
    """(n, n): the correlations of leaks, -1 of a case with itself."""
    found = np.empty((len(looks), len(looks)))
    with TemporaryDirectory() as scratch:
        read = np.stack([fingerprint for _, fingerprint in looks]).__getitem__
        for row, column, correlation in near_duplicates.alike(read, len(looks), Path(scratch)):
            found[row : row + len(correlation), column : column + correlation.shape[1]] = correlation
    upper = np.triu(found, 1)
    return upper + upper.T - np.eye(len(found))


def duplicates(copies: list[plan.DemoCase], looks: list[Look]) -> list[tuple[str, str, bool]]:
    """Rows of the table on near-duplicates: POOL different cases, then their copies, then four real patients."""
    found = alike(looks)
    clean = found[:POOL, :POOL]
    planted = [float(found[POOL + number, case.source]) for number, case in enumerate(copies)]
    least = {kind: min(p for p, case in zip(planted, copies, strict=True) if case.copy is kind) for kind in plan.Copy}
    kinds = ", ".join(f"{kind} {value:.3f}" for kind, value in least.items())
    right = {(POOL + number, case.source) for number, case in enumerate(copies)}
    wrong = [pair for pair in np.argwhere(np.tril(found) >= near_duplicates.NEAR).tolist() if tuple(pair) not in right]
    return [
        (
            f"no two of {POOL} clean demo cases are near-duplicates (correlation {near_duplicates.NEAR} or more)",
            f"{int((np.triu(clean) >= near_duplicates.NEAR).sum())} pairs, highest correlation {clean.max():.3f}",
            bool(clean.max() < near_duplicates.NEAR),
        ),
        (
            f"every one of {COPIES} planted copies is found, and nothing else",
            f"{sum(p >= near_duplicates.NEAR for p in planted)} of {COPIES}, lowest: {kinds}; {len(wrong)} others",
            min(planted) >= near_duplicates.NEAR and not wrong,
        ),
    ]


def real(pool: list[Scan], slices: int) -> list[tuple[str, str, bool]]:
    """Whether FLAIRs of different patients are told apart, among themselves and among the demo's."""
    paths = sorted(path for path in FLAIR.rglob("*.nii.gz") if path.name.startswith("FLAIR"))
    name = "FLAIRs of different patients (shared/scans/flair-nifti) are no near-duplicates"
    if not paths:
        return [(name, "skipped: not there", True)]
    looks = [preprocessed(sitk.ReadImage(str(path), sitk.sitkFloat32), slices) for path in paths]
    alone, among = alike(looks).max(), alike([*looks, *(one.look for one in pool)])[: len(paths), : len(paths)].max()
    text = f"{len(paths)} patients: at most {alone:.3f} by themselves, {among:.3f} among the demo's"
    return [(name, text, bool(max(alone, among) < near_duplicates.NEAR))]


def speed(pool: list[Scan]) -> tuple[str, str, bool]:
    """How long WHOLE cases take without the reading of the volumes: the pool's, again and again, with new labels."""
    rng = np.random.default_rng(0)
    scans = [pool[index % POOL] for index in range(WHOLE)]
    start, busy = time.perf_counter(), time.process_time()
    audited(rng.integers(0, 2, WHOLE).tolist(), [one.row for one in scans], [one.look for one in scans])
    took, busy = time.perf_counter() - start, time.process_time() - busy
    text = f"{took:.1f} s, of which {busy:.1f} s of work of all cores; load {os.getloadavg()[0]:.0f}"
    return f"statistics of {WHOLE} cases, {PERMUTATIONS} permutations, in {SECONDS} s", text, took <= SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slices", type=int, default=32, help="of a volume; its width is twice as many voxels")
    slices = parser.parse_args().slices
    start = time.perf_counter()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    planned = [case for case in plan.plan(POOL, 0, 0.0, COPIES) if case.fault is plan.Fault.NONE]
    pool = list(map_cases(partial(scan, atlas=phantom.load_atlas(), slices=slices), planned, "scans"))
    clean, copies = pool[:POOL], planned[POOL:]
    tasks = [(seed, 0.0) for seed in range(COHORTS)] + [(seed, SHORTCUT) for seed in range(PLANTED)]
    found = list(map_cases(partial(cohort, pool=clean), tasks, "cohorts", unit="cohort"))
    flagged = [names for names in found[:COHORTS] if names]
    hit = sum(("manufacturer", "shortcut") in names for names in found[COHORTS:])
    rows = [
        (
            f"at most {MOST_FLAGGED} of {COHORTS} clean cohorts of {SIZE} cases are flagged",
            f"{len(flagged)}: {'; '.join(sorted({name for names in flagged for name, _ in names})) or 'nothing'}",
            len(flagged) <= MOST_FLAGGED,
        ),
        (
            f"a shortcut of {SHORTCUT} through the manufacturer is found in {PLANTED} of {PLANTED} cohorts of {SIZE}",
            f"{hit} of {PLANTED}",
            hit == PLANTED,
        ),
        *duplicates(copies, [one.look for one in pool]),
        *real(clean, slices),
        speed(clean),
    ]
    print(header(PACKAGES))
    print(f"python bench/audit.py --slices {slices}: volumes of {slices} x {2 * slices} x {2 * slices} voxels")
    for requirement, measured, met in rows:
        print(f"{'met' if met else 'NOT MET':8}{requirement}: {measured}")
    print(f"{time.perf_counter() - start:.0f} s")
    sys.exit(0 if all(met for *_, met in rows) else 1)


if __name__ == "__main__":
    main()
