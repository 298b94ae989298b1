"""evaluate: did it learn? Declared and selected numbers, kept apart, and the verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field
from sklearn.metrics import roc_curve

from flairprep import console, files, params, recipe, stats
from flairprep.cases import read_csv, write_csv

TRAIN = Path("data/train")
SPLIT = Path("data/split/split.csv")
OUT = Path("reports/metrics.json")
PLOTS = Path("reports/evaluate")
DECLARED_EPOCHS = 3  # fixed before any run: the mean probability of the last three epochs
BINS = 20


class Params(params.Section):
    """Section `evaluate` of params.yaml."""

    alpha: float = Field(gt=0, lt=0.5)
    permutations: int = Field(ge=99)
    seed: int = Field(ge=0)


class Model(params.Section, extra="ignore"):
    """What evaluate needs of section `model`: the name, which says what a null train.monitor stands for."""

    name: str


def declared(y_true: np.ndarray, y_prob: np.ndarray) -> dict[str, Any]:
    """The numbers of predictions that were fixed before the run; y_prob: (n_cases,)."""
    n, correct = len(y_true), round(stats.accuracy(y_true, y_prob) * len(y_true))
    low, high = stats.clopper_pearson(correct, n)
    auc_low, auc_high = stats.auc_interval(y_true, y_prob)
    nir = stats.no_information_rate(y_true)
    return {
        "accuracy": correct / n,
        "accuracy_low": low,
        "accuracy_high": high,
        "auc": stats.auc(y_true, y_prob),
        "auc_low": auc_low,
        "auc_high": auc_high,
        "log_loss": stats.log_loss(y_true, y_prob),
        "log_loss_prior": stats.log_loss(y_true, np.full(n, np.mean(y_true))),
        "brier": stats.brier(y_true, y_prob),
        "nir": nir,
        "p_nir": stats.binomial_p_value(correct, n, nir),
        "predicted_positive": float(np.mean(y_prob > 0.5)),
    }


def evaluate(
    y_true: np.ndarray, y_prob: np.ndarray, groups: np.ndarray, monitor: stats.Metric, params: Params
) -> dict[str, Any]:
    """What reports/metrics.json holds of the validation cases; y_prob: (n_epochs, n_cases)."""
    fixed = declared(y_true, y_prob[-DECLARED_EPOCHS:].mean(axis=0))
    best = stats.best_epoch(y_true, y_prob, monitor)
    p_selection = stats.selection_p_value(
        y_true, y_prob, metric=monitor, groups=groups, n_permutations=params.permutations, seed=params.seed
    )
    best_accuracy = stats.accuracy(y_true, y_prob[best])
    selected = {"best_accuracy": best_accuracy, "best_epoch": best + 1, "p_selection": p_selection}
    verdict = "learned" if p_selection < params.alpha else "no evidence"
    if fixed["predicted_positive"] in (0, 1):
        verdict = "constant prediction"
    return {**fixed, **selected, "n": len(y_true), "verdict": verdict}


def tested(rows: pd.DataFrame) -> dict[str, Any]:
    """The numbers of the test fold, where there is one: scored once, with the kept weights."""
    if rows.empty:
        return {}
    numbers = declared(rows["label"].to_numpy(int), rows["probability"].to_numpy(float))
    return {f"test_{key}": numbers[key] for key in ("accuracy", "auc", "auc_low", "auc_high", "p_nir")}


def charts(y_true: np.ndarray, y_prob: np.ndarray, verdict: str) -> dict[str, pd.DataFrame]:
    """What the plots of the declared predictions show: roc, confusion, probability."""
    both = len(np.unique(y_true)) == 2
    fpr, tpr, _ = roc_curve(y_true, y_prob, drop_intermediate=False) if both else ([], [], [])
    edges = np.linspace(0, 1, BINS + 1)
    side = f"all {int(y_prob[0] > 0.5)}"
    note = f"constant prediction: {side}" if verdict == "constant prediction" else ""
    histogram = [
        (f"{low + 0.5 / BINS:.3f}", label, count, note)
        for label in (0, 1)
        for low, count in zip(edges, np.histogram(y_prob[y_true == label], edges)[0], strict=False)
    ]
    predicted = (y_prob > 0.5).astype(int)
    return {
        "roc": pd.DataFrame({"false_positive_rate": fpr, "true_positive_rate": tpr}).round(6),
        "confusion": pd.DataFrame({"actual": y_true, "predicted": predicted}),
        "probability": pd.DataFrame(histogram, columns=["probability", "label", "cases", "note"]),
    }


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
        f"  selected (epoch {m['best_epoch']}, the best): accuracy {m['best_accuracy']:.1%}; "
        f"p {m['p_selection']:.3g} with the selection replayed",
    ]
    least = stats.detectable_accuracy(m["n"], m["nir"], alpha) if m["nir"] < 1 else float("nan")
    if np.isfinite(least):
        lines.append(f"  {m['n']} validation cases can show a true accuracy of {least:.1%} or better (80 % power)")
    return "\n".join(lines)


def main() -> None:
    """Reads data/train and data/split/split.csv, writes reports/metrics.json and what the plots show."""
    section = params.load(Params, "evaluate")
    monitor = recipe.resolve(params.load(recipe.Params, "train"), params.load(Model, "model").name).monitor
    rows = read_csv(TRAIN / "val_predictions.csv").astype({"epoch": int, "label": int, "probability": float})
    table = rows.pivot(index="epoch", columns="case_id", values="probability")
    y_prob = table.to_numpy()
    y_true = rows.drop_duplicates("case_id").set_index("case_id")["label"].loc[table.columns].to_numpy()
    groups = read_csv(SPLIT).set_index("case_id")["group"].loc[table.columns].to_numpy()
    metrics = evaluate(y_true, y_prob, groups, monitor, section) | tested(read_csv(TRAIN / "test_predictions.csv"))
    metrics = {key: files.number(value) if isinstance(value, float) else value for key, value in metrics.items()}
    with files.whole_folder(PLOTS) as out:
        for name, chart in charts(y_true, y_prob[-DECLARED_EPOCHS:].mean(axis=0), metrics["verdict"]).items():
            write_csv(out / f"{name}.csv", chart)
        files.write_json(OUT, metrics)
    console.say(sentence(metrics, section.alpha))


if __name__ == "__main__":
    console.run(main, "evaluate")
