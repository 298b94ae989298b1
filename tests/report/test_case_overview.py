"""The rows of the gallery and the list of what is to be looked at."""

import pandas as pd

from flairprep.report import case_overview
from flairprep.report.case_overview import CaseOverview

INGESTED = pd.DataFrame(
    [
        ("c", "ok", "", "", "axial", "ge"),
        ("a", "failed", "NOT_MR", "CT", "", ""),
        ("b b", "warned", "WHOLE_HEAD", "face", "coronal", "other"),
    ],
    columns=["case_id", "status", "code", "message", "plane", "manufacturer"],
)
SPLIT = pd.DataFrame({"case_id": ["b b"], "label": ["1"], "group": ["b b"], "fold": ["2"]})
SCORED = pd.DataFrame({"case_id": ["b b"], "label": ["1"], "probability": ["0.25"], "wrong": ["1.0"], "flips": ["0"]})
LOST = pd.DataFrame([("c", "failed", "EMPTY_FOREGROUND", "none")], columns=["case_id", "status", "code", "message"])


def joined() -> list[CaseOverview]:
    """The three cases, the last of which normalize lost and the stages after it handed on."""
    return case_overview.join(INGESTED, {"normalize": LOST, "export": LOST}, SPLIT, SCORED, {}, {})


def test_a_row_joins_what_all_stages_know() -> None:
    first, second, third = joined()
    assert (first.case_id, first.status, first.stage, first.label, first.probability) == (
        "a",
        "failed",
        "ingest",
        "",
        None,
    )
    assert (second.label, second.fold, second.probability, second.wrong) == ("1", "2", 0.25, 1.0)
    assert second.fields["manufacturer"] == "other"
    assert (third.status, third.code, third.stage) == ("failed", "EMPTY_FOREGROUND", "normalize")


def test_without_ingest_there_are_no_cases() -> None:
    assert case_overview.join(None, {"normalize": None}, None, None, {}, {}) == []


def test_the_place_of_a_case_holds_no_space() -> None:
    assert joined()[1].place == "case-b%20b"


def test_failures_and_warnings_are_one_fault_a_code_failures_first() -> None:
    many = [
        *joined(),
        *(CaseOverview(str(i), "warned", "WHOLE_HEAD", "other", "ingest", "", "", "", {}) for i in range(20)),
    ]
    faults = case_overview.of_cases(many)
    assert [(fault.level, fault.stage, fault.code) for fault in faults] == [
        ("fail", "ingest", "NOT_MR"),
        ("fail", "normalize", "EMPTY_FOREGROUND"),
        ("warn", "ingest", "WHOLE_HEAD"),
    ]
    assert faults[0].text == "1 case failed: NOT_MR: CT"
    assert faults[2].text == "21 cases warned of: WHOLE_HEAD: face, ..."
    assert len(faults[2].cases) == 21


def test_leaks_and_shortcuts_are_faults_and_link_to_their_row() -> None:
    items = [
        {"verdict": verdict, "name": verdict, "text": "x"} for verdict in ("clean", "shortcut", "not testable", "leak")
    ]
    faults = case_overview.of_audit({"items": items})
    assert [(fault.level, fault.href) for fault in faults] == [("fail", "#audit-1"), ("fail", "#audit-3")]
    assert case_overview.of_audit(None) == []


def test_checks_that_fail_come_before_those_that_warn() -> None:
    checks = [{"verdict": verdict, "name": "n", "text": "x"} for verdict in ("warn", "pass", "fail")]
    faults = case_overview.of_sanity({"checks": checks})
    assert [(fault.level, fault.href) for fault in faults] == [("fail", "#sanity-2"), ("warn", "#sanity-0")]
    assert case_overview.of_sanity(None) == []


def test_cases_without_a_label_or_a_scan_are_named() -> None:
    balance = {"unlabelled": [f"{i}" for i in range(9)], "without_scan": ["x"]}
    first, second = case_overview.of_labels(balance)
    assert first.text == "9 cases with a scan, but without a label: 0, 1, 2, 3, 4, 5, 6, 7, ..."
    assert second.text == "1 case with a label, but without a scan: x"
    assert case_overview.of_labels(None) == []


def test_choices_are_the_values_that_occur() -> None:
    assert case_overview.choices(joined(), "code") == ["EMPTY_FOREGROUND", "NOT_MR", "WHOLE_HEAD"]
    assert case_overview.choices(joined(), "label") == ["1"]


def test_the_counters_count_leaks_shortcuts_and_failures() -> None:
    verdicts = [("leak", "leak"), ("leak", "clean"), ("shortcut", "shortcut"), ("shortcut", "shortcut")]
    audit = {"items": [{"kind": kind, "verdict": verdict} for kind, verdict in verdicts]}
    sanity = {"checks": [{"verdict": verdict} for verdict in ("pass", "fail", "warn")]}
    table = pd.DataFrame({"case_id": ["a", "b", "c"], "status": ["ok", "failed", "failed"], "code": "", "message": ""})
    cases = case_overview.join(table, {}, None, None, {}, {})
    found = case_overview.counters(cases, audit, sanity)
    assert [(one.name, one.number, one.href) for one in found] == [
        *(("leak", 1, "#audit"), ("shortcuts", 2, "#audit"), ("failures", 3, "#attention"))
    ]
    assert found[2].text == "2 of 3 cases, 1 of 3 checks"
    assert [one.kind for one in found] == ["bad" if one.number else "good" for one in found]
    assert [(one.number, one.kind) for one in case_overview.counters([], None, None)] == [(None, "none")] * 3
