"""A study from a wheel in an environment of its own, without the repository: made, run, swept, compared, upgraded."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import miniature
import pytest
from ruamel.yaml import YAML

from flairprep import __version__
from flairprep.core.params import flatten

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[1]
STAGES = {
    *("ingest", "normalize", "select_slices", "preview", "balance", "split", "audit"),
    *("export", "sanity", "train", "evaluate", "report"),
}
Edit = Callable[[Path], None]


def wheel(folder: Path, edit: Edit = lambda source: None) -> Path:
    """Build a wheel of the code here, edited."""
    source = folder / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, source)
    edit(source / "src/flairprep")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", folder, source], check=True)
    shutil.rmtree(source)
    (made,) = folder.glob("*.whl")
    return made


def replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1
    path.write_text(text.replace(old, new))


def other_number(package: Path) -> None:
    replace(package / "__init__.py", __version__, "98.0.0")


def new_param_of_report(package: Path) -> None:
    replace(package / "__init__.py", __version__, "99.0.0")
    replace(package / "stages/report.py", "    assay: ", '    site: str | None\n    """Where."""\n    assay: ')
    replace(package / "study/templates/params.yaml", "  assay: ", "  site: null   # where\n  assay: ")


class Environment:
    """An environment with the packages of this one, but flairprep from a wheel, and a user with an empty home."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.root = folder, folder / "study"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "env"], check=True)
        self.python = folder / "env/bin/python"
        site = next((folder / "env").glob("lib/python*/site-packages"))
        (site / "shared.pth").write_text(f"{sysconfig.get_path('purelib')}\n")  # its own .pth files do not count there
        command = folder / "env/bin/dvc"
        command.write_text(f'#!/bin/sh\nexec "{self.python}" -m dvc "$@"\n')
        command.chmod(0o755)
        (folder / "home").mkdir()
        own = str(Path(sys.executable).parent)
        paths = [str(self.python.parent), *(path for path in os.environ["PATH"].split(os.pathsep) if path != own)]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "PYTHON", "FLAIRPREP"))
        }
        self.variables = {
            **kept,
            **{"PATH": os.pathsep.join(paths), "HOME": str(folder / "home"), "FLAIRPREP_WORKERS": "1"},
            **{"FLAIRPREP_CACHE": str(folder / "cache"), "GIT_CEILING_DIRECTORIES": str(folder)},
        }

    def install(self, path: Path) -> None:
        """Install a wheel, in place of another one."""
        command = [sys.executable, "-m", "pip", "-q", "--python", self.python, "install", "--no-deps", "--no-index"]
        subprocess.run([*command, "--force-reinstall", path], check=True)

    def run(self, *command: str, cwd: Path | None = None, status: int = 0) -> str:
        """Return what a command prints; it must end with `status`."""
        where = cwd or self.root
        done = subprocess.run(command, cwd=where, env=self.variables, capture_output=True, text=True, check=False)
        assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout + done.stderr

    def ran(self, *command: str) -> tuple[str, ...]:
        """Return the stages that a command of DVC ran, in order."""
        return tuple(re.findall(r"Running stage '(\w+)'", self.run("dvc", *command)))

    def commit(self) -> None:
        self.run("git", "add", "-A")
        self.run("git", "commit", "-q", "--allow-empty", "-m", "kept")


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Return a study of the demo cohort after its first run, at miniature size and committed."""
    environment = Environment(tmp_path_factory.mktemp("wheel"))
    environment.install(wheel(tmp_path_factory.mktemp("first")))
    where = environment.run(str(environment.python), "-c", "import flairprep; print(flairprep.__file__)", cwd=ROOT)
    assert Path(where.strip()).is_relative_to(environment.folder / "env")
    environment.run("flairprep", "init", "study", "--demo", "12", cwd=environment.folder)
    small = miniature.MINIATURE | {"ingest.max_failed": 0.5}
    miniature.Project(environment.root).edit(**{key.replace(".", "__"): value for key, value in small.items()})
    assert set(environment.ran("repro")) == STAGES
    environment.commit()
    return environment


def test_a_run_with_another_rate_is_compared(study: Environment) -> None:
    assert study.ran("exp", "run", "-S", "lr=1e-5") == ("train", "evaluate", "report")
    study.run("git", "restore", "params.yaml")
    study.run("flairprep", "compare")
    compared = json.loads((study.root / "reports/compare.json").read_text())
    assert compared["keys"] == ["lr"]
    study.run("git", "reset", "-q", "--hard")
    study.run("dvc", "checkout", "-q")


def test_a_copy_in_which_dvc_works_finds_the_record(study: Environment) -> None:
    assert study.ran("exp", "run", "--temp", "-S", "lr=2e-5") == ("train", "evaluate", "report")


@pytest.mark.parametrize(
    "command",
    [
        *("verdict", "check", "plan", "card", "upgrade", "inspect data/raw/train", "explain 00002", "plots"),
        *("check -S lr=1e-3", "predict data/raw/train", "predict data/raw/train --run HEAD", "who 00002"),
    ],
)
def test_every_command_does_without_src(study: Environment, command: str) -> None:
    study.run("flairprep", *command.split())


def test_upgrades_rerun_the_stages_whose_code_changed(
    study: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    former = YAML(typ="safe").load(study.root / "params.yaml")
    study.run("git", "reset", "-q", "--hard")
    study.run("dvc", "checkout", "-q")
    (study.root / "params.yaml").write_text((study.root / "params.yaml").read_text() + "# mine\n")
    study.commit()

    study.install(wheel(tmp_path_factory.mktemp("second"), other_number))
    study.run("flairprep", "check")
    study.run("flairprep", "upgrade")
    assert "flairprep[cpu]==98.0.0" in (study.root / "requirements.txt").read_text()
    assert study.ran("repro") == ()
    study.commit()

    study.install(wheel(tmp_path_factory.mktemp("third"), new_param_of_report))
    study.run("flairprep", "check", status=1)
    study.run("dvc", "repro", "--force", "--single-item", "train", status=255)
    study.run("dvc", "checkout", "-q")
    told = study.run("flairprep", "upgrade")
    assert re.findall(r"stages that will run: (.*)", told) == ["report"]
    assert study.ran("repro") == ("report",)
    values = YAML(typ="safe").load(study.root / "params.yaml")
    assert flatten(values) == {**flatten(former), "report.site": None}
    assert (study.root / "params.yaml").read_text().endswith("# mine\n")
    study.commit()
    assert study.run("git", "status", "--short") == ""
    refused = study.run("flairprep", "predict", "data/raw/train", "--run", "HEAD")
    assert "error" not in refused  # report's code makes no tensor


def test_a_run_of_other_code_of_preprocessing_is_refused_with_its_version(
    study: Environment, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def edit(package: Path) -> None:
        replace(package / "__init__.py", __version__, "97.0.0")
        with (package / "stages/normalize.py").open("a") as file:
            file.write("# other\n")

    version = (study.root / "requirements.txt").read_text().split("==")[1].strip()
    study.install(wheel(tmp_path_factory.mktemp("fourth"), edit))
    told = study.run("flairprep", "predict", "data/raw/train", "--run", "HEAD", status=1)
    assert f"flairprep=={version}" in told
    study.run("flairprep", "upgrade")
    ran = study.ran("repro")
    assert ran[0] == "normalize"  # the others follow only where its bytes change
    assert "train" not in ran
    study.run("flairprep", "compare")
    assert "code" in json.loads((study.root / "reports/compare.json").read_text())["keys"]
