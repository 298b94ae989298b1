"""What the results of a stage depend on: its import closure, and a version of every package."""

import ast
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


def test_imports_count_in_whatever_block_they_stand() -> None:
    content = b"""
import m1
if m1:
    import m2
elif m1:
    import m3
else:
    from m4 import a
for _ in ():
    import m5
else:
    import m6
while m1:
    import m7
else:
    import m8
try:
    import m9
except* ValueError:
    import m10
else:
    import m11
finally:
    import m12
with m1:
    import m13
class C:
    import m14
    async def f(self):
        import m15
        async with m1:
            async for _ in m1:
                match m1:
                    case 1:
                        import m16
        def g():
            def h():
                from m17 import b as c
"""
    names = {f"m{number}" for number in range(1, 18)}
    assert code_version._imports(content) == names | {"m4.a", "m17.b"}


def test_imports_are_those_of_every_node() -> None:
    for path in (SRC / "flairprep").rglob("*.py"):
        content = path.read_bytes()
        nodes = [node for node in ast.walk(ast.parse(content)) if isinstance(node, ast.Import | ast.ImportFrom)]
        modules = {node.module for node in nodes if isinstance(node, ast.ImportFrom)} - {None}
        modules |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        assert modules <= code_version._imports(content)


@pytest.mark.parametrize(
    "content",
    [
        b"if True: import m1\nimport m2\n",
        b"import m1; import m2\n",
        b"import m1, \\\n    m2\n",
        b"from m1 import (  # (why) import what\n    a,\n)\nimport m2\n",
        b'"""Says when to import m3.\n\nimport m4.\n"""\nimport m1\n\nx = 1; import m2\n',
        b"from \\\n    m1 import a\nfrom m2 import (\n    b,  # :)\n)\n",
        b"\timport m1\n".replace(b"\t", b"def f():\n\t") + b"def g(): from m2 import a\n",
    ],
)
def test_imports_count_however_they_are_laid_out(content: bytes) -> None:
    assert {name.split(".")[0] for name in code_version._imports(content)} == {"m1", "m2"}
