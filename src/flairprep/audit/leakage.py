"""Find identities that cases of two folds share: patient, study, frame of reference, voxels."""

import pandas as pd

from flairprep.audit.finding import Finding

PER_IMAGE_METHODS = ("zscore", "percentile", "white_stripe", "none")  # intensity maps that use one image's statistics
IDENTITIES = {  # column of same_as.csv -> what two cases share
    "patient": "its patient",
    "study": "its study",
    "frame_of_reference": "its frame of reference",
    "voxels": "every voxel",
}
REMEDY = "keep them in one fold (split.group_column) or list all but one in ingest.exclude"


def find_shared(table: pd.DataFrame, name: str) -> Finding:
    """Find the cases that share the value of column `name` of same_as.csv with a case of another fold.

    One value in all cases means that headers were overwritten; it is not testable.

    Args:
        table: case_id, fold and the column.
        name: a key of IDENTITIES.
    """
    if table[name].nunique() == 1:
        text = f"all cases have one {name.replace('_', ' ')}, so it was written over and says nothing"
        return Finding(name, "leak", "not testable", text)
    cases = table.loc[table.groupby(name)["fold"].transform("nunique") > 1, "case_id"]
    if cases.empty:
        return Finding(name, "leak", "clean", f"no case has {IDENTITIES[name]} in common with a case of another fold")
    text = f"{len(cases)} cases have {IDENTITIES[name]} in common with a case of another fold; {REMEDY}"
    return Finding(name, "leak", "leak", text, cases=tuple(sorted(cases)))


def check_intensity_method(intensity: str) -> Finding:
    """Check that normalize.intensity takes its statistics from one image, and so from one fold."""
    name = "statistics across folds"
    if intensity in PER_IMAGE_METHODS:
        text = f"normalize.intensity {intensity} takes its statistics from the image itself, and no other stage has any"
        return Finding(name, "leak", "clean", text)
    text = f"normalize.intensity {intensity} may be fitted to several cases; choose {', '.join(PER_IMAGE_METHODS)}"
    return Finding(name, "leak", "leak", text)
