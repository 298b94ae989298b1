"""Bring a study to the installed flairprep: its pipeline, its params, its record of the code."""

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flairprep import __version__
from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.study import files, params_text


@dataclass(frozen=True)
class Upgrade:
    """What an upgrade would do. former: the version that the study is of, None where it does not say.

    texts: of the files to write; gone: records of code that no stage depends on any more. sources: whose code differs.
    added: new params with their defaults; removed: params that are none any more, with the values that they had.
    """

    former: str | None
    texts: dict[Path, str]
    gone: list[Path]
    sources: list[str]
    added: dict[str, Any]
    removed: dict[str, Any]


def plan(root: Path) -> Upgrade:
    """Plan the upgrade of the study in `root`; write nothing.

    Raises:
        FlairprepError: it is a clone or no study; a file of it is missing or cannot be read; or its own edits of
            dvc.yaml meet those of the new version.
    """
    _check_study(root)
    new_pipeline = files.template("pipeline.yaml")
    pipeline = merged(_read(root, files.PIPELINE), _read(root, files.BASE), new_pipeline)
    change = params_text.upgraded(_read(root, files.PARAMS), files.template("params.yaml"))
    requirements = root / installed.REQUIREMENTS
    pins = requirements.read_text("utf-8") if requirements.is_file() else ""
    wanted = {
        files.PIPELINE: pipeline,
        files.BASE: new_pipeline,
        files.PARAMS: change.text,
        installed.REQUIREMENTS: files.with_pin(pins),
        **{path: _with_lines(root / path, files.template(name)) for path, name in files.IGNORED.items()},
        **files.tools(),
        **(record := files.record(pipeline)),
    }
    recorded = [path.relative_to(root) for path in sorted((root / installed.RECORD).rglob("*.md5"))]
    return Upgrade(
        former=installed.pinned(pins),
        texts={path: wanted[path] for path in files.stale(root, wanted)},
        gone=[path for path in recorded if path not in record],
        sources=installed.differing(root),
        added=change.added,
        removed=change.removed,
    )


def carry_out(root: Path, upgrade: Upgrade) -> None:
    """Write the files of an upgrade, the record of the code last: until then the stages refuse to run."""
    record = {path: text for path, text in upgrade.texts.items() if installed.source_of(path.as_posix())}
    files.write(root, {path: text for path, text in upgrade.texts.items() if path not in record})
    for path in upgrade.gone:
        (root / path).unlink()
    files.write(root, record)


def merged(own: str, base: str, new: str) -> str:
    """Return dvc.yaml of the new version with what its user changed, by git's three-way merge.

    own: as it is; base: as the former version wrote it.

    Raises:
        FlairprepError: both changed the same lines.
    """
    if own in (base, new):
        return new
    with tempfile.TemporaryDirectory(prefix="flairprep-") as name:
        paths = [Path(name) / part for part in ("own", "base", "new")]
        for path, text in zip(paths, (own, base, new), strict=True):
            path.write_text(text, encoding="utf-8")
        command = ["git", "merge-file", "-p", "-q", *map(str, paths)]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise FlairprepError(
            f"{files.PIPELINE}: your edits meet those of flairprep {__version__} in {max(1, done.returncode)} places; "
            f"see yours: git diff --no-index {files.BASE} {files.PIPELINE}; take them out: cp {files.BASE} "
            f"{files.PIPELINE}; upgrade, and make them again"
        )
    return done.stdout.decode("utf-8")


def changed_stages() -> tuple[list[str], list[str]]:
    """Return the stages of the study in the working folder that DVC would run now, and those that may follow them."""
    from dvc.repo import Repo
    from dvc.stage import PipelineStage

    with Repo() as repo:
        graph = repo.index.graph  # its edges lead from a stage to those whose outs it reads
        order = [stage for stage in repo.index.stages if isinstance(stage, PipelineStage)]
        status = repo.status()
        stale = [stage for stage in order if stage.addressing in status]
        reached, waiting = set(stale), list(stale)
        while waiting:
            new = set(graph.predecessors(waiting.pop())) - reached
            reached |= new
            waiting += new
    after = [stage.addressing for stage in order if stage in reached and stage not in stale]
    return [stage.addressing for stage in stale], after


def _check_study(root: Path) -> None:
    if (root / "src/flairprep").is_dir():
        raise FlairprepError(f"{root.absolute()}: a clone; git pull and make setup bring it to the newest version")
    if not (root / installed.RECORD).is_dir():
        raise FlairprepError(
            f"{root.absolute()}: no study, since there is no {installed.RECORD}; type it in the folder of one, or make "
            "one: flairprep init DIR"
        )


def _read(root: Path, path: Path) -> str:
    try:
        return (root / path).read_text(encoding="utf-8")
    except OSError as error:
        raise FlairprepError(
            f"{path}: cannot be read ({error.strerror}); restore it: git checkout HEAD -- {path}"
        ) from error


def _with_lines(path: Path, template: str) -> str:
    """Return the text of a file of patterns with the template's lines that it lacks."""
    own = path.read_text(encoding="utf-8") if path.is_file() else ""
    lines = own.splitlines()
    lacking = [line for line in template.splitlines() if line not in lines]
    return "\n".join([*lines, *lacking]) + "\n" if lacking else own
