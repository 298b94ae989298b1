"""The data set card: what Croissant requires is there, the files are as told, and mlcroissant reads it."""

import copy
import hashlib
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from flairprep.card import cohort, croissant, data_passages, model_passages, references
from flairprep.card.facts import RunFacts

ANSWERS = {
    "authors": "A. Author; B. Author",
    "data_licence": "https://creativecommons.org/licenses/by/4.0/",
    "data_url": "https://example.org/data/",
    "data_published": "2027-01-31",
    "citation": "Author. Data. 2027.",
}
FOLDER = Path("reports/card")


def describe(run: RunFacts, answers: dict[str, str]) -> dict[str, Any]:
    described = cohort.describe(run)
    passages = data_passages.passages(run, described) | model_passages.passages(run, described)
    plain = {key: references.plain(text) for key, text in passages.items()}
    return croissant.card(run, plain, answers, croissant.files(run.info), FOLDER)


def test_with_the_authors_answers_nothing_that_is_required_is_missing(finished: RunFacts) -> None:
    assert croissant.missing(describe(finished, ANSWERS)) == {}


def test_without_them_only_what_the_run_cannot_know_is_missing(finished: RunFacts) -> None:
    lacking = croissant.missing(describe(finished, {}))
    assert lacking == {
        "license": "data_licence",
        "url": "data_url",
        "creator": "authors",
        "datePublished": "data_published",
    }


REQUIRED = ("@context", "@type", "conformsTo", "name", "description", "license", "url", "creator", "datePublished")


@pytest.mark.parametrize("name", [*REQUIRED, "distribution"])
def test_a_property_of_the_data_set_that_is_gone_is_found(name: str, finished: RunFacts) -> None:
    document = describe(finished, ANSWERS)
    del document[name]
    assert name in croissant.missing(document)


@pytest.mark.parametrize(
    ("part", "name"),
    [
        *(("distribution", name) for name in ("@type", "@id", "encodingFormat", "contentUrl", "sha256")),
        *(("recordSet", name) for name in ("@type", "@id", "field")),
        *(("field", name) for name in ("@type", "@id", "dataType", "source")),
    ],
)
def test_a_property_of_a_part_that_is_gone_is_found(part: str, name: str, finished: RunFacts) -> None:
    document = copy.deepcopy(describe(finished, ANSWERS))
    entry = document["recordSet"][0]["field"][0] if part == "field" else document[part][0]
    del entry[name]
    assert [key for key in croissant.missing(document) if key.endswith(f"/{name}")]


def test_files_are_told_with_their_size_and_hash(finished: RunFacts) -> None:
    paths = {path.name: path for path in [croissant.SPLIT, *Path("data/export").glob("*.tfrecord*")]}
    for where in ({}, ANSWERS):
        told = [entry for entry in describe(finished, where)["distribution"] if entry["@type"] == "cr:FileObject"]
        assert {entry["name"] for entry in told} == set(paths)
        for entry in told:
            content = paths[entry["name"]].read_bytes()
            assert entry["sha256"] == hashlib.sha256(content).hexdigest()
            assert entry["contentSize"] == f"{len(content)} B"
            url = entry["contentUrl"]
            if where:
                assert url == f"https://example.org/data/{entry['name']}"
            else:
                assert (FOLDER / url).resolve() == paths[entry["name"]].resolve()


def test_the_folds_have_their_part_in_the_run(finished: RunFacts) -> None:
    (folds,) = [records for records in describe(finished, {})["recordSet"] if records["@id"] == "folds"]
    told = {row["folds/fold"]: row["folds/part"] for row in folds["data"]}
    assert told == {0: "validation", 1: "training", 2: "training"}


def test_every_reference_leads_to_something(finished: RunFacts) -> None:
    document = describe(finished, ANSWERS)
    ids: list[str] = []
    used: set[str] = set()

    def visit(node: Any) -> None:
        if isinstance(node, dict):
            if "@id" in node:
                (used.add if set(node) == {"@id"} else ids.append)(node["@id"])
            for value in node.values():
                visit(value)
        elif isinstance(node, list):
            for value in node:
                visit(value)

    visit({key: value for key, value in document.items() if key != "@context"})
    assert len(set(ids)) == len(ids)
    assert used <= set(ids)
    columns = {field["name"] for field in document["recordSet"][0]["field"]}
    assert columns == set(pd.read_csv(croissant.SPLIT).columns)


def test_no_case_is_named(finished: RunFacts) -> None:
    text = json.dumps(describe(finished, ANSWERS))
    assert not [case for case in finished.cases["case_id"] if f'"{case}"' in text or f" {case} " in text]


@pytest.mark.parametrize("answers", [{}, ANSWERS])
def test_mlcroissant_validates_it(answers: dict[str, str], finished: RunFacts, project: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant")
    FOLDER.mkdir(parents=True)
    path = FOLDER / "croissant.jsonld"
    path.write_text(json.dumps(describe(finished, answers)))
    data = mlcroissant.Dataset(jsonld=str(path))
    assert not data.metadata.ctx.issues.errors
    if answers:
        assert not data.metadata.ctx.issues.warnings
    else:  # the files lie where they are told, so that it can read them
        rows = pd.DataFrame(data.records("cases"))
        split = pd.read_csv(croissant.SPLIT)
        assert rows["cases/fold"].tolist() == split["fold"].tolist()
        assert rows["cases/label"].tolist() == split["label"].tolist()
