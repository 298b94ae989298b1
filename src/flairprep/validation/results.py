"""Assemble the numbers of an external validation: validation.json and predictions.csv."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from flairprep.core.errors import FlairprepError
from flairprep.core.files import number
from flairprep.core.outcomes import Status
from flairprep.evaluation import predictions
from flairprep.evaluation.measures import EvaluateParams, measure
from flairprep.evaluation.predictions import Predictions
from flairprep.stats import metrics
from flairprep.stats.clinical import calibration
from flairprep.validation.apply import Applied, header_table
from flairprep.validation.examine import Examination
from flairprep.validation.recalibration import Recalibration, moved, recalibrate
from flairprep.validation.shift import ALPHA, FieldShift

BY = ("manufacturer", "field_strength", "plane", "sex", "age_band")
OF_EPOCHS = ("best_accuracy", "best_epoch", "p_selection", "declared_epochs")  # there are no epochs to choose from
DIGITS = 7  # of probabilities, as predictions.csv has them: a network sums 32-bit numbers in any order
COLUMNS = (
    *("case_id", "label", "probability", "recalibrated", "predicted", "status", "code", "message"),
    *("outside_p", "outside", "leak"),
)


@dataclass(frozen=True)
class Validation:
    """An external validation: content is validation.json; scored, before, after and groups feed the charts."""

    content: dict[str, Any]
    scored: Predictions
    recalibration: Recalibration | None
    groups: pd.DataFrame
    curve: pd.DataFrame
    rows: list[dict[str, str]]


def validate(
    applied: Applied,
    found: Examination,
    section: EvaluateParams,
    development: Mapping[str, Any],
    fold_of: Mapping[str, str],
) -> Validation:
    """Measure the predictions of an applied run and set them beside what sets the cohort apart.

    Args:
        development: of the run's metrics.json.
        fold_of: fold of each training case.

    Raises:
        FlairprepError: no labelled case could be predicted.
    """
    scored = applied.scored()
    if not scored:
        raise FlairprepError("every labelled case failed; predictions.csv of flairprep predict says why, case by case")
    ids = np.array([one.outcome.case_id for one in scored])
    y_true = np.array([applied.labels[case] for case in ids])
    y_prob = np.array([one.probability for one in scored], float).round(DIGITS)
    groups = np.array([applied.patients[case] for case in ids])
    run = Predictions(ids, y_true, y_prob[None], groups)
    leaked = np.array([case in found.leaked for case in ids])
    numbers = measure(run, "val_auc", section, leaked=leaked if leaked.any() else None)
    recalibration = recalibrate(y_true, y_prob, groups)
    cases = header_table(applied)
    names = [name for name in BY if (cases[name] != "").any()]
    table = predictions.by_group(run, cases, names)
    content = {
        "cases": _counts(applied, len(scored)),
        "flags": flags(found),
        "measures": {key: _plain(value) for key, value in numbers.items() if key not in OF_EPOCHS},
        "development": {key: development[key] for key in numbers if key in development and key not in OF_EPOCHS},
        "calibration": _calibration(run, recalibration),
        "shift": {
            "alpha": ALPHA,
            "shifted": [row.field for row in found.shifted],
            "fields": [row.as_item() for row in found.shifts],
        },
        "outside": {
            "cases": sum(place.outside for place in found.places.values()),
            "of": len(found.places),
            "why": {case: place.why for case, place in found.places.items() if place.outside},
        },
        "leaks": [leak.as_item(fold_of) for leak in found.leaks],
        "subgroups": [{key: _plain(value) for key, value in row.items()} for row in table.to_dict("records")],
    }
    intercept = None if recalibration is None else recalibration.intercept
    rows = _rows(applied, found, intercept)
    return Validation(content, run, recalibration, table, predictions.decision_curve(run), rows)


def flags(found: Examination) -> list[str]:
    """Say what sets the cohort apart, one sentence per family of fields and kind of leak; [] for a clean one."""
    families: dict[str, list[FieldShift]] = {}
    for row in found.shifted:
        families.setdefault(row.family, []).append(row)
    told = []
    for family, rows in families.items():
        first = rows[0]
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        told.append(f"shift of {family}: {first.field}{more}: {first.training} in training, {first.new} here")
    return [*told, *(f"leak: {leak.text}" for leak in found.leaks if leak.verdict == "leak")]


def _counts(applied: Applied, scored: int) -> dict[str, int]:
    failed = sum(one.outcome.status is Status.FAILED for one in applied.predictions)
    unlabelled = sum(one.outcome.case_id not in applied.labels for one in applied.predictions)
    return {"found": len(applied.predictions), "failed": failed, "without_label": unlabelled, "measured": scored}


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if isinstance(value, np.generic):
        value = value.item()
    return number(value) if isinstance(value, float) else value


def _calibration(run: Predictions, recalibration: Recalibration | None) -> dict[str, Any]:
    """Return the calibration before, and cross-validated after recalibration in the large; null where it cannot be."""
    before = calibration_numbers(run.y_true, run.declared, run.groups)
    if recalibration is None:
        return {"intercept": None, "before": before, "after": None}
    after = calibration_numbers(run.y_true, recalibration.y_prob, run.groups)
    return {"intercept": number(recalibration.intercept), "before": before, "after": after}


def calibration_numbers(y_true: np.ndarray, y_prob: np.ndarray, groups: np.ndarray) -> dict[str, Any]:
    """Return what calibration is measured by; all (n_cases,)."""
    intercept, slope = calibration(y_true, y_prob, groups)
    numbers = {
        "expected_over_observed": float(y_prob.mean() / y_true.mean()) if y_true.any() else float("nan"),
        "intercept": intercept.value,
        "intercept_low": intercept.low,
        "intercept_high": intercept.high,
        "slope": slope.value,
        "slope_low": slope.low,
        "slope_high": slope.high,
        "brier": metrics.brier(y_true, y_prob),
        "log_loss": metrics.log_loss(y_true, y_prob),
        "accuracy": metrics.accuracy(y_true, y_prob),
    }
    # Below the digits of the probabilities is noise: what a fit makes 0 would have other digits in every run.
    return {key: number(round(value, DIGITS - 1)) for key, value in numbers.items()}


def _rows(applied: Applied, found: Examination, intercept: float | None) -> list[dict[str, str]]:
    """Return the rows of predictions.csv; recalibrated is the probability moved by the intercept of all cases."""
    rows = []
    for one in applied.predictions:
        case = one.outcome.case_id
        place = found.places.get(case)
        row = one.row(None, None)
        known = one.probability is not None and intercept is not None
        row["recalibrated"] = f"{float(moved(np.array(one.probability), intercept or 0.0)):.7f}" if known else ""
        row["label"] = str(applied.labels.get(case, ""))
        row["outside_p"] = f"{place.p:.4f}" if place else ""
        row["outside"] = place.why or "yes" if place and place.outside else ""
        row["leak"] = "; ".join(
            leak.name
            for leak in found.leaks
            for match in leak.matches
            if leak.verdict == "leak" and match.case_id == case
        )
        rows.append({name: row[name] for name in COLUMNS})
    return rows
