"""Join each case's outcomes in all stages into one row, and list failures and warnings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from flairprep.core.outcomes import Status
from flairprep.report.html import anchor
from flairprep.report.previews import Shown

FIELDS = ("manufacturer", "field_strength", "sex", "age_band")
SHOWN = 8  # cases that a fault names one by one


@dataclass(frozen=True)
class CaseOverview:
    """One case on the page; unknown texts are empty, unknown numbers None.

    stage: where it failed. acquired: see `acquisition`. before, after: captions of the pictures, None without one.
    """

    case_id: str
    status: str
    code: str
    message: str
    stage: str
    plane: str
    label: str
    fold: str
    fields: Mapping[str, str]
    acquired: str = ""
    before: Shown | None = None
    after: Shown | None = None
    probability: float | None = None
    wrong: float | None = None

    @property
    def place(self) -> str:
        """Return the name of its place in the page."""
        return f"case-{anchor(self.case_id)}"


@dataclass(frozen=True)
class Notice:
    """A fail or a warning with the place in the page that shows it; code: of the cases that it concerns."""

    level: Literal["fail", "warn"]
    stage: str
    text: str
    href: str
    cases: tuple[CaseOverview, ...] = ()
    code: str = ""


@dataclass(frozen=True)
class Counter:
    """One number of the first screen, and the place in the page that it leads to; None: its stage has not run."""

    name: str
    number: int | None
    text: str
    href: str

    @property
    def kind(self) -> str:
        """Return the class of its colour."""
        return "none" if self.number is None else "bad" if self.number else "good"


def join(
    ingested: pd.DataFrame | None,
    later: Mapping[str, pd.DataFrame | None],
    split: pd.DataFrame | None,
    scored: pd.DataFrame | None,
    before: Mapping[str, Shown],
    after: Mapping[str, Shown],
) -> list[CaseOverview]:
    """Join the cases of ingest's table, sorted by id, with their rows in the other tables.

    Args:
        later: the stages after ingest and their cases.csv, in order: a case that failed in one has its code.
        scored: case_id, probability, wrong of the validation cases.
    """
    if ingested is None:
        return []
    failed: dict[str, tuple[str, str, str]] = {}
    for stage, table in later.items():
        if table is not None:
            for row in table[table["status"] == Status.FAILED.value].to_dict("records"):
                failed.setdefault(row["case_id"], (stage, row["code"], row["message"]))
    homes = {} if split is None else split.set_index("case_id").to_dict("index")
    scores = {} if scored is None else scored.set_index("case_id").to_dict("index")
    cases = []
    for row in ingested.sort_values("case_id").to_dict("records"):
        case_id = row["case_id"]
        status, code, message, stage = row["status"], row["code"], row["message"], "ingest"
        if status != Status.FAILED.value and case_id in failed:
            status, (stage, code, message) = Status.FAILED.value, failed[case_id]
        home, score = homes.get(case_id, {}), scores.get(case_id, {})
        cases.append(
            CaseOverview(
                *(case_id, status, code, message, stage),
                plane=row.get("plane", ""),
                label=str(home.get("label", "")),
                fold=str(home.get("fold", "")),
                fields={name: row.get(name, "") for name in FIELDS},
                acquired=acquisition(row),
                before=before.get(case_id),
                after=after.get(case_id),
                probability=float(score["probability"]) if score else None,
                wrong=float(score["wrong"]) if score else None,
            )
        )
    return cases


def acquisition(row: Mapping[Any, str]) -> str:
    """Return plane, voxels and their size in mm of a row of ingest's table; of a failed case what is known of it."""
    if not row.get("spacing_z"):
        return row.get("plane", "")
    steps = " x ".join(f"{float(row[f'spacing_{axis}']):.3g}" for axis in "xyz" if row.get(f"spacing_{axis}"))
    return f"{row['plane']}, {row['columns']} x {row['rows']} x {row['slices']} voxels of {steps} mm"


def of_cases(cases: Sequence[CaseOverview]) -> list[Notice]:
    """Return one notice per code that stopped or marked cases, failures first."""
    kinds: dict[tuple[str, str, str], list[CaseOverview]] = {}
    for case in cases:
        if case.status != Status.OK.value:
            kinds.setdefault((case.status, case.stage, case.code), []).append(case)
    faults = []
    for (status, stage, code), those in sorted(kinds.items()):
        level: Literal["fail", "warn"] = "fail" if status == Status.FAILED.value else "warn"
        number = f"{len(those)} case{'s' if len(those) > 1 else ''}"
        done = "failed" if level == "fail" else "warned of"
        text = f"{number} {done}: {code}: {those[0].message}{', ...' if len({c.message for c in those}) > 1 else ''}"
        faults.append(Notice(level, stage, text, "#cases", tuple(those), code))
    return faults


def of_audit(audit: dict[str, Any] | None) -> list[Notice]:
    """Return one notice per leak and shortcut of reports/audit.json."""
    items = audit["items"] if audit else []
    return [
        Notice("fail", "audit", f"{item['verdict']}: {item['name']}: {item['text']}", f"#audit-{index}")
        for index, item in enumerate(items)
        if item["verdict"] in ("leak", "shortcut")
    ]


def of_sanity(sanity: dict[str, Any] | None) -> list[Notice]:
    """Return one notice per check of reports/sanity.json that failed or warned, failures first."""
    checks = sanity["checks"] if sanity else []
    return sorted(
        (
            Notice(check["verdict"], "sanity", f"{check['name']}: {check['text']}", f"#sanity-{index}")
            for index, check in enumerate(checks)
            if check["verdict"] in ("fail", "warn")
        ),
        key=lambda fault: fault.level,
    )


def counters(
    cases: Sequence[CaseOverview], audit: dict[str, Any] | None, sanity: dict[str, Any] | None
) -> list[Counter]:
    """Count leaks and shortcuts of audit.json, and the cases and checks that failed."""
    items = audit["items"] if audit else []
    counted = []
    for verdict in ("leak", "shortcut"):
        tested = [item for item in items if item["kind"] == verdict]
        found = sum(item["verdict"] == verdict for item in items)
        text = f"{len(tested)} items of the audit" if audit else "audit has not run"
        counted.append(Counter(f"{verdict}{'' if found == 1 else 's'}", found if audit else None, text, "#audit"))
    failed = sum(case.status == Status.FAILED.value for case in cases)
    checks = [check["verdict"] for check in sanity["checks"]] if sanity else []
    texts = [f"{failed} of {len(cases)} cases", f"{checks.count('fail')} of {len(checks)} checks"]
    number = failed + checks.count("fail") if cases or sanity else None
    name = "failure" if number == 1 else "failures"
    return [*counted, Counter(name, number, ", ".join(texts) if number is not None else "no stage ran", "#attention")]


def of_labels(balance: dict[str, Any] | None) -> list[Notice]:
    """Return notices of the cases that do not count, since a label or a scan is missing."""
    if not balance:
        return []
    said = (("unlabelled", "with a scan, but without a label"), ("without_scan", "with a label, but without a scan"))
    return [
        Notice("warn", "balance", f"{len(ids)} case{'s' if len(ids) > 1 else ''} {what}: {_some(ids)}", "#labels")
        for key, what in said
        if (ids := balance[key])
    ]


def _some(ids: Sequence[str]) -> str:
    return ", ".join(ids[:SHOWN]) + (", ..." if len(ids) > SHOWN else "")


def choices(cases: Sequence[CaseOverview], field: str) -> list[str]:
    """Return the values of `field` among the cases, sorted: what the page can filter by."""
    return sorted({str(getattr(case, field)) for case in cases} - {""})
