"""Tell what a raw folder of very many files costs in DVC's commands, and how to have fewer."""

import logging
import os
from pathlib import Path

logger = logging.getLogger(__name__)

ENOUGH = 20_000  # files from which on packing pays
# Command -> seconds of processor that it takes beyond its stages, with packed cases and more for each 1,000 files that
# are not packed: bench/results/files.txt
SECONDS = {"dvc exp run": (4.5, 0.207), "dvc repro, nothing to do": (1.2, 0.068)}


def warn_of(dicom_dir: Path) -> None:
    """Log the advice for a raw folder, where its number of files calls for it."""
    from flairprep.cohort import case_ids
    from flairprep.dicom import discovery

    if (files := count(dicom_dir)) >= ENOUGH:
        packable = discovery.named_by_folder(dicom_dir) and not (dicom_dir / case_ids.KEY).exists()
        logger.warning(advice(dicom_dir, files, packable))


def count(folder: Path) -> int:
    """Count the files below a folder, hidden ones too, as DVC does; 350,000 take 0.2 s of processor."""
    return sum(len(names) for _, _, names in os.walk(folder))


def advice(dicom_dir: Path, files: int, packable: bool) -> str:
    """Return what so many files of a raw folder cost, and the remedy.

    packable: whether `flairprep pack` takes the folder: CASE/FLAIR/ without a key.
    """
    costs = "; ".join(
        f"{command}: about {packed + more * files / 1000:.0f} s instead of {packed:.0f}"
        for command, (packed, more) in SECONDS.items()
    )
    tracked = "" if dicom_dir.is_symlink() else f"; dvc add {dicom_dir}"
    remedy = (
        f"one archive per case avoids that: flairprep pack {dicom_dir} --remove{tracked}"
        if packable
        else "one zip per patient is read in place, and avoids that"
    )
    return f"{dicom_dir}: {files} files, each of which DVC looks at ({costs}, of processor); {remedy}"
