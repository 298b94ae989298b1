"""Pack folders as archives hand them out, for the tests of their readers."""

import gzip
import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

from backports import zstd

Members = Iterable[tuple[str, bytes]]


def of_folder(folder: Path) -> list[tuple[str, bytes]]:
    """(name, content) of all files below a folder, the last first: archives are in no order."""
    files = sorted((path for path in folder.rglob("*") if path.is_file()), reverse=True)
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]


def write_zip(path: Path, members: Members, compression: int = zipfile.ZIP_DEFLATED) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def tar(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    return gzip.compress(content, 1)


SHELLS: dict[str, Callable[[bytes], bytes]] = {
    ".tar": bytes,
    ".tar.gz": gzipped,
    ".tgz": gzipped,
    ".tar.zst": lambda content: zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1}),
}
KINDS = (".zip", *SHELLS)


def write(path: Path, members: Members) -> Path:
    """Write an archive of the kind that the path's ending names."""
    if path.name.endswith(".zip"):
        return write_zip(path, members)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(next(shell for kind, shell in SHELLS.items() if path.name.endswith(kind))(tar(members)))
    return path


def replace_folder(folder: Path, kind: str = ".zip", inside: str = "") -> Path:
    """Put an archive in the place of a folder, its members below `inside`."""
    members = [(f"{inside}{name}", content) for name, content in of_folder(folder)]
    shutil.rmtree(folder)
    return write(folder.with_name(folder.name + kind), members)
