"""Find what would stop a run, before it runs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flairprep.cli import many_files
from flairprep.core import installed, params
from flairprep.core.errors import FlairprepError


def ingest_section() -> Any:
    """Load section `ingest` of params.yaml as `ingest.IngestParams`."""
    from flairprep.dicom.ingest_params import IngestParams

    return params.load(IngestParams, "ingest")


def check(overrides: Sequence[str] = ()) -> list[str]:
    """List what would stop `dvc repro`, or a queued `dvc exp run`, each with its remedy; run and change nothing.

    overrides: KEY=VALUE as for `dvc exp run -S`, sweeps included. What only costs time is logged as a warning.
    """
    if faults := _conflicts(("params.yaml", "dvc.yaml", "dvc.lock")) or _of_params(overrides) or _of_study():
        return faults
    from flairprep.cli.overrides import combinations

    values = params.read_params()
    looked_at = []
    for _, run in combinations(overrides, values) if overrides else [([], values)]:
        if (data := (run["labels"], run["ingest"], run["split"]["group_column"])) not in looked_at:
            looked_at.append(data)
            faults += _of_data(run)
    for dicom_dir in dict.fromkeys(section["dicom_dir"] for _, section, _ in looked_at):
        many_files.warn_of(Path(dicom_dir))
    return list(dict.fromkeys(faults))


def _of_data(values: dict[str, Any]) -> list[str]:
    """List the faults of the scans and the labels table that all `values` of params.yaml name."""
    from flairprep.cohort import case_ids, labels
    from flairprep.dicom.ingest_params import IngestParams
    from flairprep.nifti_input import discovery, sessions

    scanned: set[str] = set()
    where = params.choose(labels.LabelsParams, values, "labels")
    section = params.choose(IngestParams, values, "ingest")
    dicom_dir, table = Path(section.dicom_dir), Path(where.table)
    faults = _of_link(dicom_dir)
    if not faults or dicom_dir.exists():
        try:
            cases = discovery.find_cases(dicom_dir, section.sequence)
            scanned = {case.case_id for case in cases}
            faults += sessions.pick_faults(section, cases)
        except FlairprepError as error:
            faults.append(str(error))
    try:
        key, group_column = case_ids.read_key(dicom_dir), values["split"]["group_column"]
        labelled = labels.read_labels(where, scanned, key, group_column)
        if scanned and not set(labelled["case_id"]) & scanned:
            faults.append(
                f"{table}: none of its cases is one of {dicom_dir}; ids must equal the folders' names, or the patient "
                "ids of the headers, leading zeros included (spreadsheets drop them)"
            )
    except FlairprepError as error:
        faults.append(str(error))
    pointer = Path(f"{dicom_dir}.dvc")
    faults += _conflicts((str(pointer),))
    if scanned and not dicom_dir.is_symlink() and not pointer.is_file():
        faults.append(f"{dicom_dir}: not under DVC, so queued runs would not see it; run: {next_step(dicom_dir)}")
    for path in [pointer] if dicom_dir in table.parents else [table, pointer]:  # what is among the scans is DVC's
        if path.is_file() and not _tracked(path):
            faults.append(f"{path}: not in git, so queued runs would not see it; run: git add {path}")
    return faults


def next_step(dicom_dir: Path) -> str:
    """Return the command after which queued runs see the raw folder: DVC takes folders, git links to them."""
    return f"git add {dicom_dir}" if dicom_dir.is_symlink() else f"dvc add {dicom_dir}"


def _of_params(overrides: Sequence[str]) -> list[str]:
    """List the faults of params.yaml, or of what overrides make of it."""
    from flairprep.cli import sections
    from flairprep.cli.overrides import combinations, key_fault

    try:
        values = params.read_params()
    except FlairprepError as error:
        return [str(error)]
    own = sections.faults(values)
    if not overrides:
        return own
    if faults := [fault for override in overrides if (fault := key_fault(override, values))]:
        return faults + own
    try:
        for chosen, changed in combinations(overrides, values):
            for fault in sections.faults(changed):
                by = [one for one in chosen if f": {_key(one)}: " in fault] or chosen
                faults.append(fault if fault in own else f"-S {' -S '.join(by)}: {fault}")
    except ValueError as error:
        return [f"-S {' -S '.join(overrides)}: {error}"]
    return list(dict.fromkeys(faults))


def _of_study() -> list[str]:
    """List why the stages of a study would refuse to run, or a queued run not find the record of the code."""
    if fault := installed.fault():
        return [fault]
    untracked = installed.RECORD.is_dir() and not _tracked(installed.RECORD)
    told = f"{installed.RECORD}: not in git, so queued runs would not see it; run: git add {installed.RECORD}"
    return [told] if untracked else []


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _conflicts(names: Sequence[str]) -> list[str]:
    """List the files that hold the marks of a merge conflict, of which DVC says only that they are no YAML."""
    faults = []
    for path in map(Path, names):
        lines = path.read_bytes().splitlines() if path.is_file() else []
        if at := next((number for number, line in enumerate(lines, 1) if line.startswith(b"<<<<<<< ")), None):
            ours = f"git checkout HEAD -- {path}"
            remedy = f"take your own side, which the next dvc repro completes: {ours}" if path.suffix == ".lock" else ""
            remedy = remedy or f"edit it, or take your own side: {ours}"
            faults.append(f"{path}: line {at}: a merge conflict; {remedy}")
    return faults


def _of_link(dicom_dir: Path) -> list[str]:
    """List what keeps a raw folder that is a link from being read, here and where DVC runs queued experiments.

    git keeps the link, so the copies of the project in .dvc/tmp have it too; DVC hashes what lies behind it.
    """
    if above := next((path for path in dicom_dir.parents if path.is_symlink()), None):
        return [
            f"{above}: a link, and neither git nor DVC follow it; make it a folder, and {dicom_dir} the link: "
            f"rm {above}; mkdir {above}; ln -s /PATH/OF/THE/SCANS {dicom_dir}"
        ]
    if not dicom_dir.is_symlink():
        return []
    if not dicom_dir.exists():
        return [
            f"{dicom_dir}: a link to {dicom_dir.readlink()}, which is not there; mount the disk, or change the link: "
            f"ln -sfn /PATH/OF/THE/SCANS {dicom_dir}"
        ]
    faults = []
    if not dicom_dir.readlink().is_absolute():
        faults.append(
            f"{dicom_dir}: a relative link, which leads elsewhere from the copies that queued runs work in; run: "
            f"ln -sfn {dicom_dir.resolve()} {dicom_dir}"
        )
    if Path(f"{dicom_dir}.dvc").exists():
        faults.append(f"{dicom_dir}: a link, and under DVC, which refuses links; run: dvc remove {dicom_dir}.dvc")
    elif not _tracked(dicom_dir):
        faults.append(f"{dicom_dir}: not in git, so queued runs would not see it; run: {next_step(dicom_dir)}")
    return faults


def _tracked(path: Path) -> bool:
    """Return whether git's index holds `path`."""
    return (
        subprocess.run(["git", "ls-files", "--error-unmatch", path], capture_output=True, check=False).returncode == 0
    )
