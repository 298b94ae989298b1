"""flairprep verdict: what evaluate printed, and how many runs this one was chosen from."""

import json
from pathlib import Path

import pandas as pd

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.evaluation.baselines import told
from flairprep.evaluation.diagnosis import Diagnosis
from flairprep.evaluation.measures import EvaluateParams
from flairprep.evaluation.verdict import sentence

METRICS = Path("reports/metrics.json")
BASELINES = Path("reports/evaluate/baselines.csv")
DIAGNOSIS = Path("reports/evaluate/diagnosis.json")


def verdict() -> str:
    """Return the verdict from reports/metrics.json, the number of runs that DVC knows, and the diagnosis.

    Raises:
        FlairprepError: there is no reports/metrics.json.
    """
    if not METRICS.is_file():
        raise FlairprepError(f"{METRICS}: no such file; `dvc repro` makes it")
    section = params.load(EvaluateParams, "evaluate")
    lines = [sentence(json.loads(METRICS.read_text()), section.alpha)]
    if BASELINES.is_file() and (beside := told(pd.read_csv(BASELINES), "\n    ")):
        lines.append(f"  {beside}")
    lines.append(f"  {_search(section)}")
    if DIAGNOSIS.is_file():
        lines.append(str(Diagnosis(**json.loads(DIAGNOSIS.read_text()))))
    return "\n".join(lines)


def _search(section: EvaluateParams) -> str:
    """Say how many runs there are on the same validation cases, and the p corrected for all of them."""
    from flairprep.experiments.runs import WORKSPACE, read_runs  # imports dvc
    from flairprep.experiments.search import searched

    try:
        known = read_runs()
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
