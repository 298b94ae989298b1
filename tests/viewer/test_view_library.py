"""NiiVue as the package carries it: the bytes of its record, with its licence."""

import gzip
import hashlib
import io
import json
import runpy
import tarfile
from pathlib import Path
from typing import Any

import pytest

from flairprep.viewer.page import TEMPLATES

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = runpy.run_path(str(ROOT / "docs/niivue.py"))


def tarball(path: Path, name: str, script: bytes = b"var niivue = {};") -> Path:
    """A package of npm with a build for a script tag."""
    described = {"name": name, "version": "9.8.7", "license": "BSD-2-Clause", "homepage": "https://example.org"}
    files = {"package/package.json": json.dumps(described).encode(), "package/dist/niivue.umd.js": script}
    with tarfile.open(path, "w:gz") as archive:
        for member, content in files.items():
            entry = tarfile.TarInfo(member)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return path


def record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "niivue.json").read_text())


def test_the_library_has_the_bytes_and_the_licence_of_its_record() -> None:
    packed = (TEMPLATES / "niivue.umd.js.gz").read_bytes()
    assert len(packed) < 1_000_000
    assert hashlib.sha256(gzip.decompress(packed)).hexdigest() == record(TEMPLATES)["sha256"]
    assert record(TEMPLATES)["licence"] == "BSD-2-Clause"
    assert "BSD 2-Clause" in (TEMPLATES / "niivue.LICENSE.txt").read_text()
    assert "niivue" in (ROOT / "NOTICE").read_text().lower()


def test_another_version_replaces_it_with_its_record(tmp_path: Path) -> None:
    SCRIPT["vendor"](tarball(tmp_path / "a.tgz", "@niivue/niivue"), tmp_path)
    assert gzip.decompress((tmp_path / "niivue.umd.js.gz").read_bytes()) == b"var niivue = {};"
    assert record(tmp_path)["version"] == "9.8.7"
    assert record(tmp_path)["sha256"] == hashlib.sha256(b"var niivue = {};").hexdigest()


def test_another_package_and_one_that_is_too_large_change_nothing(tmp_path: Path) -> None:
    noise = b"".join(hashlib.sha256(bytes([i % 256, i // 256 % 256, i // 65536])).digest() for i in range(40_000))
    for file in (tarball(tmp_path / "b.tgz", "niivue"), tarball(tmp_path / "c.tgz", "@niivue/niivue", noise)):
        with pytest.raises(ValueError, match=file.name):
            SCRIPT["vendor"](file, tmp_path)
    assert not (tmp_path / "niivue.json").exists()
