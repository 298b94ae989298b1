"""Find what would stop a run, before it runs."""

import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flairprep.core import params
from flairprep.core.errors import FlairprepError


def ingest_section() -> Any:
    """Load section `ingest` of params.yaml as `ingest.IngestParams`."""
    from flairprep.stages import ingest

    return params.load(ingest.IngestParams, "ingest")


def check(overrides: Sequence[str] = ()) -> list[str]:
    """List what would stop `dvc repro`, or a queued `dvc exp run`, each with its remedy; run and change nothing.

    overrides: KEY=VALUE as for `dvc exp run -S`.
    """
    faults = [fault for override in overrides if (fault := _override_fault(override))]
    faults += _sections()
    if faults:
        return faults
    from flairprep.cohort import case_ids, labels
    from flairprep.nifti_input import discovery

    scanned: set[str] = set()
    where, section = params.load(labels.LabelsParams, "labels"), ingest_section()
    dicom_dir, table = Path(section.dicom_dir), Path(where.table)
    try:
        scanned = {case.case_id for case in discovery.find_cases(dicom_dir, section.sequence)}
    except FlairprepError as error:
        faults.append(str(error))
    try:
        labelled = labels.read_labels(where, scanned, case_ids.read_key(dicom_dir))
        if scanned and not set(labelled["case_id"]) & scanned:
            faults.append(
                f"{table}: none of its cases is one of {dicom_dir}; ids must equal the folders' names, or the patient "
                "ids of the headers, leading zeros included (spreadsheets drop them)"
            )
    except FlairprepError as error:
        faults.append(str(error))
    if scanned and not Path(f"{dicom_dir}.dvc").is_file():
        faults.append(f"{dicom_dir}: not under DVC, so queued runs would not see it; run: dvc add {dicom_dir}")
    for path in (table, Path(f"{dicom_dir}.dvc")):
        if path.is_file() and not _tracked(path):
            faults.append(f"{path}: not in git, so queued runs would not see it; run: git add {path}")
    return faults


def _sections() -> list[str]:
    """List the faults of params.yaml, section by section."""
    from flairprep.cli import sections

    faults = []
    models: list[tuple[str | None, type[params.Section]]] = [(None, sections.SWEPT), *sections.SECTIONS.items()]
    for name, cls in models:
        try:
            params.load(cls, name)
        except FlairprepError as error:
            faults += str(error).splitlines()
    if not faults:
        run = params.load(sections.SweepParams)
        folds = params.load(sections.SplitParams, "split").folds
        for key, fold in (("val_fold", run.val_fold), ("test_fold", run.test_fold)):
            if fold is not None and fold >= folds:
                faults.append(f"params.yaml: {key}: {fold}: split.folds is {folds}, so folds are 0 to {folds - 1}")
    return list(dict.fromkeys(faults))


def _override_fault(override: str) -> str | None:
    """Return the fault of the key of KEY=VALUE, or None."""
    key = override.partition("=")[0]
    node: Any = YAML(typ="safe", pure=True).load(params.FILE)
    for depth, part in enumerate(parts := key.lstrip("+~").split(".")):
        if not isinstance(node, dict) or part not in node:
            known = tuple(node) if isinstance(node, dict) else ()
            above = ".".join(parts[:depth])
            inside = f"{above}: " if above else ""
            return f"-S {override}: params.yaml: {inside}no key {part!r}; {params.suggest(part, known)}"
        node = node[part]
    return None


def _tracked(path: Path) -> bool:
    """Return whether git's index holds `path`."""
    return (
        subprocess.run(["git", "ls-files", "--error-unmatch", path], capture_output=True, check=False).returncode == 0
    )
