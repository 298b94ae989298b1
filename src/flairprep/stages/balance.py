"""balance: count the cases of each label, and compute the smallest effect that so many cases detect."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from flairprep.cohort import case_ids, labels, sessions
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import Status
from flairprep.core.tables import read_csv, write_csv
from flairprep.stats import metrics, power

CASES = Path("data/ingest/cases.csv")
OUT = Path("reports/balance.json")
PLOTS = Path("reports/balance")
BY = ("plane", "manufacturer", "field_strength")
SHARES = (0.1, 0.2, 0.5, 1.0)  # of the cases: one validation fold of ten, one of five, half, all folds pooled


class BalanceParams(params.Section):
    """Section `balance` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    """Level of the one-sided tests."""
    power: float = Field(gt=0.5, lt=1)
    """Power at which an effect counts as detectable."""


def balance(cases: pd.DataFrame, labelled: pd.DataFrame, params: BalanceParams) -> dict[str, Any]:
    """Return the content of reports/balance.json from ingest's table and the labels (case_id, label).

    Returns:
        overall, and by plane, manufacturer and field strength: cases, also per label, prevalence, NIR. detectable: the
        smallest accuracy and AUC that a share of the cases detects. failed, unlabelled, without_scan: ids of the cases
        that do not count.
    """
    usable = cases[cases["status"] != Status.FAILED.value]
    both = usable.merge(labelled[["case_id", "label"]], on="case_id")
    return {
        "overall": counts(both["label"]),
        **{f"by_{name}": [{"value": v, **counts(g["label"])} for v, g in both.groupby(name)] for name in BY},
        "detectable": [detectable(both["label"].to_numpy(), share, params) for share in SHARES] if len(both) else [],
        "failed": sorted(set(labelled["case_id"]) & (set(cases["case_id"]) - set(usable["case_id"]))),
        "unlabelled": sorted(set(usable["case_id"]) - set(labelled["case_id"])),
        "without_scan": sorted(set(labelled["case_id"]) - set(cases["case_id"])),
    }


def counts(label: pd.Series) -> dict[str, Any]:
    """Count cases, cases of label 0 and 1, prevalence of 1 and no-information rate; null without a case."""
    n, ones = len(label), int(label.sum())
    shares = (ones / n, metrics.no_information_rate(label.to_numpy())) if n else (float("nan"),) * 2
    prevalence, nir = map(files.number, shares)
    return {"cases": n, "label_0": n - ones, "label_1": ones, "prevalence": prevalence, "nir": nir}


def detectable(y_true: np.ndarray, share: float, params: BalanceParams) -> dict[str, Any]:
    """Return the smallest true accuracy and AUC that `share` of the cases detects with params.power."""
    n = max(1, round(share * len(y_true)))
    n1 = round(n * float(y_true.mean()))
    nir = max(n1, n - n1) / n
    effects = {
        "accuracy": power.detectable_accuracy(n, nir, params.alpha, params.power) if nir < 1 else float("nan"),
        "auc": power.detectable_auc(n1, n - n1, params.alpha, params.power),
    }
    return {"cases": n, "nir": files.number(nir), **{key: files.number(value) for key, value in effects.items()}}


def chart(report: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of the bar chart: by, value, label, cases; one per part of a bar."""
    groups = [("all", "all cases", report["overall"])]
    groups += [(name, group["value"] or "not given", group) for name in BY for group in report[f"by_{name}"]]
    rows = [(by, value, label, group[f"label_{label}"]) for by, value, group in groups for label in (0, 1)]
    return pd.DataFrame(rows, columns=["by", "value", "label", "cases"])


def summarise(report: dict[str, Any], params: BalanceParams) -> None:
    """Print the report in a few lines."""
    overall = report["overall"]
    console.say(
        f"balance: {overall['cases']} labelled cases with a scan: {overall['label_1']} of label 1, "
        f"{overall['label_0']} of label 0; always guessing the larger class is right in {overall['nir']:.1%} (NIR)"
    )
    for row in report["detectable"]:
        least = [f"{name} {row[key]:.3f}" for key, name in (("accuracy", "accuracy"), ("auc", "AUC")) if row[key]]
        effect = f"{' and '.join(least)} or better" if least else "no effect"
        console.say(f"  {row['cases']:>5} cases detect with {params.power:.0%} power: {effect}")
    words = {"failed": "labelled, but the scan failed", "unlabelled": "not labelled"}
    for key, what in {**words, "without_scan": "labelled, but without a scan"}.items():
        if ids := report[key]:
            console.say(f"  {len(ids)} cases {what}: {', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''}")


def main() -> None:
    """Read the labels table and data/ingest/cases.csv; write reports/balance.json and the plots' tables."""
    section, where = params.load(BalanceParams, "balance"), params.load(labels.LabelsParams, "labels")
    cases = read_csv(CASES, ("case_id", "status", *BY))
    key, of_sessions = case_ids.read_key(params.dicom_dir()), sessions.patients_of(cases)
    labelled = labels.read_labels(where, set(cases["case_id"]), key, sessions=of_sessions)
    report = balance(cases, labelled, section)
    if not report["overall"]["cases"]:
        raise FlairprepError(
            f"{where.table}: none of its {len(labelled)} cases has a scan that ingest could read; ids must equal the "
            "folders' names, leading zeros included (spreadsheets drop them)"
        )
    summarise(report, section)
    with files.atomic_folder(PLOTS) as out:
        write_csv(out / "labels.csv", chart(report))
        write_csv(
            out / "detectable.csv", pd.DataFrame(report["detectable"], columns=["cases", "nir", "accuracy", "auc"])
        )
        files.write_json(OUT, report)


if __name__ == "__main__":
    console.run(main, "balance")
