"""Keep results in a folder: entries are whole or absent, sealed, and private to the user.

FLAIRPREP_CACHE/v1 holds XX/KEY/{record, 0, 1, ...}, seen/XX/NAME (digests of files that need not be read again), tmp
and the secret. Everything in it may be missing, damaged, or removed by another process at any time.
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

from pydantic import TypeAdapter

from flairprep.core.files import atomic_part
from flairprep.core.user_cache import open_folder, remove

SECRET_BYTES = 32
RACY = 2_000_000_000  # ns: a file this young may change again without its time changing, as in git
MIN_FREE = 0.05  # share of the disk that stays free, for the outs
CHUNK = 1 << 20  # bytes read at a time
FICLONE = 0x40049409  # linux/fs.h
READ_ONLY = 0o444  # as DVC leaves the files in its cache


@dataclass(frozen=True)
class CacheDir:
    """The entries of an open cache. Its secret keys all digests, so that nobody can guess what they are of.

    objects: where DVC keeps the project's files. links: how outs may share them, see `_dvc_cache`.
    """

    root: Path
    secret: bytes
    objects: Path = Path(".dvc/cache/files/md5")
    links: tuple[str, ...] = ()

    def digest(self, *parts: str) -> str:
        """Return HMAC-SHA256 of `parts` under the secret, in hex; ("ab", "c") and ("a", "bc") differ."""
        return hmac.new(self.secret, json.dumps(parts).encode(), "sha256").hexdigest()

    def digest_of(self, paths: Sequence[str | Path]) -> str:
        """Return the digest of the files' bytes, in order; remembered while device, inode, size and time of each stay.

        Raises:
            OSError: a file cannot be read.
        """
        stats, now = [os.stat(path) for path in paths], time.time_ns()  # noqa: PTH116
        if (remembered := self._remembered(stats)) is not None:
            return remembered
        digest = self.digest(*map(_sha256, paths))
        if all(now - stat.st_mtime_ns >= RACY for stat in stats):
            self._remember(self._name_of(stats), digest)
        return digest

    def known_digest_of(self, paths: Sequence[str | Path]) -> str | None:
        """Return `digest_of` without reading the files; None where that is impossible."""
        with suppress(OSError):
            return self._remembered([os.stat(path) for path in paths])  # noqa: PTH116
        return None

    def _remembered(self, stats: Sequence[os.stat_result]) -> str | None:
        name = self._name_of(stats)
        path = self._digest_path(name)
        with suppress(OSError, ValueError):
            digest = self._unseal(name, path.read_text())
            _mark_used(path)
            return digest
        return None

    def _remember(self, name: str, digest: str) -> None:
        path, new = self._digest_path(name), self.root / "tmp" / f"{name}.{os.getpid()}"
        with suppress(OSError):
            try:
                new.write_text(self._seal(name, digest))
                path.parent.mkdir(mode=0o700, exist_ok=True)
                new.replace(path)
            finally:
                new.unlink(missing_ok=True)

    def _name_of(self, stats: Sequence[os.stat_result]) -> str:
        return self.digest("seen", *(f"{s.st_dev} {s.st_ino} {s.st_size} {s.st_mtime_ns}" for s in stats))

    def _digest_path(self, name: str) -> Path:
        return self.root / "seen" / name[:2] / name

    def _remember_out(self, file: Path, sha256: str) -> None:
        """Remember the digest of an out for the next stage; set a new file's time back, so that a change shows."""
        with suppress(OSError):
            now, stat = time.time_ns(), file.stat()
            if now - stat.st_mtime_ns < RACY:
                if stat.st_nlink > 1:  # a link to DVC's file, which DVC knows by its time
                    return
                os.utime(file, ns=(now - 5 * RACY, now - 5 * RACY))
            self._remember(self._name_of([file.stat()]), self.digest(sha256))

    def has(self, key: str) -> bool:
        """Return whether there is an entry; only `restore` can tell whether it is sound."""
        with suppress(OSError):  # a folder that may not be searched
            return self._entry(key).exists()
        return False

    def restore(self, key: str, adapter: TypeAdapter[Any], *files: Path) -> Any:
        """Return the result kept under `key` and restore its files as `files`; None without a sound entry.

        Where DVC has the same file in its cache, it becomes a link to that as DVC would make one. Nothing is written
        then, and DVC knows its hash if that link existed before.
        """
        entry = self._entry(key)
        try:
            record = json.loads(self._unseal(key, (entry / "record").read_text()))
            result = adapter.validate_python(record["result"])
            for number, (file, kept) in enumerate(zip(files, record["files"], strict=True)):
                if kept:
                    with atomic_part(file) as partial:
                        if not self._link(kept, partial) and _copy(entry / str(number), partial) != kept["sha256"]:
                            raise ValueError(f"{entry}: a file has changed")
                    self._remember_out(file, kept["sha256"])
        except (OSError, ValueError, KeyError):
            shutil.rmtree(entry, ignore_errors=True)
            return None
        _mark_used(entry)
        return result

    def _link(self, kept: dict[str, str], target: Path) -> bool:
        """Make `target` share the file of these hashes in DVC's cache; return whether that was possible.

        The file is read to check it, unless it was before and its size and time are the same.
        """
        object_path = self.objects / kept["md5"][:2] / kept["md5"][2:]
        for kind in self.links:
            with suppress(OSError):  # no such file, another file system, or one without such links
                stat = object_path.stat()
                if stat.st_mode & 0o777 == READ_ONLY:
                    (_clone if kind == "reflink" else os.link)(object_path, target)
                    if self._remembered([stat]) == self.digest(kept["sha256"]) or _sha256(target) == kept["sha256"]:
                        return True
            target.unlink(missing_ok=True)  # not overwritten: it may be a hard link to DVC's file
        return False

    def keep(self, key: str, adapter: TypeAdapter[Any], result: Any, *files: Path, copied: bool = True) -> None:
        """Keep `result` and those of `files` that exist under `key`.

        copied: else only the hashes of the files, for `restore` to link what DVC keeps of them.

        Raises:
            OSError: they cannot be written, or the disk is nearly full.
            ValueError: JSON would give another result back.
        """
        dumped = json.dumps(adapter.dump_python(result, mode="json"), allow_nan=False)
        if adapter.validate_python(json.loads(dumped)) != result:
            raise ValueError("JSON gives another result back")
        disk = shutil.disk_usage(self.root)
        if disk.free < disk.total * MIN_FREE:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        entry = self._entry(key)
        with self._temporary() as temporary:
            new = Path(temporary, key)
            new.mkdir(mode=0o700)
            kept: list[dict[str, str] | None] = []
            for number, file in enumerate(files):
                if file.is_file():
                    sha256 = _copy(file, new / str(number)) if copied else _sha256(file)
                    kept.append({"sha256": sha256, "md5": _md5(file)})
                    self._remember_out(file, sha256)
                else:
                    kept.append(None)
            record = json.dumps({"files": kept, "result": json.loads(dumped)})
            (new / "record").write_text(self._seal(key, record))
            entry.parent.mkdir(mode=0o700, exist_ok=True)
            try:
                new.rename(entry)
            except OSError:  # another run was faster
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


def _sha256(path: str | Path) -> str:  # with the CPU's instructions for it twice as fast as blake2b
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "sha256").hexdigest()


def _md5(path: Path) -> str:  # DVC's name of a file
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _copy(source: Path, target: Path) -> str:
    """Copy a file, sharing its blocks where the file system can; return its SHA-256 in hex."""
    with source.open("rb") as old, target.open("wb") as new:
        try:
            fcntl.ioctl(new.fileno(), FICLONE, old.fileno())
        except OSError:  # another file system, or one that shares no blocks
            digest = hashlib.sha256()
            while chunk := old.read(CHUNK):
                digest.update(chunk)
                new.write(chunk)
            return digest.hexdigest()
    return _sha256(target)


def _mark_used(path: Path) -> None:
    """Set the time of last use, by which `cache_usage.prune` goes."""
    with suppress(OSError):  # a read-only cache
        os.utime(path)


def open_cache_dir() -> CacheDir | None:
    """Open the cache, and make its folder where it is missing; return None where the cache is off.

    Raises:
        OSError: see `user_cache.open_folder`.
    """
    root = open_folder()
    if root is None:
        return None
    (root / "seen").mkdir(mode=0o700, exist_ok=True)
    return CacheDir(root, _secret(root), *_dvc_cache(Path(".dvc")))


def _dvc_cache(dvc_dir: Path) -> tuple[Path, tuple[str, ...]]:
    """Return where DVC keeps a project's files, and how outs may share them: reflink, hardlink.

    In the order of `cache.type`, up to the first other one: copies share nothing, and symbolic links are visible.
    """
    config = configparser.ConfigParser(interpolation=None, inline_comment_prefixes=("#",))
    try:
        config.read(dvc_dir / name for name in ("config", "config.local"))
        types, folder = (config["cache"].get(*entry).strip(" '\"") for entry in (("type", ""), ("dir", "cache")))
    except (configparser.Error, KeyError, UnicodeDecodeError):
        types, folder = "", "cache"
    kinds = takewhile(("reflink", "hardlink").__contains__, map(str.strip, types.split(",")))
    return dvc_dir / folder / "files/md5", tuple(kinds)


def _clone(source: Path, target: Path) -> None:
    with source.open("rb") as old, target.open("xb") as new:
        fcntl.ioctl(new.fileno(), FICLONE, old.fileno())


def _secret(root: Path) -> bytes:
    path = root / "secret"
    if path.exists() and path.stat().st_size != SECRET_BYTES:
        remove(path)
    if not path.exists():
        with tempfile.TemporaryDirectory(dir=root / "tmp") as temporary:
            new = Path(temporary, path.name)
            new.touch(mode=0o600)
            new.write_bytes(secrets.token_bytes(SECRET_BYTES))
            with suppress(FileExistsError):  # another run was faster
                os.link(new, path)
    return path.read_bytes()
