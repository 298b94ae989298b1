"""Tell from ingest's table which cases are sessions of one patient (`ingest.session: each`)."""

import pandas as pd


def patients_of(cases: pd.DataFrame) -> dict[str, str]:
    """Return, by the id of each case that is one of several sessions, PATIENT_2, the id of its patient, PATIENT.

    cases: case_id and session, its ordinal, "" for a whole patient; a table without sessions may lack the column.
    """
    if "session" not in cases.columns:
        return {}
    rows = cases.loc[cases["session"].fillna("") != "", ["case_id", "session"]]
    return {case_id: case_id.removesuffix(f"_{session}") for case_id, session in rows.itertuples(index=False)}
