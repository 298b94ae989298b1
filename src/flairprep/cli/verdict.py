"""flairprep verdict: what evaluate printed, how many runs this one was chosen from, and which params differ."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.evaluation.baselines import told
from flairprep.evaluation.diagnosis import Diagnosis
from flairprep.evaluation.measures import EvaluateParams
from flairprep.evaluation.verdict import sentence
from flairprep.experiments import committed
from flairprep.experiments.runs import WORKSPACE, read_runs
from flairprep.experiments.search import searched

METRICS = Path("reports/metrics.json")
BASELINES = Path("reports/evaluate/baselines.csv")
DIAGNOSIS = Path("reports/evaluate/diagnosis.json")


def show() -> None:
    """Print the verdict: in a box on a terminal, else as plain text.

    Raises:
        FlairprepError: there is no reports/metrics.json.
    """
    if not console.shows_text():
        console.say(verdict())
        return
    from rich.console import Console

    from flairprep.cli import verdict_box

    terminal = Console(highlight=False)
    terminal.print(verdict_box.render(_numbers().splitlines(), _metrics(), terminal))
    if text := _diagnosis():
        console.say(text)  # outside of the box: it ends in a command, which a frame would cut


def verdict() -> str:
    """Return the verdict from reports/metrics.json, the number of runs that DVC knows, and the diagnosis.

    Raises:
        FlairprepError: there is no reports/metrics.json.
    """
    return "\n".join(text for text in (_numbers(), _diagnosis()) if text)


def _numbers() -> str:
    section = params.load(EvaluateParams, "evaluate")
    lines = [sentence(_metrics(), section.alpha)]
    if BASELINES.is_file() and (beside := told(pd.read_csv(BASELINES), "\n    ")):
        lines.append(f"  {beside}")
    lines.append(f"  {_search(section)}")
    lines += [f"  {line}" for line in differing()]
    return "\n".join(lines)


def _diagnosis() -> str:
    return str(Diagnosis(**json.loads(DIAGNOSIS.read_text()))) if DIAGNOSIS.is_file() else ""


def _metrics() -> dict[str, Any]:
    if not METRICS.is_file():
        raise FlairprepError(f"{METRICS}: no such file; `dvc repro` makes it")
    return dict(json.loads(METRICS.read_text()))


def differing() -> list[str]:
    """Say in a line which values of params.yaml differ from the last commit, which queued runs would inherit.

    None where none does, or where there is no commit to compare with.
    """
    try:
        then = committed.committed_params()
        found = {} if then is None else committed.changes(params.read_params(), then)
    except FlairprepError as error:
        return [str(error)]
    if not found:
        return []
    return [f"params.yaml differs from the last commit: {committed.told(found)}; git restore {params.FILE} undoes it"]


def _search(section: EvaluateParams) -> str:
    """Say how many runs there are on the same validation cases, and the p corrected for all of them."""
    try:
        known = read_runs(queue=False)
    except FlairprepError as error:
        return f"other runs are not counted: {error}"
    found = searched(known, alpha=section.alpha, permutations=section.permutations, seed=section.seed)
    if found is None:
        why = known.skipped.get(WORKSPACE, "it is not among those that DVC knows")
        return f"other runs are not counted, since this one could not be read: {why}"
    if found.runs == 1:
        return "the only run that DVC knows on these validation cases"
    within = "" if found.p_within is None else f", within the strata of the shortcuts p = {found.p_within:.3g}"
    learned = max(found.p_auc, found.p_within or 0) < section.alpha
    so = "" if learned else ": what a search of so many runs finds on noise as well"
    counted = f"one of {found.runs} runs on these validation cases; corrected for all of them"
    return f"{counted} p = {found.p_auc:.3g}{within}{so}"
