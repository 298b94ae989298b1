"""Make a study of one's own: its files, and what a look at the data says of params.yaml."""

import argparse
import getpass
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flairprep import __version__
from flairprep.core import console
from flairprep.core.errors import FlairprepError
from flairprep.study import files, labels, params_text, scans

RAW = Path("data/raw")
TRAIN, TABLE = RAW / "train", RAW / "train_labels.csv"  # as params.yaml names them


@dataclass
class Data:
    """Where the data of the new study lie, and what they say. said: sentences for the terminal.

    values: of params.yaml; link: where the raw folder leads, where it is one; copy: of the table of labels; tracked:
    what of them git keeps.
    """

    dicom_dir: Path = TRAIN
    table: Path = TABLE
    values: dict[str, Any] = field(default_factory=dict)
    link: Path | None = None
    copy: Path | None = None
    tracked: list[Path] = field(default_factory=list)
    needs_key: bool = False
    said: list[str] = field(default_factory=list)


def run(options: argparse.Namespace) -> None:
    """Make the study in options.dir; write nothing where something is in the way or the data cannot be told.

    Raises:
        FlairprepError: what is in the way, or missing, and the remedy.
    """
    root, demo = options.dir, options.demo is not None
    _check_options(options)
    data = _looked_at(root, options)
    made = [data.dicom_dir] * (data.link is not None or demo) + [data.table] * (data.copy is not None or demo)
    commands = _commands(data, demo=demo)
    study = files.new(params_text.with_values(files.template("params.yaml"), data.values), _title(root), commands)
    if (root / files.CONFIG).exists():
        del study[files.CONFIG]  # of a DVC project that is there already
    files.refuse_existing(root, [*study, *made])
    if demo:
        _make_demo(root, options.demo)
    files.write(root, study)
    _place(root, data)
    first = _under_git(root, [*study, *data.tracked])
    if demo:
        _dvc(root, "add", "--quiet", str(data.dicom_dir))
    if first:
        _git(root, "commit", "--quiet", "-m", f"Study of flairprep {__version__}")
    for line in data.said:
        console.say(f"init: {line}")
    console.say(f"init: {root} is a study of flairprep {__version__}; type next:")
    for command in (f"cd {shlex.quote(str(root))}", *([] if first else ["git commit -m 'flairprep study'"]), *commands):
        console.say(f"    {command}")


def _check_options(options: argparse.Namespace) -> None:
    if shutil.which("git") is None:
        raise FlairprepError("git is not installed, and a study is kept by git and DVC; install it")
    if options.demo is not None and (options.scans or options.labels):
        raise FlairprepError("--demo makes scans and labels of its own; leave out --scans and --labels")
    if not options.labels and (options.positive is not None or options.label_column is not None):
        raise FlairprepError("--positive and --label-column say how to read a table; name it: --labels TABLE")


def _looked_at(root: Path, options: argparse.Namespace) -> Data:
    """Look at the data that the options name, and choose their places in the study."""
    data = Data()
    if options.demo is not None:
        data.tracked.append(TABLE)
        data.values["report.cohort"] = "demo of flairprep, synthetic"
    ids, key = None, None
    if options.scans:
        from flairprep.cohort import case_ids

        found = scans.look(options.scans)
        ids, key = found.ids, case_ids.read_key(options.scans)
        data.dicom_dir = _inside(root, options.scans) or TRAIN
        data.link = None if _inside(root, options.scans) else options.scans.resolve()
        data.tracked += [data.dicom_dir] * bool(data.link)
        data.needs_key = found.layout == "export" and not found.keyed
        data.values |= {"ingest.dicom_dir": data.dicom_dir.as_posix(), "ingest.sequence": found.sequence}
        data.said += [f"scans: {line}" for line in found.describe()]
    if options.labels:
        columns = labels.look(options.labels, ids, key, options.label_column, options.positive)
        among = _inside(options.scans, options.labels) if options.scans else None
        place = data.dicom_dir / among if among else _inside(root, options.labels)
        data.table = place or RAW / options.labels.name
        data.copy = None if place else options.labels
        data.tracked += [] if among else [data.table]
        data.values |= {
            "labels.table": data.table.as_posix(),
            "labels.case_column": columns.case_column,
            "labels.label_column": columns.label_column,
            "labels.positive": columns.positive,
        }
        data.said += [f"labels: {line}" for line in columns.describe()]
    if data.values:
        data.said.append("params.yaml: " + ", ".join(f"{key}: {value}" for key, value in data.values.items()))
    return data


def _inside(root: Path, path: Path) -> Path | None:
    """Return the place of a path inside `root`, None where it lies outside; a link is where it stands."""
    top, full = Path(os.path.normpath(root.absolute())), Path(os.path.normpath(path.absolute()))
    return full.relative_to(top) if full.is_relative_to(top) else None


def _title(root: Path) -> str:
    return root.resolve().name or "Study"


def _commands(data: Data, *, demo: bool) -> list[str]:
    """Return the next commands, in the order in which they are to be typed."""
    commands = ["flairprep key"] * data.needs_key
    if data.link is None and not demo:
        commands.append(f"dvc add {shlex.quote(str(data.dicom_dir))}")
    if "labels.table" not in data.values and not demo:
        commands.append(f"git add {shlex.quote(str(data.table))}")
    return [*commands, "flairprep check", "dvc repro"]


def _make_demo(root: Path, cases: int) -> None:
    from flairprep.demo import cohort

    cohort.make(root / RAW, cases=cases, signal=1.0, seed=0)
    console.say(f"init: a synthetic cohort of {cases} cases and a few faulty ones is in {root / RAW}")


def _place(root: Path, data: Data) -> None:
    """Link the raw folder to scans outside the study, and copy a table of labels from outside."""
    (root / RAW).mkdir(parents=True, exist_ok=True)
    if data.link:
        (root / data.dicom_dir).symlink_to(data.link)
        data.said.append(f"{data.dicom_dir} is a link to {data.link}; nothing was copied")
    if data.copy:
        shutil.copyfile(data.copy, root / data.table)
        data.said.append(f"{data.table} is a copy of {data.copy}, which git keeps; edit the copy")


def _under_git(root: Path, paths: Sequence[Path]) -> bool:
    """Put a study under git and DVC, and `paths` into git's index; return whether the repository is new."""
    inside = subprocess.run(["git", "rev-parse", "--show-toplevel"], cwd=root, capture_output=True, check=False)
    new = inside.returncode != 0
    if new:
        _git(root, "init", "--quiet")
        _name_a_user(root)
    top = root.resolve() if new else Path(os.fsdecode(inside.stdout.strip())).resolve()
    if not (root / ".dvc/.gitignore").exists():  # dvc init writes it
        _init_dvc(root, subdir=top != root.resolve())
    _git(root, "add", "--", *sorted(map(str, paths)))
    return new


def _init_dvc(root: Path, *, subdir: bool) -> None:
    """Run `dvc init` in a folder that has files of .dvc already."""
    waiting = root / ".dvc"
    aside = root / ".dvc.flairprep"
    waiting.rename(aside)
    try:
        _dvc(root, "init", "--quiet", *(["--subdir"] if subdir else []))
    finally:
        shutil.copytree(aside, waiting, dirs_exist_ok=True)
        shutil.rmtree(aside)


def _name_a_user(root: Path) -> None:
    """Give a new repository a user where git knows none, since each commit and `dvc exp run` need one."""
    if subprocess.run(["git", "config", "user.email"], cwd=root, capture_output=True, check=False).returncode == 0:
        return
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = "flairprep"
    _git(root, "config", "user.name", user)
    _git(root, "config", "user.email", f"{user}@localhost")
    console.say(f"init: git knows no user and dvc exp run needs one: in {root} it is now {user}@localhost")


def _git(root: Path, *arguments: str) -> None:
    _run(root, ["git", *arguments])


def _dvc(root: Path, *arguments: str) -> None:
    _run(root, [sys.executable, "-m", "dvc", *arguments])


def _run(root: Path, command: Sequence[str]) -> None:
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode:
        told = " ".join((done.stderr or done.stdout).split())
        raise FlairprepError(f"{root}: {' '.join(command[-4:])} failed: {told}")
