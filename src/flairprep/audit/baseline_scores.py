"""Score each case by what is no image: the baselines that a network is compared with, on the same cases."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from flairprep.audit.association import Columns, encode, is_constant, out_of_fold_scores
from flairprep.audit.shortcuts import Cohort

PATIENT = ("age_band", "age_band given", "sex")  # what any clinic knows before the scan


def baseline_scores(cohort: Cohort, sources: Mapping[str, Columns]) -> pd.DataFrame:
    """Return one row per case: case_id, fold, and a column of scores per source, and of age and sex.

    A score is that of the source's classifier, `association.out_of_fold_scores`, fitted on the other folds: as a
    network is whose validation fold is the case's. Scores rank cases; they are no probabilities. NaN for a source whose
    columns are all constant.

    Args:
        cohort: the cases.
        sources: columns per classifier, of `sources.collect`.
    """
    fields = {name: values for columns in sources.values() for name, values in columns.items()}
    known = {name: fields[name] for name in PATIENT if name in fields}
    table = pd.DataFrame({"case_id": cohort.case_ids, "fold": cohort.folds})
    for name, columns in {**sources, "age and sex": known}.items():
        varied = {column: values for column, values in columns.items() if not is_constant(values)}
        table[name] = np.nan
        if varied and len(np.unique(cohort.folds)) > 1:
            scores = out_of_fold_scores(encode(varied), cohort.folds, cohort.labels[:, None])
            table[name] = np.round(scores[:, 0], 6)
    return table
