"""docs/metrics.md, docs/statistics.md and docs/speed.md name the measures, functions and numbers that there are."""

import ast
import importlib
import re
from types import FunctionType

import numpy as np
import pandas as pd
from docs_pages import DOCS, KEYS, PIPELINE, ROOT, first_columns, rows, section

from flairprep.evaluation import measures, verdict
from flairprep.evaluation.predictions import Predictions
from flairprep.report import quality


def test_every_metric_has_a_row_and_no_other_has_one() -> None:
    rng = np.random.default_rng(0)
    ids, labels = np.array([f"{n}" for n in range(8)]), np.array([0, 1] * 4)
    predictions = Predictions(ids, labels, rng.uniform(size=(4, 8)), ids)
    section_of = measures.EvaluateParams(alpha=0.05, permutations=99, seed=0, prevalence=None, primary="auc")
    table_of = pd.DataFrame({"epoch": "1", "case_id": ids, "label": labels, "probability": "0.5", "group": ids})
    told = measures.measure(predictions, "val_loss", section_of) | verdict.of_test_fold(table_of, table_of)
    assert sorted(first_columns(DOCS["metrics"], "metric")) == sorted([*told, "diagnosis"])


def test_the_verdicts_are_those_of_the_code() -> None:
    verdicts = set(verdict.MEANING)
    assert set(first_columns(DOCS["metrics"], "verdict")) == verdicts


def test_the_diagnoses_and_the_checks_are_those_of_the_code() -> None:
    for modules, called, first in (
        ("evaluation/diagnosis.py", {"_diagnosis", "Diagnosis"}, "diagnosis"),
        ("sanity/*_checks.py", {"Check"}, "check"),
    ):
        trees = [ast.parse(path.read_text()) for path in (ROOT / "src/flairprep").glob(modules)]
        nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls = [node for node in nodes if ast.unparse(node.func) in called]
        names = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
        assert set(first_columns(DOCS["metrics"], first)) == names


def test_the_plots_are_those_of_the_pipeline() -> None:
    assert first_columns(DOCS["metrics"], "plot") == [next(iter(plot)) for plot in PIPELINE["plots"]]


def test_the_columns_of_a_scans_quality_are_those_that_preview_writes() -> None:
    assert ["case_id", *first_columns(DOCS["metrics"], "column")] == list(quality.COLUMNS)


MEASURED = section(DOCS["statistics"], "## How often they are wrong")


def test_every_statistic_has_its_place_and_every_name_is_a_function() -> None:
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", DOCS["statistics"]))
    for name in named - set(KEYS):
        module, function = name.split(".")
        (path,) = (ROOT / "src/flairprep").glob(f"*/{module}.py")
        assert callable(getattr(importlib.import_module(f"flairprep.{path.parent.name}.{module}"), function)), name
    for path in (ROOT / "src/flairprep/stats").glob("[a-z]*.py"):
        module = importlib.import_module(f"flairprep.stats.{path.stem}")
        functions = {name for name, value in vars(module).items() if isinstance(value, FunctionType)}
        own = {name for name in functions if vars(module)[name].__module__ == module.__name__ and name[0] != "_"}
        assert {f"{path.stem}.{name}" for name in own} <= named, path


def test_every_number_that_was_measured_stands_in_the_results() -> None:
    printed = "".join(path.read_text() for path in (ROOT / "bench/results").glob("*.txt"))
    numbers = [n for row in rows(MEASURED)[2:] for n in re.findall(r"\d+(?:\.\d+)?%|\d+ of \d+", row[-1])]
    assert len(numbers) > 20
    assert not [n for n in numbers if n not in printed]


def test_every_measured_time_and_ratio_stands_in_the_results() -> None:
    printed = "".join(path.read_text() for path in (ROOT / "bench/results").glob("*.txt"))
    told = DOCS["speed"].partition("## A plan")[0]
    numbers = [n for n in re.findall(r"\d+\.\d\d+", told) if n != "0.9375"]
    assert len(numbers) > 10
    assert not [n for n in numbers if n not in printed]


def test_every_reference_is_given_and_used() -> None:
    given = [int(n) for n in re.findall(r"^(\d+)\. ", section(DOCS["statistics"], "## References"), re.MULTILINE)]
    used = {int(n) for n in re.findall(r"\[(\d+)\](?!\()", DOCS["statistics"])}
    assert given == sorted(used) == list(range(1, len(given) + 1))
