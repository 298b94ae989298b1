"""Make a synthetic FLAIR cohort as DICOM, in the layout of the RSNA-MICCAI 2021 (BraTS21) competition on Kaggle.

It holds no patient data. The anatomy is nilearn's ICBM 2009 grey and white matter atlas, bent a little for each case,
with one bright ellipsoid as the tumour. The acquisitions are as untidy as those of a real cohort. Positions are in mm
in the patient's LPS axes (DICOM, ITK); arrays are (slice, row, column), that is (z, y, x).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd

from flairprep.core.errors import FlairprepError
from flairprep.core.tables import write_csv
from flairprep.demo.phantom import load_atlas
from flairprep.demo.plan import Fault, plan
from flairprep.demo.series import write_case
from flairprep.runner.map_cases import map_cases


def make(out: Path, *, cases: int, signal: float, seed: int, shortcut: float = 0.0, duplicates: int = 0) -> None:
    """Write out/train/<case>/FLAIR/Image-<k>.dcm and out/train_labels.csv (BraTS21ID, MGMT_value).

    `cases` sound cases precede one of each `Fault`. `signal` is the share of a tumour's appearance that the label
    explains: all of it at 1, nothing at 0. `shortcut` and `duplicates` plant faults for the audit, see `plan`. The same
    arguments give the same bytes with any number of workers.

    Raises:
        FlairprepError: an argument is out of range, `out` holds data already, or nilearn is not installed.
    """
    if cases < 10:
        raise FlairprepError(f"cases={cases}: must be at least 10")
    if not 0 <= signal <= 1:
        raise FlairprepError(f"signal={signal}: must lie between 0 (the label explains nothing) and 1")
    if seed < 0:
        raise FlairprepError(f"seed={seed}: must be a whole number of at least 0")
    if not 0 <= shortcut <= 1:
        raise FlairprepError(f"shortcut={shortcut}: must lie between 0 (the manufacturer says nothing) and 1")
    if not 0 <= duplicates <= cases:
        raise FlairprepError(f"duplicates={duplicates}: must lie between 0 and cases={cases}: each copies another case")
    train, labels = out / "train", out / "train_labels.csv"
    for path in (train, labels):
        if path.exists():
            raise FlairprepError(f"{path}: exists already; move it away or name another folder")
    planned = plan(cases, seed, shortcut, duplicates)
    scanned = [case for case in planned if case.fault is not Fault.NO_SCAN]
    atlas = load_atlas()
    with _atomic_sibling(train) as folder:
        for _ in map_cases(partial(write_case, atlas, folder, signal), scanned, "demo"):
            pass
    labelled = [case for case in planned if case.fault is not Fault.NO_LABEL]
    rows = [(case.case_id, case.label) for case in labelled]
    write_csv(labels, pd.DataFrame(rows, columns=["BraTS21ID", "MGMT_value"]))


@contextmanager
def _atomic_sibling(path: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `path` that becomes `path` when the block ends without an error.

    Unlike files.atomic_folder it works outside a DVC project, and skips the sync: a cohort can be made again.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
