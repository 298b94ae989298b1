"""Describe the exported shards and the split as a Croissant data set card: JSON-LD, Croissant 1.1.

Source of the format: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flairprep.card import wording
from flairprep.card.facts import RunFacts
from flairprep.dataset import shards

SPLIT = Path("data/split/split.csv")
CONFORMS = "http://mlcommons.org/croissant/1.1"
RAI = "http://mlcommons.org/croissant/RAI/1.0"
TFRECORD = "application/x-tfrecord"
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    **{
        name: f"cr:{name}"
        for name in (
            *("arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject"),
            *("fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5"),
            *("parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate"),
            *("separator", "source", "subField", "transform"),
        )
    },
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "name": {"@container": "@language"},
    "rai": "http://mlcommons.org/croissant/RAI/",
    "sc": "https://schema.org/",
}
REQUIRED = {  # of the data set by the specification: the question in card.yaml that gives it, None where the run does
    "@context": None,
    "@type": None,
    "conformsTo": None,
    "name": None,
    "description": None,
    "distribution": None,
    "license": "data_licence",
    "url": "data_url",
    "creator": "authors",
    "datePublished": "data_published",
}


@dataclass(frozen=True)
class File:
    """A file of the data set: where it lies, its size in bytes and its SHA-256 in hexadecimal."""

    path: Path
    size: int
    sha256: str


def files(info: shards.Info) -> list[File]:
    """Measure split.csv and each shard, in the order of the folds."""
    return [_measured(path) for path in (SPLIT, *(path for fold in sorted(info.shards) for path in info.shards[fold]))]


def _measured(path: Path) -> File:
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    return File(path, path.stat().st_size, digest)


def card(
    facts: RunFacts, passages: Mapping[str, str], answers: Mapping[str, str], measured: Iterable[File], folder: Path
) -> dict[str, Any]:
    """Return the card as JSON-LD. Case ids are named nowhere in it.

    Args:
        passages: subject -> sentences of the run, without marks of references.
        answers: key -> text of the author.
        measured: see `files`.
        folder: of the card; without `data_url` the files are told by their paths from there.
    """
    table, *parts = measured
    document: dict[str, Any] = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": [CONFORMS, RAI],
        "name": answers.get("data_name", f"{facts.values['ingest']['sequence']} volumes prepared by flairprep"),
        "description": _description(facts, passages),
        "version": shards.VERSION,
        "keywords": ["MRI", "brain", str(facts.values["ingest"]["sequence"]), "classification"],
    }
    if "data_licence" in answers:
        document["license"] = answers["data_licence"]
    if "data_url" in answers:
        document["url"] = answers["data_url"]
    if "authors" in answers:
        names = [name.strip() for name in answers["authors"].split(";") if name.strip()]
        document["creator"] = [{"@type": "sc:Person", "name": name} for name in names]
    if "data_published" in answers:
        document["datePublished"] = answers["data_published"]
    if "citation" in answers:
        document["citeAs"] = answers["citation"]
    if facts.commit:
        document["dateModified"] = facts.commit.date
    where = answers.get("data_url")
    document["distribution"] = [
        _file(table, "split.csv", "text/csv", "Label, group and fold of each case.", folder, where),
        *(_file(part, part.path.name, TFRECORD, _of_shard(part, facts.info), folder, where) for part in parts),
        {
            "@type": "cr:FileSet",
            "@id": "shards",
            "name": "shards",
            "description": "All shards, as tf.train.Example records; tfds.builder_from_directory reads their folder.",
            "containedIn": [{"@id": part.path.name} for part in parts],
            "encodingFormat": TFRECORD,
            "includes": f"{shards.NAME}-fold*.tfrecord-*",
        },
    ]
    document["recordSet"] = _record_sets(facts)
    responsible = {
        "rai:dataCollection": answers.get("sources"),
        "rai:dataCollectionTimeframe": answers.get("accrual"),
        "rai:dataPreprocessingProtocol": passages["preprocessing"],
        "rai:dataAnnotationProtocol": answers.get("assay") or None,
        "rai:dataUseCases": answers.get("intended_use"),
        "rai:dataBiases": passages["shortcuts"],
        "rai:dataLimitations": " ".join(filter(None, [passages["limits"], answers.get("limitations")])),
        "rai:personalSensitiveInformation": passages["deidentification"],
    }
    return document | {key: text for key, text in responsible.items() if text}


def missing(document: Mapping[str, Any]) -> dict[str, str | None]:
    """Return what the specification requires and `document` lacks: property -> the question in card.yaml, or None.

    Of files and sets of records too: each needs an @id, and a file its format, address and checksum.
    """
    lacking = {name: question for name, question in REQUIRED.items() if not document.get(name)}
    for entry in document.get("distribution", []):
        needed = ["@type", "@id", "encodingFormat"]
        needed += ["includes"] if entry.get("@type") == "cr:FileSet" else ["contentUrl", "sha256"]
        lacking |= {f"{entry.get('@id')}/{name}": None for name in needed if not entry.get(name)}
    for records in document.get("recordSet", []):
        lacking |= {f"{records.get('@id')}/{name}": None for name in ("@type", "@id", "field") if not records.get(name)}
        for field in records.get("field", []):
            needed = ["@type", "@id", "dataType"] + ([] if "data" in records else ["source"])
            lacking |= {f"{field.get('@id')}/{name}": None for name in needed if not field.get(name)}
    return lacking


def _description(facts: RunFacts, passages: Mapping[str, str]) -> str:
    depth, height, width, channels = facts.info.image_shape
    return (
        f"{sum(facts.info.cases.values())} brain scans ({facts.values['ingest']['sequence']}) as float16 tensors of "
        f"{depth} x {height} x {width} x {channels} voxels (z, y, x, channel), with a label and a fold per case. "
        f"{passages['labels']} {passages['partition']}"
    )


def _file(file: File, name: str, kind: str, text: str, folder: Path, where: str | None) -> dict[str, str]:
    url = f"{where.rstrip('/')}/{file.path.name}" if where else Path(os.path.relpath(file.path, folder)).as_posix()
    return {
        "@type": "cr:FileObject",
        "@id": name,
        "name": name,
        "description": text,
        "contentUrl": url,
        "contentSize": f"{file.size} B",
        "encodingFormat": kind,
        "sha256": file.sha256,
    }


def _of_shard(part: File, info: shards.Info) -> str:
    fold = next(fold for fold, paths in info.shards.items() if part.path in paths)
    return f"Part of fold {fold}: {info.cases[fold]} cases in {wording.plural(len(info.shards[fold]), 'file')}."


def _record_sets(facts: RunFacts) -> list[dict[str, Any]]:
    """Describe split.csv, the folds with their roles in this run, and the records of the shards."""
    values = facts.values
    roles = {values["val_fold"]: "validation", values["test_fold"]: "test"}
    columns = (
        ("case_id", "sc:Text", "Pseudonym of the case."),
        ("label", "cr:Int64", f"{values['labels']['label_column']}, 0 or 1."),
        ("group", "sc:Text", "Cases of one group stay in one fold."),
        ("fold", "cr:Int64", "Fold of the case."),
    )
    shape = ",".join(map(str, facts.info.image_shape))
    features: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
        ("case_id", "sc:Text", "Pseudonym of the case.", {"references": {"field": {"@id": "cases/case_id"}}}),
        ("label", "cr:Int64", "0 or 1.", {}),
        ("image", "cr:Float16", "Voxels (z, y, x, channel), little-endian.", {"isArray": True, "arrayShape": shape}),
    )
    of_fold = {"references": {"field": {"@id": "folds/fold"}}}
    return [
        {
            "@type": "cr:RecordSet",
            "@id": "cases",
            "name": "cases",
            "description": "A record per case that was read and has a label.",
            "key": {"@id": "cases/case_id"},
            "field": [
                _field(
                    "cases", name, kind, text, {"fileObject": {"@id": "split.csv"}}, of_fold if name == "fold" else None
                )
                for name, kind, text in columns
            ],
        },
        {
            "@type": "cr:RecordSet",
            "@id": "folds",
            "name": "folds",
            "description": "The part of each fold in this run.",
            "dataType": "cr:Split",
            "key": {"@id": "folds/fold"},
            "field": [
                _field("folds", "fold", "cr:Int64", "Fold."),
                _field("folds", "part", "sc:Text", "training, validation or test."),
            ],
            "data": [{"folds/fold": n, "folds/part": roles.get(n, "training")} for n in sorted(facts.info.cases)],
        },
        {
            "@type": "cr:RecordSet",
            "@id": "examples",
            "name": "examples",
            "description": "A tf.train.Example per case in the shards; columns are its features.",
            "field": [
                _field("examples", name, kind, text, {"fileSet": {"@id": "shards"}}, more)
                for name, kind, text, more in features
            ],
        },
    ]


def _field(
    records: str,
    name: str,
    kind: str,
    text: str,
    source: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    field = {"@type": "cr:Field", "@id": f"{records}/{name}", "name": name, "description": text, "dataType": kind}
    extracted = {"source": {**source, "extract": {"column": name}}} if source else {}
    return {**field, **extracted, **(more or {})}
