"""Read the headers and sidecars of NIfTI scans inside archives, while the pass over an archive holds each member."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives
from flairprep.dicom.survey import lies_inside
from flairprep.nifti_input.header import NiftiFields
from flairprep.nifti_input.reading import parts_of, read_header
from flairprep.nifti_input.sidecar import read_fields


class Members:
    """What scans and sidecars tell: of members of archives what `note` kept, of files what they hold now."""

    def __init__(self) -> None:
        self._headers: dict[Path, NiftiFields | CaseError] = {}
        self._fields: dict[Path, dict[str, Any] | CaseError] = {}

    @property
    def paths(self) -> list[Path]:
        """Return the members that were noted, sorted."""
        return sorted((*self._headers, *self._fields))

    def note(self, path: Path) -> None:
        """Keep what a member tells, or why it cannot be read; leave out files, and members of other kinds."""
        if archives.archive_of(path) is None:
            return
        if parts_of(path.name)[1]:
            try:
                self._headers[path] = read_header(path)
            except CaseError as error:
                self._headers[path] = error
        elif path.suffix == ".json":
            try:
                self._fields[path] = read_fields(path)
            except CaseError as error:
                self._fields[path] = error

    def keep_inside(self, sequence: str, others: Iterable[Path]) -> bool:
        """Leave out what lies in no folder named as the sequence, where an archive has one; return whether it has.

        others: further members of the archives.
        """
        if not sequence or not any(lies_inside(path, sequence) for path in (*self.paths, *others)):
            return False
        self._headers = {path: told for path, told in self._headers.items() if lies_inside(path, sequence)}
        self._fields = {path: told for path, told in self._fields.items() if lies_inside(path, sequence)}
        return True

    def header(self, path: Path) -> NiftiFields:
        """Return the header of a scan.

        Raises:
            CaseError, FlairprepError: see `reading.read_header`.
        """
        told = self._headers.get(path) or read_header(path)
        if isinstance(told, CaseError):
            raise told
        return told

    def fields(self, path: Path) -> dict[str, Any]:
        """Return the fields of a sidecar.

        Raises:
            CaseError, FlairprepError: see `sidecar.read_fields`.
        """
        told = self._fields[path] if path in self._fields else read_fields(path)
        if isinstance(told, CaseError):
            raise told
        return told
