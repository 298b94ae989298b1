"""split as a user runs it: which cases get a fold, which stay together, what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from tables import put_labels, put_scans
from workspace import contents, write_params

from flairprep.core.errors import FlairprepError
from flairprep.stages import split


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(Path())


def cohort(n: int = 40) -> pd.DataFrame:
    """Cases 00000, 00001, ...: labels in turn, three of four axial."""
    index = np.arange(n)
    return pd.DataFrame(
        {
            "case_id": [f"{number:05d}" for number in index],
            "label": index % 2,
            "plane": np.where(index % 8 < 6, "axial", "coronal"),
        }
    )


def run(cases: pd.DataFrame, table: pd.DataFrame | None = None, **changes: Any) -> pd.DataFrame:
    put_scans(cases)
    put_labels(cases[["case_id", "label"]] if table is None else table)
    write_params(Path(), **changes)
    split.main()
    return pd.read_csv("data/split/split.csv", dtype={"case_id": str, "group": str})


def test_the_table_and_its_summary(capsys: pytest.CaptureFixture[str]) -> None:
    cases = cohort()
    table = run(cases.sample(frac=1, random_state=0))
    assert list(table.columns) == ["case_id", "label", "group", "fold"]
    assert table["case_id"].tolist() == cases["case_id"].tolist()  # sorted, zeros kept
    assert (table["label"] == cases["label"]).all()
    assert (table["group"] == table["case_id"]).all()
    assert (table.groupby(["fold", "label"]).size() == 4).all()
    said = capsys.readouterr().out
    assert "split: 40 cases of 40 groups in 5 folds" in said
    assert said.count("8 cases, 4 of label 1 (50.0%)") == 5
    first = contents(Path("data/split"))
    run(cases)
    assert contents(Path("data/split")) == first
    assert b"\r" not in Path("data/split/split.csv").read_bytes()


@pytest.mark.parametrize("number", [2, 4])
def test_seed_and_number_of_folds_are_taken_from_params(number: int) -> None:
    table, other = (run(cohort(), split={"folds": number, "seed": seed})["fold"] for seed in (0, 1))
    assert set(table) == set(range(number))
    assert (table != other).any()


def test_failed_unlabelled_and_missing_cases_get_no_fold() -> None:
    cases = cohort()
    cases["status"] = ["failed", "warned", "ok", "ok"] + ["ok"] * 36
    labels = cases[["case_id", "label"]].astype({"label": object})
    labels.loc[2, "label"] = ""  # a line without a label
    labels = pd.concat([labels.drop(index=3), pd.DataFrame({"case_id": ["99999"], "label": [1]})])
    table = run(cases, labels)
    assert table["case_id"].tolist() == ["00001", *cases["case_id"][4:]]


def test_scans_of_a_patient_stay_together() -> None:
    cases = cohort(60)
    cases["patient"] = cases["case_id"].where(cases.index % 3 != 2, cases["case_id"].shift(2))  # 0 with 2, 3 with 5
    table = run(cases)
    assert table["group"].tolist() == cases["patient"].tolist()
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert table["group"].nunique() == 40


def test_group_column_with_empty_cells() -> None:
    cases = cohort()
    cases["patient"] = "00000"  # what the scans say does not count where the user names a column
    cases["site"] = ["north"] * 4 + ["south"] * 4 + [""] * 32
    table = run(cases, cases[["case_id", "label", "site"]], split={"group_column": "site"})
    assert table["group"].tolist() == ["00000"] * 4 + ["00004"] * 4 + cases["case_id"][8:].tolist()
    assert (table.groupby("group")["fold"].nunique() == 1).all()
    assert table["fold"][8:].nunique() == 5


@pytest.mark.parametrize("by", [["label", "plane"], ["plane"], ["plane", "label"]])
def test_a_column_of_the_scans_is_balanced_with_the_label(by: list[str]) -> None:
    cases = cohort(120)
    table = run(cases, split={"stratify_by": by}).merge(cases[["case_id", "plane"]])
    counts = table.groupby(["label", "plane", "fold"]).size().unstack("fold")
    assert counts.shape == (4, 5)
    assert (counts.max(axis=1) - counts.min(axis=1)).max() <= 1


def test_a_column_of_the_labels_comes_before_one_of_the_scans() -> None:
    cases = cohort(80)
    labels = cases[["case_id", "label"]].assign(plane=np.where(cases.index < 40, "a", "b"))
    table = run(cases, labels, split={"stratify_by": ["label", "plane"]}).merge(labels)
    assert (table.groupby(["label", "plane", "fold"]).size() == 4).all()


@pytest.mark.parametrize(
    ("changes", "messages"),
    [
        ({"split": {"group_column": "sitee"}}, ["split.group_column", "'sitee'", "did you mean 'site'"]),
        ({"split": {"group_column": "plane"}}, ["split.group_column", "'plane'"]),  # the scans', not the labels'
        ({"split": {"stratify_by": ["label", "plan"]}}, ["split.stratify_by", "'plan'", "did you mean 'plane'"]),
        ({"split": {"stratify_by": ["case_id"]}}, ["case_id=00000", "split.stratify_by"]),
        ({"split": {"folds": 25}}, ["split.folds: 25", "only 20 groups", "set split.folds to 20 or less"]),
        ({"split": {"folds": 1}}, ["split.folds: 1", "greater than or equal to 2"]),
        ({"split": {"folds": "5"}}, ["split.folds: '5'"]),
        ({"labels": {"label_column": "MGMT_valu"}}, ["labels.label_column", "did you mean 'MGMT_value'"]),
    ],
)
def test_what_cannot_be_done_is_refused_and_leaves_nothing(changes: dict[str, Any], messages: list[str]) -> None:
    with pytest.raises(FlairprepError) as caught:
        run(cohort(), cohort()[["case_id", "label"]].assign(site="north"), **changes)
    assert [message for message in messages if message not in str(caught.value)] == []
    assert not Path("data/split").exists()


@pytest.mark.parametrize("label", [0, 1])
def test_one_label_only_is_refused(label: int) -> None:
    with pytest.raises(FlairprepError, match=f"both labels are needed, found label {label} among 40"):
        run(cohort().assign(label=label))


@pytest.mark.parametrize("column", ["BraTS21ID", "case_id"])
def test_the_names_of_the_table_group_too(column: str) -> None:
    """The column of ids under its own name, and one that has the name which the stages give to ids."""
    cases = cohort()
    put_scans(cases)
    write_params(Path(), split={"group_column": column})
    table = cases[["case_id", "label"]].rename(columns={"case_id": "BraTS21ID", "label": "MGMT_value"})
    Path("data/raw").mkdir()
    table.assign(case_id=np.arange(40) // 4).to_csv("data/raw/train_labels.csv", index=False)
    split.main()
    groups = pd.read_csv("data/split/split.csv", dtype=str)["group"]
    size = 4 if column == "case_id" else 1
    assert groups.tolist() == [f"{number // size * size:05d}" for number in range(40)]
