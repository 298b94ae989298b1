"""What the results of a stage depend on: its import closure, and a version of every package."""

from pathlib import Path

import pytest
from test_architecture import SRC, closure

from flairprep.runner import code_version

REUSING = ("ingest", "normalize", "select_slices", "export")
OPTIONAL = {"distributed"}  # of the extra dask
FOUND = {"python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pyjpegls"}  # by pydicom, among what the project installs


@pytest.mark.parametrize("stage", REUSING)
def test_files_are_the_import_closure_and_every_package_has_a_version(stage: str) -> None:
    path = SRC / f"flairprep/stages/{stage}.py"
    described = code_version.describe(path)
    assert set(described["files"]) == {str(file.relative_to(SRC)) for file in closure(path)}
    assert {"numpy", "SimpleITK", "pydantic"} <= set(described["packages"])
    for package, versions in described["packages"].items():
        assert versions[0] or package in OPTIONAL, f"{package}: no distribution of that name; see DISTRIBUTIONS"
    assert ("pydicom" in described["packages"]) == (stage == "ingest")


def test_decoders_count_with_pydicom() -> None:
    names = code_version.DISTRIBUTIONS["pydicom"]
    versions = dict(
        zip(names, code_version.describe(SRC / "flairprep/dicom/volume.py")["packages"]["pydicom"], strict=True)
    )
    assert all(versions[name] for name in FOUND)


def test_a_comment_is_another_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "src/flairprep/runner"
    package.mkdir(parents=True)
    for name, text in (
        ("a", "def f() -> None:\n    from flairprep.runner import b\n"),
        ("b", "import numpy.linalg\n"),
        ("c", ""),
    ):
        (package / f"{name}.py").write_text(text)
    monkeypatch.setattr(code_version, "__file__", str(package / "code_version.py"))
    before = code_version.describe(package / "a.py")
    assert set(before["files"]) == {"flairprep/runner/a.py", "flairprep/runner/b.py"}
    assert set(before["packages"]) == {"numpy"}
    (package / "c.py").write_text("# no part of it")
    assert code_version.describe(package / "a.py") == before
    (package / "b.py").write_text("import numpy.linalg  # comment\n")
    after = code_version.describe(package / "a.py")
    assert {name for name, value in after["files"].items() if value != before["files"][name]} == {
        "flairprep/runner/b.py"
    }
