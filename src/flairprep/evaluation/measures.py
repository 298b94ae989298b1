"""Measure a run: declared and selected numbers, kept apart, and the verdict."""

import math
from typing import Annotated, Any

import numpy as np
import pandas as pd
from pydantic import Field, model_validator

from flairprep.core import params
from flairprep.evaluation import predictions
from flairprep.evaluation.predictions import Predictions
from flairprep.evaluation.verdict import verdict
from flairprep.network.train_config import DECLARED_EPOCHS
from flairprep.stats import metrics, permutation, ranking


class EvaluateParams(params.Section):
    """Section `evaluate` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    """Verdict learned below this p_auc; `flairprep compare` takes it too."""
    permutations: int = Field(ge=99)
    """For p_auc, p_within and p_selection; more than 1 / alpha. compare takes more where the settings are many."""
    seed: int = Field(ge=0)
    """Of the permutations."""
    prevalence: Annotated[float, Field(gt=0, lt=1)] | None
    """Share of label 1 where the network would be used, for ppv and npv; null: that of the validation cases."""

    primary: metrics.PairedMetric
    """The measure that decides in `flairprep compare` whether settings differ; the other one is told beside it."""

    @model_validator(mode="after")
    def _enough(self) -> "EvaluateParams":
        """Refuse permutations that cannot give a p below alpha."""
        if 1 / (1 + self.permutations) >= self.alpha:
            least = math.ceil(1 / self.alpha)
            raise ValueError(
                f"permutations: {self.permutations}: the smallest p is above alpha {self.alpha}; {least} or more"
            )
        return self


def measure(
    run: Predictions,
    monitor: metrics.Metric,
    section: EvaluateParams,
    strata: np.ndarray | None = None,
    leaked: np.ndarray | None = None,
) -> dict[str, Any]:
    """Return the numbers of the validation cases in reports/metrics.json.

    Args:
        strata: (n_cases,), of the shortcuts that the audit found; None where it found none.
        leaked: (n_cases,), bool: which cases a leak between folds touches; None where the audit found none.
    """
    options: dict[str, Any] = {"n_permutations": section.permutations, "seed": section.seed}
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
        "declared_epochs": min(DECLARED_EPOCHS, len(run.y_prob)),
        "better_than_nir": fixed["p_nir"] < section.alpha,
        "p_auc": p_auc(every),
        "p_within": None if strata is None else p_auc(every, strata),
        "leaked": int((~sound).sum()),
        "auc_without_leaks": None if sound.all() else metrics.auc(run.y_true[sound], run.declared[sound]),
        "p_without_leaks": None if sound.all() else p_auc(sound) if sound.any() else 1.0,
        **predictions.clinical_numbers(run.y_true, run.declared, run.groups, section.prevalence),
        "prevalence": float(run.y_true.mean()),
        "best_accuracy": metrics.accuracy(run.y_true, run.y_prob[best]),
        "best_epoch": best + 1,
        "p_selection": permutation.selection_p_value(
            run.y_true, run.y_prob, metric=monitor, groups=run.groups, **options
        ),
        "n": len(run.y_true),
    }
    return {"verdict": verdict(numbers, section.alpha), **numbers}


def null_of(run: Predictions, section: EvaluateParams) -> pd.DataFrame:
    """Return the null distribution behind p_auc, from the same permutations: see `predictions.null_distribution`."""
    options: dict[str, Any] = {"n_permutations": section.permutations, "seed": section.seed}
    aucs = ranking.auc_null(run.y_true, run.declared, groups=run.groups, **options)
    return predictions.null_distribution(aucs)
