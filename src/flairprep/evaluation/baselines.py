"""Compare the network with what ranks the same cases without an image: audit's classifiers, age and sex."""

import numpy as np
import pandas as pd

from flairprep.evaluation.predictions import Predictions
from flairprep.stats import hypothesis_tests, metrics, replicates

COLUMNS = ("baseline", "auc", "difference", "difference_low", "difference_high", "p", "p_holm")


def against_baselines(run: Predictions, scores: pd.DataFrame | None) -> pd.DataFrame:
    """Return a row per baseline: its AUC, and that of the declared predictions minus it, paired on the same cases.

    DeLong's test (`replicates.difference`); p_holm is corrected for all baselines. Empty with one label only.

    Args:
        run: the validation cases.
        scores: text, of data/audit/baselines.csv: case_id, fold and a column per baseline; None: no audit has run.
    """
    if scores is None:
        return pd.DataFrame(columns=list(COLUMNS))
    texts = scores.set_index("case_id").drop(columns="fold").reindex(run.case_ids)
    scored = texts.apply(pd.to_numeric).dropna(axis="columns", how="all")
    here = scored.notna().all(axis=1).to_numpy()
    y_true, zeros = run.y_true[here], np.zeros(int(here.sum()), int)
    if len(np.unique(y_true)) < 2:
        return pd.DataFrame(columns=list(COLUMNS))
    rows = replicates.Rows(y_true, run.groups[here], zeros, zeros)
    found = []
    for name in scored:
        score = scored[name].to_numpy()[here]
        test = replicates.difference(rows, score, run.declared[here], "auc", folds=1)
        found.append((name, metrics.auc(y_true, score), test.estimate, test.low, test.high, test.p))
    table = pd.DataFrame(found, columns=list(COLUMNS[:-1]))
    table["p_holm"] = hypothesis_tests.holm(table["p"].to_numpy(float))
    return table.round(6)


def told(table: pd.DataFrame, separator: str = "; ") -> str:
    """Return the comparison in words, one part per baseline; table: of `against_baselines`, as numbers."""
    parts = [
        f"{row.baseline} {row.difference:+.3f} ({row.difference_low:+.3f} to {row.difference_high:+.3f}, "
        f"p {row.p_holm:.2g})"
        for row in table.itertuples()
    ]
    first = separator if "\n" in separator else " "
    return f"AUC, network minus baseline on the same cases:{first}{separator.join(parts)}" if parts else ""
