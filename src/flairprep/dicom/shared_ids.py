"""Tell of patient ids that several case folders share: a placeholder, or one person's several scans."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

MANY = 4  # case folders of one id, in so many studies: rarely one person's scans
NAMED = 3  # cases that a line names, and ids that get a line of their own
ADVICE = "if these are different people, name a column that tells them apart in split.group_column"


def warnings_of(identities: Mapping[str, Mapping[str, str]], rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Return one line for each patient id that heads of many studies share, or of different sex or age.

    Args:
        identities: by case id, patient, study and voxels, as pseudonyms; "" where they are absent.
        rows: by case id, the columns sex, age_band and session.
    """
    lines = []
    for cases in _sharing(identities):
        studies = len({identities[case]["study"] or case for case in cases})
        if contradiction := _contradiction([rows[case] for case in cases]):
            told = f", though {contradiction}"
        elif min(studies, len({_folder(case, rows[case]) for case in cases})) >= MANY:
            told = ""
        else:
            continue
        lines.append(f"{len(cases)} case folders ({_few(cases)}) share one patient id in {studies} studies{told}")
    rest = len(lines) - NAMED
    shown = lines[:NAMED] + ([f"{rest} more patient ids are shared so"] if rest > 0 else [])
    return [f"{line}; split would keep them in one fold; {ADVICE}" for line in shown]


def _sharing(identities: Mapping[str, Mapping[str, str]]) -> list[list[str]]:
    """Return the cases of each patient id that differing heads of several studies share, the most cases first."""
    by_patient: dict[str, list[str]] = defaultdict(list)
    for case in sorted(identities):
        if patient := identities[case]["patient"]:
            by_patient[patient].append(case)
    shared = []
    for cases in by_patient.values():
        heads = {(identities[case]["study"] or case, identities[case]["voxels"]) for case in cases}
        if len({study for study, _ in heads}) > 1 and len({voxels for _, voxels in heads}) > 1:
            shared.append(cases)
    return sorted(shared, key=lambda cases: (-len(cases), cases))


def _contradiction(rows: list[Mapping[str, Any]]) -> str:
    """Return in what rows of one person cannot differ but do: sex, or age by 10 years or more; "" for nothing."""
    if len({row["sex"] for row in rows if row.get("sex")}) > 1:
        return "their sex differs"
    decades = [int(band.rstrip("+").split("-")[0]) for row in rows if (band := str(row.get("age_band") or ""))]
    return "their age differs by over 10 years" if decades and max(decades) - min(decades) > 10 else ""


def _folder(case: str, row: Mapping[str, Any]) -> str:
    """Return the case that a session is of (`ingest.session: each`): these are known to share their patient."""
    return case.removesuffix(f"_{row['session']}") if row.get("session") else case


def _few(cases: list[str]) -> str:
    return ", ".join(cases[:NAMED]) + (", ..." if len(cases) > NAMED else "")
