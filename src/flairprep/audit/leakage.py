"""Find what cases of two folds share: patient, study, frame of reference, voxels."""

import pandas as pd

from flairprep.audit.finding import Finding

ONE_IMAGE = ("zscore", "percentile", "white_stripe", "none")  # intensity maps with the statistics of one image alone
IDENTITY = {  # columns of same_as.csv, and what a case has of each
    "patient": "its patient",
    "study": "its study",
    "frame_of_reference": "its frame of reference",
    "voxels": "every voxel",
}
REMEDY = "keep them in one fold (split.group_column) or list all but one in ingest.exclude"


def shared(table: pd.DataFrame, name: str) -> Finding:
    """Which cases have the value of column `name` of same_as.csv in common with a case of another fold.

    table: case_id, fold and the column. Where all cases have one value, headers were rewritten: it tells nothing.
    """
    if table[name].nunique() == 1:
        text = f"all cases have one {name.replace('_', ' ')}, so it was written over and says nothing"
        return Finding(name, "leak", "not testable", text)
    cases = table.loc[table.groupby(name)["fold"].transform("nunique") > 1, "case_id"]
    if cases.empty:
        return Finding(name, "leak", "clean", f"no case has {IDENTITY[name]} in common with a case of another fold")
    text = f"{len(cases)} cases have {IDENTITY[name]} in common with a case of another fold; {REMEDY}"
    return Finding(name, "leak", "leak", text, cases=tuple(sorted(cases)))


def statistics_across_folds(intensity: str) -> Finding:
    """Whether statistics of several cases, and so of several folds, enter the volumes."""
    name = "statistics across folds"
    if intensity in ONE_IMAGE:
        text = f"normalize.intensity {intensity} takes its statistics from the image itself, and no other stage has any"
        return Finding(name, "leak", "clean", text)
    text = f"normalize.intensity {intensity} may be fitted to several cases; choose {', '.join(ONE_IMAGE)}"
    return Finding(name, "leak", "leak", text)
