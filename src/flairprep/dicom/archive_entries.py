"""Go through the members of a zip or tar archive once, in memory; damage, links and bombs become codes.

Formats: APPNOTE.TXT 6.3 (zip), POSIX.1-2001 pax (tar), RFC 1952 (gzip), RFC 8878 (zstd).
"""

import errno
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO, NamedTuple, Protocol

from backports import zstd
from zlib_ng import gzip_ng

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError

MAX_FILE = 2**31  # bytes of one file or member, and of the members of one series; a large enhanced FLAIR has a tenth
MAX_RATIO = 100  # of all that an archive holds to its own bytes, beyond MAX_FILE; DICOM shrinks to a half or a third
MAX_MEMBERS = 2**20
MAX_HEADER = 2**16  # bytes of a tar's extended header: tarfile's search takes time with the square of it
CHUNK = 2**20


class Stream(Protocol):
    """What an archive is read from."""

    def read(self, size: int, /) -> bytes:
        """Read up to `size` bytes."""
        ...


def _gzip(file: BinaryIO) -> Stream:
    return gzip_ng.GzipNGFile(fileobj=file, mode="rb")


def _zstd(file: BinaryIO) -> Stream:
    return zstd.ZstdFile(file)


def _plain(file: BinaryIO) -> Stream:
    return file


TARS: dict[str, Callable[[BinaryIO], Stream]] = {".tar": _plain, ".tar.gz": _gzip, ".tgz": _gzip, ".tar.zst": _zstd}
ENDINGS = (".zip", *TARS)
ZIP_KINDS = (0, stat.S_IFREG, stat.S_IFDIR)  # 0 where the system that wrote it knows no modes
ENCRYPTED = 0x1 | 0x40  # bits of a zip member's flags, APPNOTE 4.4.4


class Entry(NamedTuple):
    """A member: its place among all, its safe name, None for a folder, its bytes or why it has none."""

    place: int
    name: str
    content: bytes | CaseError | None


def entries(archive: Path, wanted: Callable[[int, str], bool] = lambda place, name: True) -> Iterator[Entry]:
    """Yield the wanted members of an archive, in its order, one in memory at a time.

    The whole archive is judged first where it has a directory (zip), else as the pass proceeds (tar): with a link,
    a device or a name that leads out of it, it is refused as a whole. So is one that is cut off or fails its checksum.

    wanted: of the place and name of a member.

    Raises:
        CaseError: DAMAGED_ARCHIVE, LINK_OUTSIDE, TOO_LARGE.
        FlairprepError: the machine could not read the file.
    """
    with _undamaged(), archive.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(0)
        limit = max(MAX_FILE, MAX_RATIO * size)
        names = _Names()
        if archive.name.lower().endswith(".zip"):
            yield from _zip_entries(file, limit, names, wanted)
        else:
            ending = next(ending for ending in TARS if archive.name.lower().endswith(ending))
            yield from _tar_entries(_Forward(TARS[ending](file), limit), names, wanted)


@contextmanager
def _undamaged() -> Iterator[None]:
    """Turn whatever a damaged archive raises into a CaseError, without its text, which quotes names."""
    try:
        yield
    except (CaseError, FlairprepError, MemoryError):
        raise
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # gzip's way to say it; a place before the file's beginning
            raise CaseError(Code.DAMAGED_ARCHIVE, "an archive is damaged or cut off") from None
        raise FlairprepError(f"a raw file cannot be read ({error.strerror}); fix that and run again") from error
    except Exception as error:  # of zipfile, tarfile, gzip, zstd: their number grows with every Python
        raise CaseError(Code.DAMAGED_ARCHIVE, f"an archive is damaged or cut off ({type(error).__name__})") from None


class _Names:
    """Check the names of an archive's members, as they come."""

    def __init__(self) -> None:
        self._seen: set[str] = set()

    def safe(self, name: str) -> str:
        """Return a name with "/" between its parts, "" for the archive's own folder.

        Raises:
            CaseError: LINK_OUTSIDE where it leads out of the archive; DAMAGED_ARCHIVE where it stands there twice;
                TOO_LARGE.
        """
        plain = name.replace("\\", "/")
        parts = [part for part in plain.split("/") if part not in ("", ".")]
        if plain.startswith("/") or ".." in parts or PureWindowsPath(plain).drive or "\0" in plain:
            raise CaseError(Code.LINK_OUTSIDE, "an archive holds a name that leads out of it")
        joined = str(PurePosixPath(*parts)) if parts else ""
        if joined in self._seen:
            raise CaseError(Code.DAMAGED_ARCHIVE, "an archive holds two members of one name")
        self._seen.add(joined)
        if len(self._seen) > MAX_MEMBERS:
            raise CaseError(Code.TOO_LARGE, f"an archive of over {MAX_MEMBERS} members")
        return joined


def _zip_entries(file: BinaryIO, limit: int, names: _Names, wanted: Callable[[int, str], bool]) -> Iterator[Entry]:
    with zipfile.ZipFile(file) as archive:
        listing = []
        for info in archive.infolist():
            if stat.S_IFMT(info.external_attr >> 16) not in ZIP_KINDS:
                raise _not_plain()
            listing.append((names.safe(info.filename), info))
        if sum(info.file_size for _, info in listing) > limit:
            raise _bomb(limit)
        for place, (name, info) in enumerate(listing):
            if name and wanted(place, name):
                yield Entry(place, name, None if info.is_dir() else _zip_content(archive, info))


def _zip_content(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes | CaseError:
    if info.flag_bits & ENCRYPTED:
        return CaseError(Code.ENCRYPTED, "a member of an archive is encrypted")
    if info.file_size > MAX_FILE:
        return _too_large(info.file_size)
    try:
        with _undamaged():
            content = archive.read(info)
    except CaseError as error:
        return error
    return content if len(content) == info.file_size else CaseError(Code.DAMAGED_ARCHIVE, "a member is cut off")


def _tar_entries(file: "_Forward", names: _Names, wanted: Callable[[int, str], bool]) -> Iterator[Entry]:
    with tarfile.TarFile(fileobj=file, errorlevel=2) as archive:  # type: ignore[arg-type]
        place = 0
        while info := file.header(archive):
            archive.members = []  # type: ignore[attr-defined]  # it would keep all
            name = names.safe(info.name)
            if not (info.isreg() or info.isdir()) or info.issparse():
                raise _not_plain()
            if name and wanted(place, name):
                yield Entry(place, name, None if info.isdir() else _tar_content(archive, info))
            place += 1
    if file.last.strip(b"\0") or len(file.last) < tarfile.BLOCKSIZE:  # tarfile takes a damaged header for the end
        raise CaseError(Code.DAMAGED_ARCHIVE, "an archive is damaged or cut off")
    while file.read(CHUNK):  # to the checksum
        pass


def _tar_content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes | CaseError:
    if info.size > MAX_FILE:
        return _too_large(info.size)
    member = archive.extractfile(info)
    content = member.read() if member else b""
    if len(content) < info.size:
        raise CaseError(Code.DAMAGED_ARCHIVE, "an archive is damaged or cut off")
    return content


class _Forward:
    """A stream that is read forwards only, of at most `limit` bytes; `last` is what the last read returned."""

    def __init__(self, file: Stream, limit: int) -> None:
        self.last = b""
        self._file, self._limit, self._position, self._most = file, limit, 0, MAX_HEADER  # TarFile reads the first one

    def header(self, archive: tarfile.TarFile) -> tarfile.TarInfo | None:
        """Return the next member of the tar that is read from here.

        Raises:
            CaseError: TOO_LARGE where its headers are.
        """
        self._most = MAX_HEADER
        try:
            return archive.next()
        finally:
            self._most = MAX_FILE

    def tell(self) -> int:
        """Return how many bytes came."""
        return self._position

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes.

        Raises:
            CaseError: TOO_LARGE.
        """
        if size > self._most:  # tarfile would put it into memory
            raise CaseError(Code.TOO_LARGE, f"a tar asks for {size} bytes at once; {self._most} can be read")
        return self._take(size)

    def _take(self, size: int) -> bytes:
        self.last = self._file.read(size)
        self._position += len(self.last)
        if self._position > self._limit:
            raise _bomb(self._limit)
        return self.last

    def seek(self, position: int) -> int:
        """Skip to a position further on."""
        if position < self._position:
            raise tarfile.ReadError("backwards")
        while self._position < position and self._take(min(CHUNK, position - self._position)):
            pass
        return self._position


def _not_plain() -> CaseError:
    return CaseError(Code.LINK_OUTSIDE, "an archive holds a link, or another member that is no plain file")


def _too_large(size: int) -> CaseError:
    return CaseError(Code.TOO_LARGE, f"a member of {size >> 20} MB; {MAX_FILE >> 20} can be read")


def _bomb(limit: int) -> CaseError:
    return CaseError(Code.TOO_LARGE, f"an archive that unpacks to over {limit >> 20} MB")
