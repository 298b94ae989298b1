"""The header of every bench's output: date, versions and processor."""

import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path


def header(packages: Sequence[str]) -> str:
    """Return date, Python, the versions of the distributions `packages`, and the processor."""
    cpu = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").is_file() else []
    model = next((line.split(":")[1].strip() for line in cpu if line.startswith("model name")), platform.processor())
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{datetime.now(UTC):%Y-%m-%d}, python {platform.python_version()}, {versions}, {model}"
