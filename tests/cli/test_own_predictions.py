"""`flairprep verdict --predictions`: the pipeline's numbers, for predictions of any framework."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workspace import write_params

from flairprep.cli import main, own_predictions
from flairprep.core.errors import FlairprepError
from flairprep.evaluation import predictions
from flairprep.evaluation.measures import EvaluateParams, measure
from flairprep.evaluation.verdict import sentence


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def rows(effect: float, cases: int = 80, epochs: int = 6, seed: int = 0) -> pd.DataFrame:
    """Predictions of a network whose scores of label 1 lie `effect` standard deviations higher in its last epoch."""
    draw = np.random.default_rng(seed)
    y_true = np.arange(cases) % 2
    noise = draw.normal(size=cases)
    tables = []
    for epoch in range(1, epochs + 1):
        score = noise + y_true * effect * epoch / epochs - effect * epoch / epochs / 2
        table = {"epoch": epoch, "case_id": [f"case {n}" for n in range(cases)], "label": y_true}
        tables.append(pd.DataFrame(table | {"probability": 1 / (1 + np.exp(-score))}))
    return pd.concat(tables, ignore_index=True)


@pytest.mark.parametrize("effect", [0, 2])
def test_equals_what_evaluate_says_of_the_same_table(effect: float, capsys: pytest.CaptureFixture[str]) -> None:
    table = rows(effect)
    table.to_csv("p.csv", index=False)
    split = table[["case_id"]].drop_duplicates().assign(group=lambda split: split["case_id"])
    section = EvaluateParams(alpha=0.05, permutations=10_000, seed=0, prevalence=None, primary="auc")
    expected = measure(predictions.from_tables(table.astype(str), split), "val_loss", section)
    main.main(["verdict", "--predictions", "p.csv"])
    printed = capsys.readouterr().out
    assert str(expected["verdict"]) in printed
    assert printed.strip() == sentence(expected, 0.05)
    assert (expected["verdict"] == "learned") == (effect > 0)


def test_the_order_of_rows_does_not_matter() -> None:
    table = rows(1)
    table.to_csv("p.csv", index=False)
    table.sample(frac=1, random_state=0).to_csv("shuffled.csv", index=False)
    assert own_predictions.verdict(Path("p.csv")) == own_predictions.verdict(Path("shuffled.csv"))


def test_scans_of_a_patient_count_as_one() -> None:
    """Copied ten times, a result near the border turns significant, unless the copies share a group."""
    single = rows(0.4, cases=40, epochs=1, seed=1)
    copies = [single.assign(case_id=single["case_id"] + f" {n}", group=single["case_id"]) for n in range(10)]
    table = pd.concat(copies)
    table.to_csv("grouped.csv", index=False)
    table.drop(columns="group").to_csv("apart.csv", index=False)
    single.to_csv("single.csv", index=False)
    learned = {
        name: own_predictions.verdict(Path(f"{name}.csv")).startswith("verdict: learned")
        for name in ("single", "grouped", "apart")
    }
    assert learned == {"single": False, "grouped": False, "apart": True}


def test_params_of_the_project_hold() -> None:
    table = rows(0.4, cases=40, epochs=1, seed=1)
    table.to_csv("p.csv", index=False)
    without = own_predictions.verdict(Path("p.csv"))
    write_params(Path(), evaluate={"alpha": 0.3, "permutations": 1000})
    assert own_predictions.verdict(Path("p.csv")) != without
    write_params(Path(), evaluate={"alpha": 2})
    with pytest.raises(FlairprepError, match="alpha"):
        own_predictions.verdict(Path("p.csv"))


@pytest.mark.parametrize(
    ("column", "value", "names"),
    [
        ("probability", "1.2", "line 5"),
        ("probability", "", "line 5"),
        ("probability", "nan", "line 5"),
        ("probability", "-3.1", "line 5"),
        ("label", "2", "line 5"),
        ("label", "", "line 5"),
        ("epoch", "1.5", "line 5"),
        ("epoch", "7", "epoch 7"),
        ("case_id", "", "line 5"),
        ("case_id", "case 1", "line 5"),
    ],
)
def test_a_bad_value_is_named_by_its_line(column: str, value: str, names: str) -> None:
    table = rows(1, cases=10, epochs=2).astype(str)
    table.loc[3, column] = value
    table.to_csv("p.csv", index=False)
    with pytest.raises(FlairprepError, match=re.escape(names)) as raised:
        own_predictions.verdict(Path("p.csv"))
    assert "p.csv" in str(raised.value)


def test_a_label_that_changes_between_epochs_is_refused() -> None:
    table = rows(1, cases=10, epochs=2)
    table.loc[12, "label"] = 1 - table.loc[12, "label"]
    table.to_csv("p.csv", index=False)
    with pytest.raises(FlairprepError, match="line 14: label"):
        own_predictions.verdict(Path("p.csv"))


@pytest.mark.parametrize("text", ["", "epoch,case_id,label\n1,a,0\n", "epoch,case_id,label,probability\n"])
def test_no_table_is_refused(text: str) -> None:
    Path("p.csv").write_text(text)
    with pytest.raises(FlairprepError, match=r"p\.csv"):
        own_predictions.verdict(Path("p.csv"))


def test_no_file_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main.main(["verdict", "--predictions", "absent.csv"])
    assert ended.value.code == 1
    assert "absent.csv" in capsys.readouterr().err
