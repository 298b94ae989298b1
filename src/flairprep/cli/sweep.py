"""flairprep sweep: the commands of a sweep that starts from the last commit, without the runs that exist."""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from ruamel.yaml import YAML

from flairprep.core import console, params, stage_times
from flairprep.core.errors import FlairprepError

QUEUE = "dvc exp run --queue"
ENDING = ("dvc exp run --run-all", "flairprep compare")


class Plan(NamedTuple):
    """What to print: comments, and the commands to type."""

    comments: list[str]
    commands: list[str]


def run(options: argparse.Namespace) -> None:
    """Print the sweep of `options.assignments`, comments and commands; with `options.do` type the commands too."""
    made = plan(options.assignments)
    for comment in made.comments:
        console.say(f"# {comment}")
    for command in made.commands:
        console.say(command)
        if options.do:
            _do(command)


def _do(command: str) -> None:
    """Run a command as if typed where this program's environment is active.

    Raises:
        FlairprepError: it failed.
    """
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    status = subprocess.run(shlex.split(command), env={**os.environ, "PATH": path}, check=False).returncode
    if status:
        raise FlairprepError(f"{command}: exit status {status}; `dvc queue status` shows what is left of the sweep")


def plan(assignments: Sequence[str]) -> Plan:
    """Plan the sweep over all combinations of `assignments`, KEY=VALUE,VALUE or KEY=FIRST..LAST.

    All other params are those of the last commit: what differs in the workspace is set back in each command, since the
    queue starts from the workspace.

    Raises:
        FlairprepError: no commit, a key or value that params.yaml cannot have, or a difference that -S cannot set back.
    """
    from flairprep.experiments import committed, sweep

    now, then = params.read_params(), committed.committed_params()
    if then is None:
        raise FlairprepError(
            f"{params.FILE}: not in the last commit, from which a sweep starts; git add -A, then git commit"
        )
    swept = [sweep.expand(assignment) for assignment in assignments]
    keys = [_key(override) for override in swept]
    combinations = _combinations(swept, then)
    others = [override for override in sweep.set_back(now, then) if _key(override) not in keys]
    _prove(others, swept, now, [values for _, values in combinations])
    comments = []
    if changed := {key: change for key, change in committed.changes(now, then).items() if key not in keys}:
        comments.append(f"starts from the last commit; the workspace differs: {committed.told(changed)}")
    left, told = _left(combinations)
    comments += told
    commands = [
        shlex.join([*shlex.split(QUEUE), *(word for one in [*others, *product] for word in ("-S", one))])
        for product in _products(keys, left)
    ]
    if left:
        comments.append(f"{console.plural(len(left), 'run')} to make, {_times(keys, len(left))}")
    return Plan(comments, [*commands, *(ENDING if left else ENDING[1:])])


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _combinations(overrides: Sequence[str], values: dict[str, Any]) -> list[tuple[list[str], dict[str, Any]]]:
    """Return the overrides and the values of params.yaml of each run, all of them allowed."""
    from flairprep.cli import sections
    from flairprep.cli.overrides import combinations, key_fault

    if faults := [fault for override in overrides if (fault := key_fault(override, values))]:
        raise FlairprepError("\n       ".join(faults))
    try:
        made = list(combinations(overrides, values))
    except ValueError as error:
        raise FlairprepError(f"{' '.join(overrides)}: {error}") from error
    if faults := list(dict.fromkeys(fault for _, chosen in made for fault in sections.faults(chosen))):
        raise FlairprepError("\n       ".join(faults))
    return made


def _prove(others: Sequence[str], swept: Sequence[str], now: dict[str, Any], wanted: Sequence[dict[str, Any]]) -> None:
    """Refuse overrides of which Hydra does not make the values that are wanted."""
    from flairprep.cli.overrides import combinations

    try:
        made = [values for _, values in combinations([*others, *swept], now)]
    except ValueError:
        made = []
    if made != list(wanted):
        keys = ", ".join(dict.fromkeys(map(_key, others)))
        raise FlairprepError(
            f"{params.FILE}: {keys}: differ from the last commit in a way that -S cannot set back; commit them, or "
            f"take the committed ones: git restore {params.FILE}"
        )


def _left(combinations: Sequence[tuple[list[str], dict[str, Any]]]) -> tuple[list[list[str]], list[str]]:
    """Return the overrides of the runs that are still to be made, and what to say of the others."""
    from flairprep.experiments import runs, sweep

    known = runs.read_runs()
    name = known.same_as.get(runs.WORKSPACE, runs.WORKSPACE)
    reference = next((run for run in known.runs if run.name == name), None)
    if reference is None:
        why = known.skipped.get(name, "there is none in the workspace")
        return [chosen for chosen, _ in combinations], [f"no run is skipped, since the last one cannot be read: {why}"]
    if edited := _edited(known_stages=("ingest", "split", *runs.CODE_STAGES)):
        return [chosen for chosen, _ in combinations], [
            f"no run is skipped, since these have changed: {', '.join(edited)}"
        ]
    left, comments = [], []
    for chosen, values in combinations:
        if existing := sweep.find_existing(values, known.runs, reference):
            comments.append(f"exists as {existing.name}: {' '.join(chosen)}")
        else:
            left.append(chosen)
    if waiting := [name for name, state in known.skipped.items() if state in ("queued", "running")]:
        comments.append(f"{console.plural(len(waiting), 'run')} in the queue already, not looked at: dvc queue status")
    return left, comments


def _edited(known_stages: Sequence[str]) -> list[str]:
    """List the code and data of these stages that have changed since the workspace's run; their results are neither."""
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    try:
        with Repo() as repo:
            outs = [
                Path(str(out)) for stage in repo.index.stages if stage.is_data_source is False for out in stage.outs
            ]
            status = repo.status()
    except DvcException as error:
        raise FlairprepError(f"{error}; sweep reads what `dvc status` shows") from error
    changed = [
        path
        for stage, entries in status.items()
        if stage in known_stages
        for entry in entries
        if isinstance(entry, dict)
        for path, how in entry.get("changed deps", {}).items()
        if isinstance(how, str) and not any(out == Path(path) or out in Path(path).parents for out in outs)
    ]
    return list(dict.fromkeys(changed))


def _products(keys: Sequence[str], left: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the overrides of each command: together they make the runs of `left`, each once."""
    from flairprep.experiments import sweep

    values = [tuple(override.partition("=")[2] for override in chosen) for chosen in left]
    return [
        [f"{key}={','.join(values)}" for key, values in zip(keys, product, strict=True)]
        for product in sweep.cover(values)
    ]


def _times(keys: Sequence[str], count: int) -> str:
    """Say how long `count` runs take, by the stages' last runs."""
    from flairprep.experiments import sweep

    stages = YAML(typ="safe", pure=True).load(Path("dvc.yaml"))["stages"]
    known, unknown = sweep.times_of(sweep.stages_rerun(stages, keys), stage_times.last())
    if unknown:
        return f"how long is unknown before {', '.join(unknown)} ran here (dvc repro)"
    each = sum(known.values())
    by_stage = ", ".join(f"{stage} {sweep.duration(seconds)}" for stage, seconds in known.items())
    one = f"by the last run about {sweep.duration(each)} each ({by_stage})"
    return one if count == 1 else f"{one}, {sweep.duration(count * each)} one after another"
