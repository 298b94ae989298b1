"""The folder in which results are kept: entries that are whole or not there, sealed, and private to the user.

FLAIRPREP_CACHE/v1 holds XX/KEY/{record, file}, seen/XX/NAME (digests of files that need not be read again), tmp and the
secret. Everything in it may be missing, damaged, or removed by another process at any time.
"""

import configparser
import errno
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path
from pydantic import TypeAdapter

from flairprep.core.files import atomic_part

LAYOUT = "v1"
SECRET = 32  # bytes
RACY = 2_000_000_000  # ns: as in git, a file this young may change again without its time changing
LEFTOVER = 86_400  # s after which a temporary file belongs to no living run
SPARE = 0.05  # the share of the disk that is left free, for the outs
PART = 1 << 20  # bytes that are read at a time
FICLONE = 0x40049409  # linux/fs.h
READ_ONLY = 0o444  # as DVC leaves the files in its cache


@dataclass(frozen=True)
class CacheDir:
    """The files of the store. All digests are keyed with its secret: nobody else can try out what they are of.

    objects: where DVC keeps the files of the project. links: how it lets outs share them, see `_shared`.
    """

    root: Path
    secret: bytes
    objects: Path = Path(".dvc/cache/files/md5")
    links: tuple[str, ...] = ()

    def digest(self, *parts: str) -> str:
        """Return HMAC-SHA256 of `parts` under the secret, in hex; ("ab", "c") and ("a", "bc") differ."""
        return hmac.new(self.secret, json.dumps(parts).encode(), "sha256").hexdigest()

    def digest_of(self, paths: Sequence[str | Path]) -> str:
        """Digest the files' bytes in order; remembered while device, inode, size and time of each stay.

        Raises:
            OSError: a file cannot be read.
        """
        stats, now = [os.stat(path) for path in paths], time.time_ns()  # noqa: PTH116
        if (known := self._remembered(stats)) is not None:
            return known
        found = self.digest(*map(_sha256, paths))
        if all(now - stat.st_mtime_ns >= RACY for stat in stats):
            self._remember(self._seen(stats), found)
        return found

    def known_digest_of(self, paths: Sequence[str | Path]) -> str | None:
        """Return `digest_of` without reading the files; None where that is impossible."""
        with suppress(OSError):
            return self._remembered([os.stat(path) for path in paths])  # noqa: PTH116
        return None

    def _remembered(self, stats: Sequence[os.stat_result]) -> str | None:
        name = self._seen(stats)
        place = self.root / "seen" / name[:2] / name
        with suppress(OSError, ValueError):
            known = self._unseal(name, place.read_text())
            _use(place)
            return known
        return None

    def _seen(self, stats: Sequence[os.stat_result]) -> str:
        return self.digest("seen", *(f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns}" for s in stats))

    def _remember(self, name: str, found: str) -> None:
        cache_folder, new = self.root / "seen" / name[:2], self.root / "tmp" / f"{name}.{os.getpid()}"
        with suppress(OSError):
            try:
                new.write_text(self._seal(name, found))
                cache_folder.mkdir(mode=0o700, exist_ok=True)
                new.replace(cache_folder / name)
            finally:
                new.unlink(missing_ok=True)

    def _remember_own(self, file: Path, sha256: str) -> None:
        """For the stage that reads `file`. The time of a new one is set back: any later change will change it."""
        with suppress(OSError):
            now, stat = time.time_ns(), file.stat()
            if now - stat.st_mtime_ns < RACY:
                if stat.st_nlink > 1:  # DVC's, which goes by that time
                    return
                os.utime(file, ns=(now - 5 * RACY, now - 5 * RACY))
            self._remember(self._seen([file.stat()]), self.digest(sha256))

    def has(self, key: str) -> bool:
        """Return whether there is an entry; only `restore` can tell whether it is sound."""
        with suppress(OSError):  # it may not be looked for
            return self._entry(key).exists()
        return False

    def restore(self, key: str, adapter: TypeAdapter[Any], file: Path | None) -> Any:
        """Return the result kept under `key` and put its file to `file`; None without a sound entry.

        Where DVC has the same file in its cache, `file` becomes such a link to it as DVC would make: nothing is
        written, and DVC knows its hash if that link was there before.
        """
        entry = self._entry(key)
        try:
            record = json.loads(self._unseal(key, (entry / "record").read_text()))
            result = adapter.validate_python(record["result"])
            if file and record["sha256"]:
                with atomic_part(file) as partial:
                    if not self._link(record, partial) and _copy(entry / "file", partial) != record["sha256"]:
                        raise ValueError(f"{entry}: another file than was kept")
                self._remember_own(file, record["sha256"])
        except (OSError, ValueError):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        _use(entry)
        return result

    def _link(self, record: dict[str, Any], target: Path) -> bool:
        """Whether `target` could be made to share the file of `record` in DVC's cache."""
        if not (self.links and record.get("md5")):
            return False
        kept = self.objects / record["md5"][:2] / record["md5"][2:]
        for kind in self.links:
            with suppress(OSError):  # there is none, or it lies on another file system, or on one without such links
                if kept.stat().st_mode & 0o777 == READ_ONLY:
                    (_clone if kind == "reflink" else os.link)(kept, target)
                    if _sha256(target) == record["sha256"]:
                        return True
            target.unlink(missing_ok=True)  # never written to: it may be another name of DVC's file
        return False

    def keep(self, key: str, adapter: TypeAdapter[Any], result: Any, file: Path | None) -> None:
        """Keep `result` and, where it exists, `file` under `key`.

        Raises:
            OSError: they cannot be written, or the disk is nearly full.
            ValueError: JSON would give another result back.
        """
        dumped = json.dumps(adapter.dump_python(result, mode="json"), allow_nan=False)
        if adapter.validate_python(json.loads(dumped)) != result:
            raise ValueError("JSON gives another result back")
        disk = shutil.disk_usage(self.root)
        if disk.free < disk.total * SPARE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        entry = self._entry(key)
        with self._temporary() as made:
            new = Path(made, key)
            new.mkdir(mode=0o700)
            sha256 = _copy(file, new / "file") if file and file.is_file() else None
            md5 = _md5(new / "file") if sha256 else None
            record = json.dumps({"sha256": sha256, "md5": md5, "result": json.loads(dumped)})
            (new / "record").write_text(self._seal(key, record))
            if file and sha256:
                self._remember_own(file, sha256)
            entry.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                new.rename(entry)
            except OSError:  # another run was there first
                if not entry.exists():
                    raise

    def _entry(self, key: str) -> Path:
        return self.root / key[:2] / key

    def _temporary(self) -> tempfile.TemporaryDirectory[str]:
        return tempfile.TemporaryDirectory(dir=self.root / "tmp", ignore_cleanup_errors=True)

    def _seal(self, name: str, text: str) -> str:
        return f"{self.digest('seal', name, text)}\n{text}"

    def _unseal(self, name: str, text: str) -> str:
        seal, _, rest = text.partition("\n")
        if seal != self.digest("seal", name, rest):
            raise ValueError(f"{name}: damaged")
        return rest


def _sha256(path: str | Path) -> str:  # where the CPU has instructions for it, twice as fast as blake2b
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5(path: Path) -> str:  # what DVC calls a file by
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _copy(source: Path, target: Path) -> str:
    """The SHA-256 of what it copies, in hex."""
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:  # another file system, or one that shares no blocks
            found = hashlib.sha256()
            while part := old.read(PART):
                found.update(part)
                new.write(part)
            return found.hexdigest()
    return _sha256(target)


def _use(path: Path) -> None:
    with suppress(OSError):  # a store that can only be read
        os.utime(path)


def cache_folder() -> Path | None:
    """Return the folder of the cache: FLAIRPREP_CACHE, else the user's cache folder; None where it is `off`.

    Raises:
        OSError: there is no home folder to put it in.
    """
    chosen = os.environ.get("FLAIRPREP_CACHE")
    if chosen == "off":
        return None
    try:
        folder = Path(chosen).expanduser() if chosen else user_cache_path("flairprep", appauthor=False)
        return folder.expanduser().absolute() / LAYOUT
    except RuntimeError as error:
        raise FileNotFoundError(errno.ENOENT, "no home folder") from error


def open_cache_dir() -> CacheDir | None:
    """Open the cache folder, made where it is missing; None where it is off.

    Raises:
        OSError: it cannot be made or read, or it is not this user's alone.
    """
    root = cache_folder()
    if root is None:
        return None
    root.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    for place in (root, root / "tmp", root / "seen"):
        place.mkdir(mode=0o700, exist_ok=True)
    if root.stat().st_uid != os.geteuid() or root.stat().st_mode & 0o077:
        raise PermissionError(errno.EPERM, "its folder is not this user's alone")
    for left in (root / "tmp").iterdir():  # by a worker that was killed
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFTOVER:
                remove(left)
    return CacheDir(root, _secret(root), *_shared(Path(".dvc")))


def _shared(project: Path) -> tuple[Path, tuple[str, ...]]:
    """Where DVC keeps the files of a project, by its .dvc folder, and how outs may share them: reflink, hardlink.

    In the order of `cache.type`, up to the first that means a file of the user's own, or a link that shows.
    """
    config = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    try:
        config.read(project / name for name in ("config", "config.local"))
        types, folder = (config["cache"].get(*entry).strip(" '\"") for entry in (("type", ""), ("dir", "cache")))
    except (configparser.Error, KeyError, UnicodeDecodeError):
        types, folder = "", "cache"
    kinds = takewhile(("reflink", "hardlink").__contains__, map(str.strip, types.split(",")))
    return project / folder / "files/md5", tuple(kinds)


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())


def _secret(root: Path) -> bytes:
    path = root / "secret"
    if path.exists() and path.stat().st_size != SECRET:
        remove(path)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=root / "tmp") as made:
            new = Path(made, path.name)
            new.touch(mode=0o600)
            new.write_bytes(secrets.token_bytes(SECRET))
            with suppress(FileExistsError):  # another run was there first
                os.link(new, path)
    return path.read_bytes()


def remove(path: Path) -> None:
    """Remove a file or a folder, as far as possible."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
