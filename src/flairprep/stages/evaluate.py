"""evaluate: did it learn? Declared and selected numbers, kept apart, the verdict, and what is wrong with the run."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.tables import read_csv, write_csv
from flairprep.evaluation import diagnosis, predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.evaluation.verdict import sentence, tested, verdict
from flairprep.network import model_config, train_config
from flairprep.stats import metrics, permutation

TRAIN = Path("data/train")
SPLIT = Path("data/split/split.csv")
CASES = Path("data/ingest/cases.csv")
AUDIT = Path("reports/audit.json")
OUT = Path("reports/metrics.json")
PLOTS = Path("reports/evaluate")
BY = ("plane", "manufacturer", "sex")


class EvaluateParams(params.Section):
    """Section `evaluate` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    permutations: int = Field(ge=99)
    seed: int = Field(ge=0)


class CommandParams(params.Section, extra="ignore"):
    """What the diagnosis needs to write its command."""

    lr: float
    epochs: int
    val_fold: int
    test_fold: int | None


def evaluate(
    found: Predictions, monitor: metrics.Metric, params: EvaluateParams, strata: np.ndarray | None = None
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
        "best_accuracy": metrics.accuracy(found.y_true, found.y_prob[best]),
        "best_epoch": best + 1,
        "p_selection": chance(None),
        "p_within": None if strata is None else chance(strata),
    }
    return {"verdict": verdict(fixed | selected, params.alpha), **fixed, **selected, "n": len(found.y_true)}


def main() -> None:
    """Reads data/train, split.csv, ingest's cases.csv and audit.json, writes metrics.json and what the plots show."""
    section, run = params.load(EvaluateParams, "evaluate"), params.load(CommandParams)
    model = params.load(model_config.ModelParams, "model")
    trained = train_config.resolve(params.load(train_config.TrainParams, "train"), model.name)
    split = read_csv(SPLIT)
    found = predictions.from_tables(read_csv(TRAIN / "val_predictions.csv"), split)
    shortcuts = json.loads(AUDIT.read_text())["strata"] if AUDIT.is_file() else {}
    measures = evaluate(found, trained.monitor, section, predictions.strata_of(found, shortcuts))
    measures |= tested(read_csv(TRAIN / "test_predictions.csv"), split)
    told = diagnosis.diagnose(
        read_csv(TRAIN / "history.csv").astype(float),
        *(found.y_true, found.y_prob),
        **run.model_dump(),
        folds=split["fold"].nunique(),
        network=model_config.resolve(model),
        recipe=trained,
    )
    measures = {key: files.number(value) if isinstance(value, float) else value for key, value in measures.items()}
    tables = {
        **predictions.charts(found.y_true, found.declared),
        "cases": predictions.per_case(found),
        "epochs": predictions.over_epochs(found),
        "reliability": predictions.reliability(found.y_true, found.declared),
        "groups": predictions.by_group(found, read_csv(CASES, ("case_id", *BY)), BY),
    }
    with files.atomic_folder(PLOTS) as out:
        for name, table in tables.items():
            write_csv(out / f"{name}.csv", table)
        files.write_json(out / "diagnosis.json", told.as_dict())
        files.write_json(OUT, measures | {"diagnosis": told.diagnosis})
    wrong = tables["cases"].loc[tables["cases"]["wrong"] == 1, "case_id"]
    console.say(sentence(measures, section.alpha))
    console.say(f"  wrong in every epoch: {', '.join(wrong) or 'no case'}; see reports/evaluate/cases.csv")
    console.say(str(told))


if __name__ == "__main__":
    console.run(main, "evaluate")
