"""evaluate: judge whether the network learned: declared and selected numbers, kept apart, verdict and diagnosis."""

import json
import math
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field, model_validator

from flairprep.core import console, files, params
from flairprep.core.tables import read_csv, write_csv
from flairprep.evaluation import diagnosis, predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.evaluation.verdict import of_test_fold, sentence, verdict
from flairprep.network import model_config, train_config
from flairprep.stats import metrics, permutation, ranking

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
    """Verdict learned below this p_auc; `flairprep compare` takes it too."""
    permutations: int = Field(ge=99)
    """For p_auc, p_within and p_selection; more than 1 / alpha."""
    seed: int = Field(ge=0)
    """Of the permutations."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None
    """Share of label 1 where the network would be used, for ppv and npv; null: that of the validation cases."""

    @model_validator(mode="after")
    def _enough(self) -> "EvaluateParams":
        """Refuse permutations that cannot give a p below alpha."""
        if 1 / (1 + self.permutations) >= self.alpha:
            least = math.ceil(1 / self.alpha)
            raise ValueError(
                f"permutations: {self.permutations}: the smallest p is above alpha {self.alpha}; {least} or more"
            )
        return self


class CommandParams(params.Section, extra="ignore"):
    """Swept values that the diagnosis puts into its command."""

    lr: float
    epochs: int
    val_fold: int
    test_fold: int | None


def evaluate(
    run: Predictions,
    monitor: metrics.Metric,
    params: EvaluateParams,
    strata: np.ndarray | None = None,
    leaked: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the numbers of the validation cases in reports/metrics.json.

    Args:
        strata: (n_cases,), of the shortcuts that the audit found; None where it found none.
        leaked: (n_cases,), bool: which cases a leak between folds touches; None where the audit found none.
    """
    options: dict[str, Any] = {"n_permutations": params.permutations, "seed": params.seed}
    fixed = predictions.declared(run.y_true, run.declared, run.groups)
    best = metrics.best_epoch(run.y_true, run.y_prob, monitor)

    def p_auc(kept: np.ndarray, strata: np.ndarray | None = None) -> float:
        y_true, groups = run.y_true[kept], run.groups[kept]
        within = None if strata is None else strata[kept]
        return ranking.auc_p_value(y_true, run.declared[kept], groups=groups, strata=within, **options)

    every = np.ones(len(run.y_true), bool)
    sound = every if leaked is None else ~leaked
    numbers = {
        **fixed,
        "better_than_nir": fixed["p_nir"] < params.alpha,
        "p_auc": p_auc(every),
        "p_within": None if strata is None else p_auc(every, strata),
        "leaked": int((~sound).sum()),
        "auc_without_leaks": None if sound.all() else metrics.auc(run.y_true[sound], run.declared[sound]),
        "p_without_leaks": None if sound.all() else p_auc(sound) if sound.any() else 1.0,
        **predictions.clinical_numbers(run.y_true, run.declared, run.groups, params.prevalence),
        "prevalence": float(run.y_true.mean()),
        "best_accuracy": metrics.accuracy(run.y_true, run.y_prob[best]),
        "best_epoch": best + 1,
        "p_selection": permutation.selection_p_value(
            run.y_true, run.y_prob, metric=monitor, groups=run.groups, **options
        ),
        "n": len(run.y_true),
    }
    return {"verdict": verdict(numbers, params.alpha), **numbers}


def main() -> None:
    """Read data/train, split.csv, ingest's cases.csv and audit.json, write metrics.json and the tables of the plots."""
    section, swept = params.load(EvaluateParams, "evaluate"), params.load(CommandParams)
    model = params.load(model_config.ModelParams, "model")
    trained = train_config.resolve(params.load(train_config.TrainParams, "train"), model.name)
    split = read_csv(SPLIT)
    validation = predictions.from_tables(read_csv(TRAIN / "val_predictions.csv"), split)
    audit = json.loads(AUDIT.read_text()) if AUDIT.is_file() else {"items": [], "strata": {}}
    strata, leaked = predictions.strata_of(validation, audit["strata"]), predictions.leaked(validation, audit["items"])
    measures = evaluate(validation, trained.monitor, section, strata, leaked)
    measures |= of_test_fold(read_csv(TRAIN / "test_predictions.csv"), split)
    told = diagnosis.diagnose(
        read_csv(TRAIN / "history.csv").astype(float),
        *(validation.y_true, validation.y_prob),
        **swept.model_dump(),
        folds=split["fold"].nunique(),
        network=model_config.resolve(model),
        config=trained,
    )
    measures = {key: files.number(value) if isinstance(value, float) else value for key, value in measures.items()}
    tables = {
        **predictions.charts(validation.y_true, validation.declared),
        "cases": predictions.per_case(validation),
        "epochs": predictions.over_epochs(validation),
        "reliability": predictions.reliability(validation.y_true, validation.declared),
        "groups": predictions.by_group(validation, read_csv(CASES, ("case_id", *BY)), BY),
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
