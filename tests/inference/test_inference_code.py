"""The hashes of source files, as DVC's own of the same files."""

from pathlib import Path
from typing import Any

import pytest
from dvc.repo import Repo
from ruamel.yaml import YAML

from flairprep.inference import code


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """Return a folder of source files, with names whose order is not that of their folders, and a cache of Python's."""
    for name in ("b.py", "a/x.py", "a.py", "a-b/y.py", "ä.py", "a/__pycache__/x.pyc"):
        (tmp_path / "src/flairprep" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src/flairprep" / name).write_text(f"# {name}\n")
    (tmp_path / ".dvcignore").write_text("__pycache__\n")
    return tmp_path / "src/flairprep"


def locked(root: Path, *deps: str) -> list[dict[str, Any]]:
    """Return the deps as DVC writes them into dvc.lock."""
    Repo.init(str(root), no_scm=True).run(name="ingest", cmd="true", deps=list(deps))
    return YAML(typ="safe").load(root / "dvc.lock")["stages"]["ingest"]["deps"]


def test_hashes_are_those_of_dvc(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = package.parents[1]
    monkeypatch.chdir(root)
    deps = locked(root, "src/flairprep/a.py", "src/flairprep/a", "src/flairprep")
    assert {dep["path"]: dep["md5"] for dep in deps} == {dep["path"]: code.dvc_hash(root / dep["path"]) for dep in deps}
    assert len(deps) == 3


def test_what_differs_is_named(package: Path) -> None:
    known = {path: code.dvc_hash(package.parents[1] / path) for path in ("src/flairprep/a", "src/flairprep/b.py")}
    assert code.differing(known, package) == []
    (package / "a/z.py").write_text("")
    [told] = code.differing(known, package)
    assert told.startswith(f"src/flairprep/a ({known['src/flairprep/a'][:7]}, ")
    assert code.dvc_hash(package / "a")[:7] in told
    (package / "b.py").unlink()
    assert [told.split()[0] for told in code.differing(known, package)] == list(known)
