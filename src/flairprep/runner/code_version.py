"""What computes a stage: the code, Python and the packages that its results may depend on."""

import ast
import hashlib
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = {  # of packages that are not called as their distribution, or that find others by themselves
    "pydicom": (
        *("pydicom", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pylibjpeg-rle"),
        *("pyjpegls", "pillow"),
    ),
    "ruamel": ("ruamel.yaml",),
}


def describe(module_file: Path) -> dict[str, Any]:
    """Describe what computes a stage, as JSON: Python, the files that importing it executes, their packages."""
    src = Path(__file__).resolve().parents[2]
    files: dict[str, str] = {}
    packages: set[str] = set()
    waiting = [module_file.resolve()]
    while waiting:
        path = waiting.pop()
        if (here := str(path.relative_to(src))) not in files:
            content = path.read_bytes()
            files[here] = hashlib.sha256(content).hexdigest()
            names = _imports(content)
            own = {src / f"{name.replace('.', '/')}.py" for name in names}
            waiting += [file for file in own if file.is_file()]
            packages |= {name.split(".")[0] for name in names if not name.startswith("flairprep")}
    packages -= sys.stdlib_module_names
    return {
        "python": [platform.python_implementation(), platform.python_version(), platform.machine()],
        "files": dict(sorted(files.items())),
        "packages": {name: versions(name) for name in sorted(packages)},
    }


def _imports(content: bytes) -> set[str]:
    """The dotted names that a module imports anywhere, `from a import b` as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(content)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def versions(package: str) -> list[str]:
    """Return the versions of the distributions behind a package; "" for one that is not installed."""
    found = []
    for name in DISTRIBUTIONS.get(package, (package,)):
        try:
            found.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            found.append("")
    return found
