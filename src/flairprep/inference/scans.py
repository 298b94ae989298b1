"""Find the cases at a path: a folder of cases, one case, one series, an export, an archive, or one NIfTI file."""

import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

from flairprep.cohort import case_ids
from flairprep.core.errors import FlairprepError
from flairprep.dicom import archives, discovery
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.subjects import owners_of
from flairprep.nifti_input.discovery import find_cases, is_case, of_nifti, subjects_in
from flairprep.nifti_input.reading import parts_of

logger = logging.getLogger(__name__)

ONLY = "case 1"  # a case whose folder's name cannot be an id


def cases_at(path: Path, sequence: str, key: bytes | None = None) -> tuple[list[RawCase], Path]:
    """Find the cases at a path; return them with the folder that their files lie in.

    The id of one case alone is the name of its folder or file. Cases of an export, which may be one archive, have the
    ids that its own key, or `key`, gives them; without one they are numbered.

    Raises:
        FlairprepError: nothing is there, or see `cases_in_folder`.
    """
    if not path.exists():
        raise FlairprepError(f"{path}: no such file or folder; name scans: a folder, an archive or a NIfTI file")
    if path.is_dir():
        single = sequence_folder(path)
        cases = cases_in_folder(path, sequence, alone=_id_of(path.absolute().parent.name if single else path), key=key)
        if not cases:
            raise FlairprepError(f"{path}: no file in it; name a folder of DICOM or NIfTI files")
        return cases, path
    if archives.is_archive(path.name):
        return _cases_in_archive(path, sequence, key), path.parent
    stem, suffix = parts_of(path.name)
    return [RawCase(_id_of(stem if suffix else path.stem), (str(path),), sequence)], path.parent


def sequence_folder(path: Path) -> bool:
    """Return whether a folder is named as a sequence, so that its parent is the case."""
    return bool(discovery.sequence_of(path))


def _id_of(name: str | Path) -> str:
    text = name if isinstance(name, str) else name.absolute().name
    return ONLY if case_ids.fault(text) else text


def cases_in_folder(path: Path, sequence: str, *, alone: str = ONLY, key: bytes | None = None) -> list[RawCase]:
    """Find the cases below a folder; number those of an export without a key, in the order of the patient ids.

    A folder that is named as a sequence, or holds one that is, is one case of the layout CASE/FLAIR. So is one that
    holds NIfTI files itself, or is a BIDS subject.

    Args:
        path: the folder.
        sequence: which is looked for.
        alone: the id where the folder is one case.
        key: makes the ids of an export that has no key of its own.

    Raises:
        FlairprepError: see `nifti_input.discovery.find_cases`.
    """
    if discovery.named_by_folder(path):
        return find_cases(path, sequence)
    one = discovery.case_in_folder(alone, path, sequence, path)
    if folder := one.folder or discovery.sequence_of(path):
        return [replace(one, folder=folder)]
    if case_ids.read_key(path) is not None:
        return discovery.cases_by_header(path)
    if is_case(path):
        return [one]
    if of_nifti(path):
        return find_cases(path, sequence)
    return _cases_of_export(path, key)


def _cases_in_archive(path: Path, sequence: str, key: bytes | None) -> list[RawCase]:
    """Return the cases of an archive: the subjects of a BIDS data set, the patients of an export, or one case.

    Where many files name a patient each, they are slices whose ids an anonymiser made.
    """
    if subjects := subjects_in(path):
        return subjects
    files = Counter(owner.subject for owner in owners_of([path], key) if owner.subject)
    if len(files) > 1 and list(files.values()).count(1) < discovery.ALONE:
        return _cases_of_export(path, key)
    return [RawCase(_id_of(archives.stem_of(path.name)), (str(path),), inner=sequence)]


def _cases_of_export(path: Path, key: bytes | None) -> list[RawCase]:
    cases = discovery.case_of_each_subject(path, key)
    if key is None and len(cases) > 1:
        logger.warning(f"{path}: an export without a key: its cases are numbered in the order of their patient ids")
    return cases
