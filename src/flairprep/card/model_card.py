"""Write the model card: Markdown under the YAML front matter that model hubs read."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from ruamel.yaml import YAML

from flairprep.card import checklists, cohort, data_passages, methods, model_passages, questions, references, wording
from flairprep.card.checklists import Answer
from flairprep.card.facts import RunFacts
from flairprep.core import params

TEMPLATES = Path(__file__).with_name("templates")
TITLES = {  # subject of a passage: its heading in the card
    "criteria": "Criteria",
    "flow": "Flow of cases",
    "acquisition": "Acquisition",
    "patients": "Patients",
    "labels": "Labels",
    "assay": "Reference standard",
    "deidentification": "De-identification",
    "missing": "Missing data",
    "predictors": "Predictors",
    "preprocessing": "Preprocessing",
    "quality": "Checks of the data",
    "partition": "Partitions",
    "disjoint": "Leaks between partitions",
    "size": "Sample size",
    "model": "Architecture",
    "layers": "Layers",
    "init": "Initialisation",
    "training": "Training",
    "selection": "Choice of the final model",
    "ensemble": "Ensemble",
    "output": "Output and threshold",
    "imbalance": "Imbalance of labels",
    "measures": "Measures",
    "tests": "Intervals and tests",
    "robustness": "Robustness",
    "internal": "Internal validation",
    "verdict": "Verdict",
    "performance": "Performance",
    "calibration": "Calibration",
    "subgroups": "Subgroups",
    "shortcuts": "Shortcuts",
    "baselines": "Baselines",
    "failures": "Failures",
    "limits": "Limits",
    "software": "Software",
    "code": "Code and params",
}
MEASURES = {
    "auc": "AUC",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "Positive predictive value",
    "npv": "Negative predictive value",
    "mcc": "Matthews' correlation",
    "average_precision": "Average precision",
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
}
HEADS = {  # answers that the card shows at its end
    "authors": "Authors",
    "contact": "Contact",
    "citation": "Citation",
    "model_url": "Address of the network",
    "model_licence": "Licence of the network",
    "data_url": "Address of the data",
    "data_licence": "Licence of the data",
    "data_published": "Publication of the data",
}
HUB = {"auc": "roc_auc", "accuracy": "accuracy", "brier": "brier_score", "mcc": "matthews_correlation"}  # metric ids


@dataclass(frozen=True)
class Card:
    """The model card. text: Markdown; passages: sentences by subject; asked: key -> question, open ones."""

    text: str
    passages: dict[str, str]
    asked: dict[str, str]


def write(facts: RunFacts, answers: Mapping[str, str], hashes: list[tuple[str, str]]) -> Card:
    """Write the card of a run. answers: key -> text of the author; hashes: (path, md5) of the data."""
    described = cohort.describe(facts)
    passages = data_passages.passages(facts, described) | model_passages.passages(facts, described)
    known = dict(answers)
    if passages["assay"] and all(facts.values["report"][key] for key in ("assay", "cut_off", "dates")):
        known.setdefault("assay", passages["assay"])
    lists = {
        "CLAIM 2024": checklists.answer(checklists.CLAIM, passages, known),
        "TRIPOD+AI": checklists.answer(checklists.TRIPOD, passages, known),
    }
    asked = {key: text for key, text in questions.QUESTIONS.items() if key not in known}
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    environment.filters |= {"cell": cell, "anchor": anchor}
    head, characteristics = cohort.table(described)
    text = environment.get_template("MODEL_CARD.md").render(
        front=_yaml(front_matter(facts, answers)),
        name=answers.get("model_name", _unnamed(facts)),
        answers=known,
        questions=questions.QUESTIONS,
        passages=passages,
        titles=TITLES,
        methods=methods.text(passages),
        measures=_measures(facts.metrics),
        baselines=model_passages.baselines(facts),
        metrics=facts.metrics,
        wording=wording,
        head=head,
        characteristics=characteristics,
        checklists=lists,
        needed_by={key: _needed_by(key, lists) for key in asked},
        asked=asked,
        heads=HEADS,
        shape=facts.network.input_shape,
        values=_settings(facts.values),
        hashes=hashes,
    )
    numbered, works = references.number(text)
    listed = "\n".join(f"{number}. {work}" for number, work in enumerate(works, start=1))
    return Card(f"{numbered}## References\n\n{listed}\n", passages, asked)


def front_matter(facts: RunFacts, answers: Mapping[str, str]) -> dict[str, Any]:
    """Return the metadata that model hubs read, as in https://huggingface.co/docs/hub/model-cards."""
    m = facts.metrics
    sequence = str(facts.values["ingest"]["sequence"])
    scored: list[dict[str, Any]] = [{"name": f"validation fold {facts.values['val_fold']}", "numbers": m}]
    if "test_auc" in m:
        tested = {key.removeprefix("test_"): value for key, value in m.items() if key.startswith("test_")}
        scored.append({"name": f"test fold {facts.values['test_fold']}", "numbers": tested})
    name = answers.get("data_name", f"{sequence} volumes prepared by flairprep")
    results = [
        {
            "task": {"type": "image-classification", "name": "Classification of brain MRI"},
            "dataset": {"name": name, "type": "flairprep", "split": part["name"]},
            "metrics": [
                {"type": HUB[key], "value": part["numbers"][key], "name": _named(key, part["numbers"])}
                for key in HUB
                if part["numbers"].get(key) is not None
            ],
        }
        for part in scored
    ]
    given = {
        "license": answers.get("model_licence", "").lower(),
        "library_name": "keras",
        "pipeline_tag": "image-classification",
        "tags": ["medical", "mri", "brain", sequence.lower(), "3d-cnn", "flairprep"],
        "metrics": [HUB[key] for key in HUB],
        "model-index": [{"name": answers.get("model_name", _unnamed(facts)), "results": results}],
    }
    return {key: value for key, value in given.items() if value}


def _unnamed(facts: RunFacts) -> str:
    """Name a network that its author has not named: its kind and what it answers."""
    return f"{facts.values['model']['name']} for {facts.values['labels']['label_column']}"


def _named(key: str, numbers: Mapping[str, Any]) -> str:
    names = {**MEASURES, "brier": "Brier score"}
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    return names[key] if low is None or high is None else f"{names[key]} (95 % CI {low:.3f} to {high:.3f})"


def _yaml(value: Mapping[str, Any]) -> str:
    yaml, text = YAML(typ="safe", pure=True), io.StringIO()
    yaml.default_flow_style, yaml.sort_base_mapping_type_on_output, yaml.width = False, False, 4096  # type: ignore[assignment]
    yaml.dump(dict(value), text)
    return text.getvalue()


def _settings(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the params by dotted key; of the excluded cases their number, since the list names them."""
    ingest = dict(values["ingest"]) | {"exclude": f"{len(values['ingest']['exclude'])} cases"}
    return {key: params.value_of(value) for key, value in params.flatten({**values, "ingest": ingest}).items()}


def _measures(metrics: Mapping[str, Any]) -> list[list[str]]:
    """Return rows of the table of results: measure, value, lower and upper bound of the 95 % interval."""
    rows = []
    for key, name in MEASURES.items():
        bounds = (metrics[f"{key}_low"], metrics[f"{key}_high"])
        rows.append([name, wording.number(metrics[key]), *("-" if b is None else f"{b:.3f}" for b in bounds)])
    return [*rows, ["Brier score", wording.number(metrics["brier"]), "-", "-"]]


def _needed_by(key: str, lists: Mapping[str, list[Answer]]) -> str:
    """Name the items that wait for an answer: "CLAIM 2024 7; TRIPOD+AI 5a", or the cards' own heads."""
    waiting = {name: [a.item.number for a in found if key in a.asked] for name, found in lists.items()}
    return (
        "; ".join(f"{name} {', '.join(numbers)}" for name, numbers in waiting.items() if numbers) or "the cards' heads"
    )


def cell(text: str) -> str:
    """Make text fit for a cell of a table: one line, no bar."""
    return " ".join(text.split()).replace("|", "\\|")


def anchor(title: str) -> str:
    """Return the anchor that Markdown viewers give a heading."""
    return "".join(c for c in title.lower().replace(" ", "-") if c.isalnum() or c == "-")
