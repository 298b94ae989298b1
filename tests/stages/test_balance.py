"""balance as a user sees it: counts compared with a count by hand, and the effects that so many cases detect."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import get_json, put, put_labels, put_scans
from workspace import contents, write_params

from flairprep.core.errors import FlairprepError
from flairprep.stages import balance
from flairprep.stats import power

SCANS = """case_id,status,plane,manufacturer,field_strength
00001,ok,axial,siemens,1.5
00002,ok,axial,ge,3
00003,warned,axial,siemens,3
00004,ok,coronal,siemens,3
00005,failed,axial,ge,3
00006,ok,axial,ge,
00007,ok,coronal,ge,3
00008,ok,axial,ge,3
"""
LABELS = """BraTS21ID,MGMT_value
00001,1
00002,1
00003,1
00004,1
00005,0
00006,0
00007,
00099,1
00098,0
"""
REPORT = "reports/balance.json"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(Path())
    put("data/ingest/cases.csv", SCANS)
    put("data/raw/train_labels.csv", LABELS)


def run(**changes: Any) -> dict[str, Any]:
    write_params(Path(), **changes)
    balance.main()
    return get_json(REPORT)


def counted(zeros: int, ones: int) -> dict[str, Any]:
    n = zeros + ones
    return {
        "cases": n,
        "label_0": zeros,
        "label_1": ones,
        "prevalence": pytest.approx(ones / n, abs=1e-6),
        "nir": pytest.approx(max(zeros, ones) / n, abs=1e-6),
    }


def cohort(ones: int, zeros: int) -> None:
    ids = pd.Series([f"{number:05d}" for number in range(ones + zeros)])
    put_scans(pd.DataFrame({"case_id": ids, "plane": "axial", "manufacturer": "ge", "field_strength": "3"}))
    put_labels(pd.DataFrame({"case_id": ids, "label": np.repeat([1, 0], (ones, zeros))}))


def test_counts_and_the_cases_that_do_not_count(capsys: pytest.CaptureFixture[str]) -> None:
    report = run()
    assert report["overall"] == counted(1, 4)
    assert report["by_plane"] == [{"value": "axial", **counted(1, 3)}, {"value": "coronal", **counted(0, 1)}]
    assert report["by_manufacturer"] == [{"value": "ge", **counted(1, 1)}, {"value": "siemens", **counted(0, 3)}]
    assert report["by_field_strength"] == [
        {"value": "", **counted(1, 0)},
        {"value": "1.5", **counted(0, 1)},
        {"value": "3", **counted(0, 3)},
    ]
    assert report["failed"] == ["00005"]
    assert report["unlabelled"] == ["00007", "00008"]
    assert report["without_scan"] == ["00098", "00099"]
    said = capsys.readouterr().out
    for line in (
        "5 labelled cases with a scan: 4 of label 1, 1 of label 0",
        "right in 80.0%",
        "1 cases labelled, but the scan failed: 00005",
        "2 cases not labelled: 00007, 00008",
        "2 cases labelled, but without a scan: 00098, 00099",
    ):
        assert line in said


def test_tables_of_the_plots_and_equal_bytes_on_a_second_run() -> None:
    report = run()
    first = contents(Path("reports"))
    assert set(first) == {"balance.json", "balance/labels.csv", "balance/detectable.csv"}
    chart = pd.read_csv("reports/balance/labels.csv", dtype={"value": str})
    assert list(chart.columns) == ["by", "value", "label", "cases"]
    assert chart.groupby("by")["cases"].sum().eq(5).all()  # every view holds every case
    assert set(chart["by"]) == {"all", "plane", "manufacturer", "field_strength"}
    unknown = chart[(chart["by"] == "field_strength") & (chart["value"] == "not given")]
    assert unknown.set_index("label")["cases"].to_dict() == {0: 1, 1: 0}
    rows = pd.read_csv("reports/balance/detectable.csv").astype(object)
    assert rows.where(rows.notna(), None).to_dict("records") == report["detectable"]
    run()
    assert contents(Path("reports")) == first


@pytest.mark.parametrize(("alpha", "share"), [(0.05, 0.8), (0.01, 0.9)])
def test_what_the_public_data_set_can_tell_from_chance(alpha: float, share: float) -> None:
    cohort(307, 278)
    report = run(balance={"alpha": alpha, "power": share})
    assert report["overall"]["nir"] == pytest.approx(307 / 585, abs=1e-6)
    rows = report["detectable"]
    assert [row["cases"] for row in rows] == [58, 117, 292, 585]
    assert rows[1]["nir"] == pytest.approx(61 / 117, abs=1e-6)
    assert rows[1]["accuracy"] == pytest.approx(power.detectable_accuracy(117, 61 / 117, alpha, share), abs=1e-6)
    assert rows[1]["auc"] == pytest.approx(power.detectable_auc(61, 56, alpha, share), abs=1e-6)
    for key in ("accuracy", "auc"):
        effects = [row[key] for row in rows]
        assert effects == sorted(effects, reverse=True)  # more cases, smaller effects
        assert 0.5 < effects[-1] < effects[0] < 1


@pytest.mark.parametrize(("ones", "zeros", "nir"), [(6, 0, 1), (0, 6, 1), (1, 0, 1), (2, 2, 0.5)])
def test_few_cases_or_one_label_detect_nothing(
    ones: int, zeros: int, nir: float, capsys: pytest.CaptureFixture[str]
) -> None:
    cohort(ones, zeros)
    report = run()
    assert report["overall"]["nir"] == nir
    assert report["overall"]["prevalence"] == pytest.approx(ones / (ones + zeros))
    assert all(row["accuracy"] is None for row in report["detectable"])
    assert all(row["cases"] >= 1 for row in report["detectable"])
    assert "80% power: no effect" in capsys.readouterr().out


def test_ids_that_lost_their_zeros_match_nothing_and_the_message_says_why() -> None:
    put("data/raw/train_labels.csv", "BraTS21ID,MGMT_value\n1,1\n2,0\n")
    with pytest.raises(FlairprepError, match=r"lines 2, 3: .*leading zeros") as caught:
        run()
    assert "data/raw/train_labels.csv" in str(caught.value)
    assert not Path("reports").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"balance": {"alpha": 0.5}}, r"balance\.alpha: 0\.5: .*less than 0\.5"),
        ({"balance": {"power": 0.5}}, r"balance\.power: 0\.5: .*greater than 0\.5"),
        ({"balance": {"alpha": math.nan}}, r"balance\.alpha: nan"),
        ({"labels": {"table": "data/raw/labels.csv"}}, r"labels\.table: 'data/raw/labels\.csv'"),
        ({"labels": {"case_column": "BraTS"}}, r"labels\.case_column; .*did you mean 'BraTS21ID'"),
    ],
)
def test_bad_parameters_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(FlairprepError, match=message):
        run(**changes)
