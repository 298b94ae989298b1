"""The model card: its numbers are those of the files, its head is what hubs read, and it names no case."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from ruamel.yaml import YAML

from flairprep.card import cohort, facts, model_card, references
from flairprep.card.facts import RunFacts


@pytest.fixture
def card(finished: RunFacts) -> model_card.Card:
    return model_card.write(finished, {}, [("data/raw/train", "abc")])


def front(text: str) -> dict[str, Any]:
    return YAML(typ="safe").load(text.split("---\n")[1])


def section(text: str, title: str) -> str:
    return re.split(r"^#{1,3} ", text.split(f"# {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def table(text: str) -> dict[str, list[str]]:
    """Return the rows of the first table of `text` by their first cell."""
    rows = [[cell.strip() for cell in line[1:-1].split("|")] for line in text.splitlines() if line.startswith("|")]
    return {row[0]: row[1:] for row in rows}


def test_the_measures_are_those_of_metrics_json(card: model_card.Card) -> None:
    metrics = json.loads(Path("reports/metrics.json").read_text())
    rows = table(section(card.text, "Results"))
    for key, name in model_card.MEASURES.items():
        for cell, end in zip(rows[name], ("", "_low", "_high"), strict=True):
            value = metrics[f"{key}{end}"]
            assert cell == ("-" if end and value is None else "not computable" if value is None else f"{value:.3f}"), (
                key
            )
    assert f"p = {metrics['p_auc']:.3g} for the AUC" in section(card.text, "Results")
    assert metrics["verdict"] in section(card.text, "Verdict")
    assert str(metrics["n"]) == table(section(card.text, "Data"))["Cases"][2]


def test_the_cohort_is_that_of_the_tables(card: model_card.Card) -> None:
    cases = pd.read_csv("data/ingest/cases.csv", dtype=str, keep_default_na=False)
    split = pd.read_csv("data/split/split.csv", dtype=str)
    used = split[split["case_id"] != "00002"]  # fails in export
    rows = table(section(card.text, "Data"))
    parts = {"All": used, "Training": used[used["fold"] != "0"], "Validation": used[used["fold"] == "0"]}
    assert rows[""] == list(parts)
    assert rows["Cases"] == [str(len(part)) for part in parts.values()]
    ones = [f"{(part['label'] == '1').sum()} of {len(part)}" for part in parts.values()]
    assert [cell.rsplit(" (", 1)[0] for cell in rows["Label 1"]] == ones
    planes = cases.set_index("case_id")["plane"]
    for plane in ("axial", "coronal"):
        counted = [str(int((planes[part["case_id"]] == plane).sum())) for part in parts.values()]
        assert rows[f"Plane: {plane}"] == counted
    flow = section(card.text, "Flow of cases")
    assert f"{len(cases)} cases" in flow
    assert f"{len(used)} cases" in flow
    assert all(f"1 ({code} 1)" in flow for code in ("BLANK_VOLUME", "WHOLE_HEAD", "OUT_OF_RANGE"))


def test_the_flow_adds_up(finished: RunFacts) -> None:
    unlabelled = finished.split["case_id"].iloc[-2:]
    split = finished.split[~finished.split["case_id"].isin(unlabelled)]
    exported = finished.exported[~finished.exported["case_id"].isin(unlabelled)]
    balance = {**finished.balance, "unlabelled": unlabelled.tolist()}
    found = cohort.describe(replace(finished, split=split, exported=exported, balance=balance))
    lost = sum(found.failed.values()) + sum(found.dropped.values()) + found.unlabelled
    assert (lost, found.unlabelled) == (4, 2)
    assert found.found - lost == len(found.used) == sum(len(p) for name, p in found.parts.items() if name != "all")


def test_a_test_fold_is_a_partition_and_has_its_numbers(finished: RunFacts) -> None:
    values = {**finished.values, "test_fold": 2}
    tested = {"test_auc": 0.75, "test_auc_low": 0.5, "test_auc_high": 0.875, "test_accuracy": 0.625, "test_p_nir": 0.25}
    run = replace(finished, values=values, metrics={**finished.metrics, **tested})
    text = model_card.write(run, {}, []).text
    assert table(section(text, "Data"))[""] == ["All", "Training", "Validation", "Test"]
    assert "0.750 (95 % CI 0.500 to 0.875)" in section(text, "Performance")
    (_, test) = front(text)["model-index"][0]["results"]
    assert test["dataset"]["split"] == "test fold 2"
    assert {metric["type"]: metric["value"] for metric in test["metrics"]} == {"roc_auc": 0.75, "accuracy": 0.625}


def test_the_head_is_what_hubs_read(card: model_card.Card, finished: RunFacts) -> None:
    metrics = json.loads(Path("reports/metrics.json").read_text())
    head = front(card.text)
    assert "license" not in head
    assert (head["library_name"], head["pipeline_tag"]) == ("keras", "image-classification")
    (entry,) = head["model-index"]
    (result,) = entry["results"]
    assert {*result} == {"task", "dataset", "metrics"}
    told = {metric["type"]: metric["value"] for metric in result["metrics"]}
    assert told == {"roc_auc": metrics["auc"], "accuracy": metrics["accuracy"], "brier_score": metrics["brier"]} | (
        {} if metrics["mcc"] is None else {"matthews_correlation": metrics["mcc"]}
    )
    answered = front(model_card.write(finished, {"model_licence": "CC-BY-4.0", "model_name": "x: [y"}, []).text)
    assert (answered["license"], answered["model-index"][0]["name"]) == ("cc-by-4.0", "x: [y")


def test_no_case_is_named(finished: RunFacts) -> None:
    ingest = {**finished.values["ingest"], "exclude": {"00077": "of J. Doe"}}
    text = model_card.write(replace(finished, values={**finished.values, "ingest": ingest}), {}, []).text
    named = [*finished.cases["case_id"], "00077", "Doe"]
    assert not [name for name in named if re.search(rf"\b{name}\b", text)]
    assert table(section(text, "Reproduction"))["`ingest.exclude`"] == ["1 cases"]


def test_the_same_run_gives_the_same_text(card: model_card.Card) -> None:
    assert model_card.write(facts.read(), {}, [("data/raw/train", "abc")]).text == card.text


def test_leaks_and_shortcuts_are_told(finished: RunFacts) -> None:
    items = [
        {"name": "voxels", "kind": "leak", "verdict": "leak", "cases": ["00001", "00003"]},
        {"name": "echo_time", "kind": "shortcut", "verdict": "shortcut", "cases": []},
        {"name": "plane", "kind": "shortcut", "verdict": "clean", "cases": []},
    ]
    metrics = {**finished.metrics, "leaked": 1, "auc_without_leaks": 0.125, "p_without_leaks": 0.875, "p_within": 0.375}
    run = replace(finished, audit={**finished.audit, "items": items}, metrics=metrics)
    text = model_card.write(run, {}, []).text
    assert "voxels 2" in section(text, "Leaks between partitions")
    assert "0.125, p = 0.875" in section(text, "Leaks between partitions")
    shortcuts = section(text, "Shortcuts")
    assert "echo time" in shortcuts
    assert "plane" not in shortcuts
    assert "p = 0.375" in shortcuts


@pytest.mark.parametrize("key", ["auc", "mcc", "calibration_slope", "sensitivity"])
def test_a_measure_that_cannot_be_computed_is_said_so(key: str, finished: RunFacts) -> None:
    metrics = {**finished.metrics, **dict.fromkeys([key, f"{key}_low", f"{key}_high"])}
    text = model_card.write(replace(finished, metrics=metrics), {}, []).text
    assert table(section(text, "Results"))[model_card.MEASURES[key]] == ["not computable", "-", "-"]
    assert "nan" not in text.lower().split()


def test_the_network_is_that_of_the_archive(card: model_card.Card) -> None:
    told = section(card.text, "Architecture")
    assert "118 numbers" in told
    assert "8 x 16 x 16 voxels" in told
    assert "Conv3D 2" in section(card.text, "Layers")
    assert "354" in section(card.text, "Ensemble")


def test_references_are_numbered_by_their_first_use() -> None:
    text, works = references.number("a [@holm], b [@adam] and [@holm]; [@nobody] stays")
    assert text == "a [1], b [2] and [1]; [@nobody] stays"
    assert works == [references.WORKS["holm"], references.WORKS["adam"]]
    assert references.plain("a [@holm], b") == "a, b"


def test_every_citation_of_the_card_has_its_work_and_every_work_its_citation(card: model_card.Card) -> None:
    body, listed = card.text.rsplit("## References\n", 1)
    numbers = [line.split(".")[0] for line in listed.strip().splitlines()]
    assert numbers == [str(n) for n in range(1, len(numbers) + 1)]
    assert set(re.findall(r" \[(\d+)\]", body)) == set(numbers)
    assert "[@" not in body


def test_counts_of_missing_cells_are_told(finished: RunFacts) -> None:
    cases = finished.cases.copy()
    cases.loc[cases["case_id"].isin(["00005", "00006"]), "sex"] = ""
    described = cohort.describe(replace(finished, cases=cases))
    _, rows = cohort.table(described)
    assert {row[0]: row[1] for row in rows}["Sex: not recorded"] == "2"


def test_baselines_are_those_of_their_table(finished: RunFacts) -> None:
    columns = ["baseline", "auc", "difference", "difference_low", "difference_high", "p", "p_holm"]
    rows = [["geometry", "0.625", "-0.125", "-0.5", "0.25", "0.5", "1.0"], ["age and sex", *[""] * 6]]
    run = replace(finished, baselines=pd.DataFrame(rows, columns=columns))
    text = model_card.write(run, {}, []).text
    assert "| geometry | 0.625 | -0.125 (95 % CI -0.500 to 0.250) |" in section(text, "Results")
    assert "age and sex" not in section(text, "Baselines")
