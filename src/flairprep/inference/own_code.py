"""Run `flairprep predict` with the code of a revision, taken from git, where it is not the installed code."""

import io
import os
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.inference import code
from flairprep.inference.run import TrainedRun

START = "from flairprep.cli.main import main; main()"


@contextmanager
def code_of(run: TrainedRun) -> Iterator[Path]:
    """Yield a temporary folder that holds the run's src/ as git has it, with the code that made its tensors.

    Raises:
        FlairprepError: git cannot give it, it is not the code of the run's dvc.lock, or it knows no `predict`.
    """
    if any(installed.source_of(path) for path in run.code):
        raise FlairprepError(f"{run.name}: {_of_study(run)}")
    remedy = f"predict in a checkout of it: git worktree add ../{str(run.revision)[:7]} {run.revision}"
    with tempfile.TemporaryDirectory(prefix="flairprep-") as name:
        command = ["git", "archive", "--format=tar", str(run.revision), "src"]
        done = subprocess.run(command, capture_output=True, check=False)
        if done.returncode:
            why = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
            raise FlairprepError(f"{run.name}: git gives no src/ of it ({' '.join(why)}); {remedy}")
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
            archive.extractall(name, filter="data")
        package = Path(name) / code.PACKAGE
        if paths := code.differing(run.code, package):
            raise FlairprepError(
                f"{run.name}: its commit does not hold the code that made its network: {', '.join(paths)} is another "
                "than in its dvc.lock; make a new network: dvc repro"
            )
        if not (package / "cli/predict.py").is_file():
            raise FlairprepError(f"{run.name}: its code has no `flairprep predict` yet; make the run again: dvc repro")
        yield Path(name) / "src"


def _of_study(run: TrainedRun) -> str:
    """Say which flairprep the run of a study needs: git holds its record of the code, not the code."""
    command = ["git", "show", f"{run.revision}:./{installed.REQUIREMENTS}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    pin = f"flairprep=={version}" if (version := installed.pinned(done.stdout)) else "the flairprep of its time"
    return (
        f"made by other code than the installed one; predict with {pin} in an environment of its own, which pip "
        "install makes, or bring the study to what is installed: flairprep upgrade, dvc repro"
    )


def predict(run: TrainedRun, arguments: Sequence[str]) -> int:
    """Run `flairprep predict` with `arguments` by the code of `run`; return its exit status."""
    with code_of(run) as src:
        environment = {**os.environ, "PYTHONPATH": str(src)}
        command = [sys.executable, "-P", "-c", START, "predict", *arguments]
        return subprocess.run(command, env=environment, check=False).returncode
