"""Pack each case's folder into one zip archive, and unpack it again; nothing is removed before it was read back.

Archives have the same bytes whenever the same files are packed by the same Python: names are sorted, times fixed.
"""

import os
import shutil
import zipfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from flairprep.cohort import case_ids
from flairprep.core.errors import FlairprepError
from flairprep.core.files import atomic_file
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, discovery
from flairprep.dicom.archive_entries import entries
from flairprep.dicom.system_folders import is_skipped
from flairprep.runner.map_cases import map_cases

LEVEL = 1  # of deflate: leaves 34 to 49 % of uncompressed DICOM; level 6 leaves 31 to 47 % in three times as long
TIME = (1980, 1, 1, 0, 0, 0)  # the first that zip can hold
GOING = ".flairprep-removed"  # how a folder is called, behind its name, while it is removed
COMING = ".flairprep-unpacked"  # and while it is written


class Sizes(NamedTuple):
    """What cases took as files and take as archives, in bytes."""

    cases: int
    files: int
    archives: int


def pack(raw: Path, out: Path | None, sequences: Sequence[str] = ()) -> Sizes:
    """Write CASE.zip for each folder CASE of a raw folder; cases that an interrupted run packed are only compared.

    Args:
        raw: the raw folder, of the layout CASE/FLAIR.
        out: the folder of the archives; None for `raw` itself, where each folder is removed once its archive was read
            back and is equal.
        sequences: keep only the folders of these sequences, in cases that have one; needs an `out`.

    Raises:
        FlairprepError: another layout; a case with links, NIfTI files, or files that no archive can hold; an archive
            that differs from its folder.
    """
    _check_folder(raw)
    if out is None and (raw / case_ids.KEY).exists():
        raise FlairprepError(
            f"{raw}: with {case_ids.KEY} archives are an export, and CASE/FLAIR needs none; move it away"
        )
    if not discovery.named_by_folder(raw):
        raise FlairprepError(f"{raw}: not CASE/FLAIR/, so nothing says what a case is; exports are read as they are")
    for leftover in raw.glob(f".*{GOING}"):  # its archive was compared before it was renamed
        if not (raw / f"{leftover.name[1 : -len(GOING)]}.zip").is_file():
            raise FlairprepError(f"{leftover}: its archive is gone; rename the folder back")
        shutil.rmtree(leftover)
    target = out or raw
    target.mkdir(parents=True, exist_ok=True)
    cases = [path for path in sorted(raw.iterdir()) if path.is_dir() and not is_skipped(path.name)]
    work = partial(_pack_case, raw=raw, target=target, remove=out is None, sequences=tuple(sequences))
    return _total(list(map_cases(work, cases, "pack")))


def unpack(raw: Path, out: Path | None) -> Sizes:
    """Write a folder CASE for each archive of a raw folder: the inverse of `pack`.

    Args:
        raw: the raw folder.
        out: the folder of the cases' folders; None for `raw` itself, where each archive is removed once its folder was
            compared.

    Raises:
        FlairprepError: an archive cannot be read, or differs from a folder that is there already.
    """
    _check_folder(raw)
    packed = [path for path in sorted(raw.iterdir()) if archives.is_archive(path.name) and not is_skipped(path.name)]
    if not packed:
        raise FlairprepError(f"{raw}: no archive in it; name the folder of CASE.zip")
    target = out or raw
    target.mkdir(parents=True, exist_ok=True)
    work = partial(_unpack_case, target=target, remove=out is None)
    return _total(list(map_cases(work, packed, "unpack")))


def _check_folder(raw: Path) -> None:
    if not raw.is_dir():
        raise FlairprepError(f"{raw}: no such folder; name the one of ingest.dicom_dir")


def _total(sizes: Sequence[Sizes]) -> Sizes:
    return Sizes(len(sizes), sum(one.files for one in sizes), sum(one.archives for one in sizes))


def _pack_case(case: Path, *, raw: Path, target: Path, remove: bool, sequences: tuple[str, ...]) -> Sizes:
    listing = _listing(case, raw)
    if kept := {path.name for path in case.iterdir() if path.is_dir() and discovery.sequence_of(path) in sequences}:
        listing = {name: path for name, path in listing.items() if name.split("/")[0] in kept}
    archive = target / f"{case.name}.zip"
    if not archive.exists():
        _write(archive, listing)
    if not _equal(archive, listing):
        raise FlairprepError(f"{archive}: differs from the folder {case.name}; remove the one that is wrong")
    sizes = Sizes(1, sum(path.stat().st_size for path in listing.values() if path), archive.stat().st_size)
    if remove:
        going = case.with_name(f".{case.name}{GOING}")
        case.rename(going)  # a killed removal leaves no half of a case
        shutil.rmtree(going)
    return sizes


def _listing(case: Path, raw: Path) -> dict[str, Path | None]:
    """Return name -> file of all below a folder, hidden ones too, sorted; an empty folder has "name/" and None."""
    inside, listing = raw.resolve(), dict[str, Path | None]()
    if case.is_symlink():
        raise FlairprepError(f"case {case.name}: a link; put the folder itself there")
    for place, folders, names in os.walk(case):
        links = [name for name in (*folders, *names) if (Path(place) / name).is_symlink()]
        if any(not discovery.may_follow(Path(place) / name, inside) for name in links):
            raise FlairprepError(f"case {case.name}: links to folders, out of {raw}, or to nothing; put files there")
        if any(name.lower().endswith((".nii", ".nii.gz")) for name in names):
            raise FlairprepError(f"case {case.name}: NIfTI files, which are read from folders only; leave it unpacked")
        below = Path(place).relative_to(case)
        listing |= {(below / name).as_posix(): Path(place) / name for name in names}
        if not (folders or names):
            listing[f"{below.as_posix()}/"] = None
    return dict(sorted(listing.items()))


def _write(archive: Path, listing: dict[str, Path | None]) -> None:
    with atomic_file(archive) as partial_file, zipfile.ZipFile(partial_file, "w", compresslevel=LEVEL) as packed:
        for name, path in listing.items():
            info = zipfile.ZipInfo(name, TIME)
            info.create_system, info.external_attr = 3, 0o100644 << 16 if path else 0o40755 << 16
            info.compress_type = zipfile.ZIP_DEFLATED if path else zipfile.ZIP_STORED
            try:
                packed.writestr(info, path.read_bytes() if path else b"")
            except (UnicodeEncodeError, zipfile.LargeZipFile) as error:
                raise FlairprepError(f"{archive}: a file that no zip can hold ({type(error).__name__})") from None


def _equal(archive: Path, listing: dict[str, Path | None]) -> bool:
    """Return whether an archive holds exactly the files of a listing, byte for byte, and its empty folders."""
    missing = set(listing)
    try:
        for entry in entries(archive):
            if isinstance(entry.content, CaseError):
                raise entry.content
            name = entry.name if entry.content is not None else f"{entry.name}/"
            if entry.content is None and name not in listing and any(other.startswith(name) for other in listing):
                continue  # a folder that is not empty
            path = listing.get(name)
            if name not in listing or (path and path.read_bytes() != entry.content):
                return False
            missing.discard(name)
    except CaseError as error:
        raise FlairprepError(f"{archive}: {error.code}: {error.message}; remove it, or the files at fault") from None
    return not missing or missing == {"./"}


def _unpack_case(archive: Path, *, target: Path, remove: bool) -> Sizes:
    folder = target / archives.stem_of(archive.name)
    if not folder.exists():
        coming = target / f".{folder.name}{COMING}"
        shutil.rmtree(coming, ignore_errors=True)
        coming.mkdir()
        _extract(archive, coming)
        coming.rename(folder)
    listing = _listing(folder, target)
    if not _equal(archive, listing):
        raise FlairprepError(f"{archive}: differs from the folder {folder.name}; remove the one that is wrong")
    sizes = Sizes(1, sum(path.stat().st_size for path in listing.values() if path), archive.stat().st_size)
    if remove:
        archive.unlink()
    return sizes


def _extract(archive: Path, folder: Path) -> None:
    """Write the members of an archive below an empty folder; `entries` yields no name that leads out of it."""
    try:
        for entry in entries(archive):
            if isinstance(entry.content, CaseError):
                raise entry.content
            path = folder / entry.name
            if entry.content is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(entry.content)
                file.flush()
                os.fsync(file.fileno())
    except CaseError as error:
        raise FlairprepError(f"{archive}: {error.code}: {error.message}; get it again") from None
    except (FileExistsError, NotADirectoryError):
        raise FlairprepError(f"{archive}: a file and a folder of one name; get it again") from None
