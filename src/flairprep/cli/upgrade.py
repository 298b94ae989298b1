"""Bring the study in the working folder to the installed flairprep, and say which stages will run."""

import argparse
from pathlib import Path

from flairprep import __version__
from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.study import upgrade


def run(_: argparse.Namespace) -> None:
    """Upgrade the study; its values, its comments and its edits of dvc.yaml stay.

    Raises:
        FlairprepError: see `study.upgrade.plan`.
    """
    planned = upgrade.plan(Path())
    if not planned.texts and not planned.gone:
        console.say(f"upgrade: the study is of the installed flairprep {__version__} already")
        return
    upgrade.carry_out(Path(), planned)
    former = "other code" if planned.former == __version__ else f"flairprep {planned.former or 'of unknown version'}"
    console.say(f"upgrade: from {former} to flairprep {__version__}")
    for key, value in planned.added.items():
        console.say(f"  new param: {key}: {params.value_of(value)}")
    for key, value in planned.removed.items():
        console.say(f"  no param any more: {key}, which was {params.value_of(value)}")
    console.say(f"  code that differs: {', '.join(planned.sources) or 'none that a stage imports'}")
    for line in _stages():
        console.say(f"  {line}")
    for fault in _faults():
        console.warn(fault)
    console.say("type next: git diff, which shows every change; git add -A; git commit -m upgrade; dvc repro")


def _stages() -> list[str]:
    """Tell which stages DVC will run."""
    from dvc.exceptions import DvcException

    try:
        stale, after = upgrade.changed_stages()
    except DvcException as error:
        return [f"which stages will run: dvc status tells, once this is settled: {' '.join(str(error).split())}"]
    if not stale:
        return ["stages that will run: none"]
    then = f"; where their inputs change, also: {', '.join(after)}" if after else ""
    return [f"stages that will run: {', '.join(stale)}{then}"]


def _faults() -> list[str]:
    """List the values that the installed version does not take."""
    from flairprep.cli import sections

    try:
        return sections.faults(params.read_params())
    except FlairprepError as error:
        return [str(error)]
