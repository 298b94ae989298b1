"""External validation on demo cohorts of other seeds: are planted shifts and leaks found, are clean cohorts left alone?

python bench/validate.py > bench/results/validate.txt

The training cohort is the demo of seed 0, the new ones those of seeds 1 to 10. A cohort is taken as it is; with pairs
of slices merged into one of twice the thickness; with other intensities (a gamma, and shading from front to back); and
with three scans of the training cohort under new names: one exact, one with noise, one mirrored with noise. Headers
stay those of the demo, so that only voxels and geometry can tell. The network plays no part in it: there is none.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import machine
import numpy as np
import pydicom

from flairprep.core import params
from flairprep.demo.phantom import Atlas, load_atlas
from flairprep.demo.plan import Copy, DemoCase, Fault, plan
from flairprep.demo.series import write_case
from flairprep.inference.preprocess import Steps, preprocess_cases, steps_of
from flairprep.inference.scans import cases_at
from flairprep.validation.examine import Examination, Side, examine
from flairprep.validation.identities import identities_of
from flairprep.validation.measured import Cohort, measured

PARAMS = Path(__file__).resolve().parents[1] / "tests/params.yaml"  # as the project ships it
TRAINING, NEW, LEAKED = 60, 24, 3  # sound cases
GAMMA, SHADING = 1.4, 0.25  # exponent of the tissue's values; share by which front and back differ from the middle
SHADED = 1  # axis of (slice, row, column) along which the planted shading runs
PACKAGES = ("numpy", "scipy", "SimpleITK", "pydicom")


def sound(cases: int, seed: int) -> list[DemoCase]:
    """Return the planned cases of a demo cohort without its faulty ones."""
    return [case for case in plan(cases, seed) if case.fault is Fault.NONE]


def write(atlas: Atlas, folder: Path, cases: Sequence[DemoCase]) -> Path:
    """Write cases as DICOM into `folder`; return it."""
    for case in cases:
        write_case(atlas, folder, 1.0, case)
    return folder


def rewrite(source: Path, target: Path, change: Callable[[list[pydicom.Dataset], np.ndarray], np.ndarray]) -> Path:
    """Write the cases in `source` again with `change` applied to their volume, (slice, row, column); return `target`.

    change: gets the data sets in the order of their slices, may alter and remove them, and returns the new volume.
    """
    for case in sorted(source.iterdir()):
        files = [pydicom.dcmread(path) for path in sorted(case.rglob("*.dcm"))]
        normal = np.cross(*np.reshape(files[0].ImageOrientationPatient, (2, 3)).astype(float))
        files.sort(key=lambda one: float(normal @ np.array(one.ImagePositionPatient, float)))
        volume = np.stack([one.pixel_array * float(one.RescaleSlope) for one in files])
        volume = change(files, volume)
        out = target / case.name / "FLAIR"
        out.mkdir(parents=True)
        for number, (one, values) in enumerate(zip(files, volume, strict=True)):
            stored = np.clip(np.rint(values / float(one.RescaleSlope)), 0, 4095)
            one.PixelData = stored.astype(one.pixel_array.dtype).tobytes()
            one.save_as(out / f"{number}.dcm", enforce_file_format=True)
    return target


def thicker(files: list[pydicom.Dataset], volume: np.ndarray) -> np.ndarray:
    """Merge pairs of neighbouring slices."""
    pairs = len(volume) // 2
    for place in range(pairs):
        one, other = files[2 * place], files[2 * place + 1]
        middle = (np.array(one.ImagePositionPatient, float) + np.array(other.ImagePositionPatient, float)) / 2
        one.ImagePositionPatient = np.round(middle, 6).tolist()
        one.SliceThickness, one.SpacingBetweenSlices = 2 * one.SliceThickness, 2 * one.SpacingBetweenSlices
    files[:] = files[: 2 * pairs : 2]
    return (volume[: 2 * pairs : 2] + volume[1 : 2 * pairs : 2]) / 2


def other_intensities(_: list[pydicom.Dataset], volume: np.ndarray) -> np.ndarray:
    """Bend the tissue's values by GAMMA and shade them by SHADING; zeros stay zero."""
    top = volume.max()
    shade = np.linspace(1 - SHADING, 1 + SHADING, volume.shape[SHADED])[:, None]
    bent = top * (volume / top) ** GAMMA * shade / (1 + SHADING)
    return np.where(volume > 0, np.maximum(bent, 1), 0)


def side(folder: Path, steps: Steps, scratch: Path) -> Side:
    """Measure the cases in `folder` as `flairprep validate` does."""
    cases, place = cases_at(folder, steps.ingest.sequence)
    applied, cohort = steps.applied_to(place), Cohort(scratch)
    scratch.mkdir(parents=True)
    for _ in measured(preprocess_cases(cases, applied), cohort, steps.normalize):
        pass
    return Side(cohort, cohort.case_ids, {}, identities_of(cases, applied.ingest))


def joined(one: Side, other: Side) -> Side:
    """Return both sides as one; the fingerprints of `other` move to those of `one`."""
    cohort = Cohort(one.cohort.folder)
    for each in (one.cohort, other.cohort):
        for case_id, row, features in zip(each.case_ids, each.rows, each.features, strict=True):
            cohort.add(case_id, row, features)
    for path in other.cohort.files:
        path.rename(one.cohort.folder / path.name)
    return Side(cohort, cohort.case_ids, {}, {**(one.identities or {}), **(other.identities or {})})


def copies(training: Sequence[DemoCase], seed: int) -> list[DemoCase]:
    """Return LEAKED copies of training cases, under ids that the new cohort does not have."""
    sources = np.random.default_rng(seed).permutation(len(training))[:LEAKED].tolist()
    kinds = (Copy.EXACT, Copy.NOISY, Copy.MIRRORED)
    return [
        replace(training[source], index=900 + number, copy=kind, source=source)
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True))
    ]


def families(found: Examination) -> set[str]:
    """Return the families of fields that shifted."""
    return {row.family for row in found.shifted}


def told(found: Examination) -> str:
    """Return the number of shifted fields, the strongest, and how many cases leak."""
    rows = found.shifted
    first = f"{len(rows)} shifted" + (f", first {rows[0].field} (effect {rows[0].effect:.2f})" if rows else "")
    return f"{first}; {len(found.leaked)} leaked"


def main() -> None:
    """Print one line per cohort, then the totals."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=10)
    options = parser.parse_args()
    os.environ["FLAIRPREP_CACHE"] = "off"
    print(machine.header(PACKAGES), flush=True)
    steps, atlas = steps_of(params.read_params(PARAMS)), load_atlas()
    totals = dict.fromkeys(("clean cohorts flagged", "thicker slices", "other intensities", "leaks"), 0)
    with tempfile.TemporaryDirectory() as name:
        root, known = Path(name), sound(TRAINING, 0)
        training = side(write(atlas, root / "training", known), steps, root / "of training")
        for seed in range(1, options.seeds + 1):
            began, place = time.monotonic(), root / str(seed)
            raw = write(atlas, place / "raw", sound(NEW, seed))
            sides = {
                "clean": side(raw, steps, place / "clean"),
                "thicker": side(rewrite(raw, place / "thick", thicker), steps, place / "thicker"),
                "intensities": side(rewrite(raw, place / "bent", other_intensities), steps, place / "intensities"),
            }
            found = {kind: examine(training, one, place) for kind, one in sides.items()}
            planted = copies(known, seed)
            extra = side(write(atlas, place / "copied", planted), steps, place / "copies")
            found["leak"] = examine(training, joined(sides["clean"], extra), place)
            exactly = found["leak"].leaked == {case.case_id for case in planted}
            totals["clean cohorts flagged"] += bool(found["clean"].shifted or found["clean"].leaked)
            totals["thicker slices"] += bool(families(found["thicker"]) & {"geometry", "header fields"})
            totals["other intensities"] += bool(families(found["intensities"]) & {"intensity statistics", "shading"})
            totals["leaks"] += exactly
            for kind, one in found.items():
                print(f"seed {seed:2} {kind:12} {told(one)}", flush=True)
            print(f"seed {seed:2} took {time.monotonic() - began:.0f} s", flush=True)
    print()
    for kind, count in totals.items():
        print(f"{kind:22} {count} of {options.seeds}")


if __name__ == "__main__":
    main()
