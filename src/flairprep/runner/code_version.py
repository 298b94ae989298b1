"""Describe what a stage's results may depend on: its code, Python, and the versions of packages."""

import ast
import hashlib
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

DISTRIBUTIONS = {  # of packages under another name than their distribution's, or that load others, such as decoders
    "pydicom": (
        *("pydicom", "python-gdcm", "pylibjpeg", "pylibjpeg-openjpeg", "pylibjpeg-libjpeg", "pylibjpeg-rle"),
        *("pyjpegls", "pillow"),
    ),
    "ruamel": ("ruamel.yaml",),
    "backports": ("backports.zstd",),
}
BLOCKS = ("body", "handlers", "orelse", "finalbody", "cases")  # of statements; no expression imports


def describe(module_file: Path) -> dict[str, Any]:
    """Return, as JSON, Python, the project's files that importing `module_file` executes, and the packages they import.

    files: path -> SHA-256. packages: import name -> versions of its distributions.
    """
    src = Path(__file__).resolve().parents[2]
    files: dict[str, str] = {}
    packages: set[str] = set()
    waiting = [module_file.resolve()]
    while waiting:
        path = waiting.pop()
        if (name := str(path.relative_to(src))) not in files:
            content = path.read_bytes()
            files[name] = hashlib.sha256(content).hexdigest()
            modules = _imports(content)
            own = {src / f"{module.replace('.', '/')}.py" for module in modules}
            waiting += [file for file in own if file.is_file()]
            packages |= {module.split(".")[0] for module in modules if not module.startswith("flairprep")}
    packages -= sys.stdlib_module_names
    return {
        "python": [platform.python_implementation(), platform.python_version(), platform.machine()],
        "files": dict(sorted(files.items())),
        "packages": {name: versions(name) for name in sorted(packages)},
    }


def _imports(content: bytes) -> set[str]:
    """Return the dotted names that a module imports anywhere; `from a import b` is a and a.b."""
    names: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(content)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        for block in BLOCKS:
            waiting += getattr(node, block, ())
    return names


def versions(package: str) -> list[str]:
    """Return the versions of the distributions behind a package; "" for one that is not installed."""
    installed = []
    for name in DISTRIBUTIONS.get(package, (package,)):
        try:
            installed.append(metadata.version(name))
        except metadata.PackageNotFoundError:
            installed.append("")
    return installed
