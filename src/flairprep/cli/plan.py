"""Print a screening design of runs for the usual advice."""

import argparse
from collections import Counter
from pathlib import Path

from flairprep.core import console, params
from flairprep.core.tables import read_csv
from flairprep.evaluation.measures import EvaluateParams
from flairprep.experiments import screening

SPLIT = Path("data/split/split.csv")


def run(_: argparse.Namespace) -> None:
    """Print the design for the seed, the folds and the cases of this project."""
    given, section = params.read_params(), params.load(EvaluateParams, "evaluate")
    cases = None
    if SPLIT.is_file():
        cases = Counter(map(int, read_csv(SPLIT, ("fold",))["fold"]))
    console.say(
        screening.plan(
            given["seed"],
            given["split"]["folds"],
            given["test_fold"],
            cases=cases,
            val_fold=given["val_fold"],
            measure=section.primary,
            alpha=section.alpha,
        )
    )
