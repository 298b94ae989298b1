"""Say where the files of a series lie. For the terminal alone: names of files may be those of patients."""

from collections import Counter
from pathlib import Path

from flairprep.dicom import archives
from flairprep.dicom.series import CandidateSeries

LISTED = 4  # folders that a line names


def places_of(one: CandidateSeries) -> str:
    """Return the folders of a series' files, each with their number; of members, the archive and the folder inside."""
    nifti = one.headers[0].series == str(one.headers[0].path)  # a series of DICOM is a UID, and none is a path
    counts = Counter(map(_place, one.paths)) if not nifti else Counter({_shown(one.paths[0]): 1})
    shown = [f"{place} ({count})" if len(counts) > 1 else place for place, count in counts.most_common(LISTED)]
    return "; ".join(shown) + (f"; {len(counts) - LISTED} more" if len(counts) > LISTED else "")


def _place(path: Path) -> str:
    archive = archives.archive_of(path)
    if archive is None:
        return _shown(path.parent)
    inside = path.relative_to(archive).parent
    return _shown(archive) if inside == Path() else f"{_shown(archive)}: {_shown(inside)}"


def _shown(path: Path) -> str:
    text = str(path)
    return text if text.isprintable() else ascii(text)
