"""evaluate: did it learn? Declared and selected numbers, kept apart, the verdict, and what is wrong with the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.tables import read_csv, write_csv
from flairprep.evaluation import diagnosis, predictions
from flairprep.evaluation.predictions import DECLARED_EPOCHS, Predictions
from flairprep.network import model_config, train_config
from flairprep.stats import metrics, permutation, power
from flairprep.stats import metrics as stats

TRAIN = Path("data/train")
SPLIT = Path("data/split/split.csv")
CASES = Path("data/ingest/cases.csv")
AUDIT = Path("reports/audit.json")
OUT = Path("reports/metrics.json")
PLOTS = Path("reports/evaluate")
BY = ("plane", "manufacturer", "sex")


class Params(params.Section):
    """Section `evaluate` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    permutations: int = Field(ge=99)
    seed: int = Field(ge=0)


class Run(params.Section, extra="ignore"):
    """What the diagnosis needs to write its command."""

    lr: float
    epochs: int
    val_fold: int
    test_fold: int | None


def evaluate(
    found: Predictions, monitor: stats.Metric, params: Params, strata: np.ndarray | None = None
) -> dict[str, Any]:
    """What reports/metrics.json holds of the validation cases, but the diagnosis.

    strata: (n,), of the shortcuts that the audit found; None where it found none.
    """
    fixed = predictions.declared(found.y_true, found.declared, found.groups)
    best = metrics.best_epoch(found.y_true, found.y_prob, monitor)

    def chance(strata: np.ndarray | None) -> float:
        options = {"n_permutations": params.permutations, "seed": params.seed}
        return permutation.selection_p_value(
            found.y_true, found.y_prob, metric=monitor, groups=found.groups, strata=strata, **options
        )

    selected = {
        "best_accuracy": stats.accuracy(found.y_true, found.y_prob[best]),
        "best_epoch": best + 1,
        "p_selection": chance(None),
        "p_within": None if strata is None else chance(strata),
    }
    return {**fixed, **selected, "n": len(found.y_true), "verdict": verdict(fixed | selected, params.alpha)}


def verdict(numbers: dict[str, Any], alpha: float) -> str:
    """constant prediction | no evidence | learned (shortcut) | learned."""
    if numbers["predicted_positive"] in (0, 1):
        return "constant prediction"
    if numbers["p_selection"] >= alpha:
        return "no evidence"
    return "learned" if numbers["p_within"] is None or numbers["p_within"] < alpha else "learned (shortcut)"


def tested(rows: pd.DataFrame, split: pd.DataFrame) -> dict[str, Any]:
    """The numbers of the test fold, where there is one: scored once, with the kept weights."""
    if rows.empty:
        return {}
    found = predictions.from_tables(rows, split)
    numbers = predictions.declared(found.y_true, found.declared, found.groups)
    return {f"test_{key}": numbers[key] for key in ("accuracy", "auc", "auc_low", "auc_high", "p_nir")}


def sentence(metrics: dict[str, Any], alpha: float) -> str:
    """The verdict and its numbers in words."""
    m = metrics
    auc = "no AUC (one label only)" if m["auc"] is None else f"AUC {m['auc']:.3f}"
    if m["auc_low"] is not None:  # no interval with a single case of a label
        auc += f" ({m['auc_low']:.3f}-{m['auc_high']:.3f})"
    interval = f"({m['accuracy_low']:.1%}-{m['accuracy_high']:.1%})"
    lines = [
        f"verdict: {m['verdict']}",
        f"  declared (mean of the last {DECLARED_EPOCHS} epochs): accuracy {m['accuracy']:.1%} {interval}, {auc}",
        f"  always guessing the larger class (NIR): {m['nir']:.1%}; p of the declared accuracy {m['p_nir']:.3g}",
        f"  Brier score {m['brier']:.3f}, of always answering the share of label 1: {m['nir'] * (1 - m['nir']):.3f}",
        f"  selected (epoch {m['best_epoch']}, the best): accuracy {m['best_accuracy']:.1%}; "
        f"p {m['p_selection']:.3g} with the selection replayed",
    ]
    if m["p_within"] is not None:
        lines.append(f"  p {m['p_within']:.3g} among cases that the shortcuts of reports/audit.json do not tell apart")
    least = power.detectable_accuracy(m["n"], m["nir"], alpha) if m["nir"] < 1 else float("nan")
    if np.isfinite(least):
        lines.append(f"  {m['n']} validation cases can show a true accuracy of {least:.1%} or better (80 % power)")
    return "\n".join(lines)


def main() -> None:
    """Reads data/train, split.csv, ingest's cases.csv and audit.json, writes metrics.json and what the plots show."""
    section, run = params.load(Params, "evaluate"), params.load(Run)
    model = params.load(model_config.Params, "model")
    trained = train_config.resolve(params.load(train_config.Params, "train"), model.name)
    split = read_csv(SPLIT)
    found = predictions.from_tables(read_csv(TRAIN / "val_predictions.csv"), split)
    shortcuts = json.loads(AUDIT.read_text())["strata"] if AUDIT.is_file() else {}
    metrics = evaluate(found, trained.monitor, section, predictions.strata_of(found, shortcuts))
    metrics |= tested(read_csv(TRAIN / "test_predictions.csv"), split)
    told = diagnosis.diagnose(
        read_csv(TRAIN / "history.csv").astype(float),
        *(found.y_true, found.y_prob),
        **run.model_dump(),
        folds=split["fold"].nunique(),
        network=model_config.resolve(model),
        recipe=trained,
    )
    metrics = {key: files.number(value) if isinstance(value, float) else value for key, value in metrics.items()}
    tables = {
        **predictions.charts(found.y_true, found.declared),
        "cases": predictions.per_case(found),
        "epochs": predictions.over_epochs(found),
        "reliability": predictions.reliability(found.y_true, found.declared),
        "groups": predictions.by_group(found, read_csv(CASES, ("case_id", *BY)), BY),
    }
    with files.whole_folder(PLOTS) as out:
        for name, table in tables.items():
            write_csv(out / f"{name}.csv", table)
        files.write_json(out / "diagnosis.json", told.as_dict())
        files.write_json(OUT, metrics | {"diagnosis": told.diagnosis})
    wrong = tables["cases"].loc[tables["cases"]["wrong"] == 1, "case_id"]
    console.say(sentence(metrics, section.alpha))
    console.say(f"  wrong in every epoch: {', '.join(wrong) or 'no case'}; see reports/evaluate/cases.csv")
    console.say(str(told))


if __name__ == "__main__":
    console.run(main, "evaluate")
