"""Editing params.yaml in place: values, comments and order of its user stay."""

import re
from typing import Any

import pytest
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.study import files, params_text

TEMPLATE = files.template("params.yaml")
SHIPPED = YAML(typ="safe", pure=True).load(PARAMS)
KEYS = [
    *params.SWEPT,
    *params.SECTIONS,
    *(f"{section}.{key}" for section in params.SECTIONS for key in SHIPPED[section]),
]
COMMENT = re.compile(r"#.*")
AT_ONCE = {"lr", "test_fold", "labels", "labels.table", "export.cases_per_shard", "train.augment", "report.dates"}


def load(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def without(text: str, key: str) -> str:
    """Return the text without a key's lines, by their indentation alone."""
    section, _, name = key.rpartition(".")
    lines, kept, inside, gone = text.splitlines(), [], "", False
    for line in lines:
        if line and not line.startswith((" ", "#")):
            inside = line.partition(":")[0]
            gone = key == inside
        elif line.startswith("  ") and section:
            gone = inside == section and line.strip().startswith(f"{name}:")
        if not gone or not line:
            kept.append(line)
        if section and gone:
            gone = False
    return re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).rstrip() + "\n"


@pytest.mark.parametrize("key", [pytest.param(k, marks=() if k in AT_ONCE else pytest.mark.slow) for k in KEYS])
def test_each_key_comes_back_where_it_was_with_its_comment(key: str) -> None:
    lacking = without(TEMPLATE, key)
    assert load(lacking) != load(TEMPLATE)
    change = params_text.upgraded(lacking, TEMPLATE)
    assert change.text == TEMPLATE
    section, _, name = key.rpartition(".")
    expected = SHIPPED[section][name] if section else SHIPPED[key]
    assert change.added == params.flatten({key: expected})
    assert change.removed == {}


def test_all_but_one_key_of_a_section_come_back_in_order() -> None:
    text = TEMPLATE
    for key in KEYS:
        if key.startswith("train.") and key != "train.augment":
            text = without(text, key)
    assert params_text.upgraded(text, TEMPLATE).text == TEMPLATE


def test_an_unchanged_version_changes_nothing() -> None:
    own = TEMPLATE.replace("1.0e-4 ", "3e-05").replace("\nlabels:", "\n# mine\n\n\nlabels:   # and this")
    own = own.replace("exclude: {}", 'exclude:\n    "00109": completely dark   # why\n    "7": b\n').rstrip("\n")
    change = params_text.upgraded(own, TEMPLATE)
    assert change.text.rstrip("\n") == own
    assert change.added == change.removed == {}


def test_values_and_comments_of_the_user_stay_beside_new_and_removed_keys() -> None:
    own = TEMPLATE.replace("lr: 1.0e-4            # learning rate of Adam at the start, > 0", "lr: 3e-05  # mine")
    own = own.replace("  exclude: {}  ", '  exclude:\n    "00109": completely dark  # seen by eye\n    "00002": x\n#')
    own = without(without(own, "ingest.pick"), "evaluate")
    own = own.replace("\nsplit:", "\nold_section:\n  a: 1  # gone\n  b:\n    - 2\n\nsplit:")
    own = own.replace("  folds: 5 ", "  # of an older version\n  rounds: [1, 2]  # gone too\n  folds: 7 ")
    change = params_text.upgraded(own, TEMPLATE)
    expected = load(TEMPLATE) | {"lr": 3e-05}
    expected["ingest"]["exclude"] = {"00109": "completely dark", "00002": "x"}
    expected["split"]["folds"] = 7
    assert load(change.text) == expected
    assert change.removed == {"old_section.a": 1, "old_section.b": [2], "split.rounds": [1, 2]}
    assert change.added == {
        "ingest.pick": {},
        **{f"evaluate.{key}": value for key, value in SHIPPED["evaluate"].items()},
    }
    assert "lr: 3e-05  # mine\n" in change.text
    assert '"00109": completely dark  # seen by eye\n' in change.text
    assert "gone" not in change.text
    assert "older version" not in change.text
    lines = change.text.splitlines()
    (pick,) = [line for line in TEMPLATE.splitlines() if line.startswith("  pick:")]
    assert lines.index(pick) > lines.index('    "00002": x')


@pytest.mark.parametrize(
    "own",
    [
        re.sub(r"(?s)\nbalance:.*?\n\n", "\nbalance: {alpha: 0.1}\n\n", TEMPLATE),
        TEMPLATE.replace("labels:\n", "labels: [\n"),
        "- 1\n",
    ],
)
def test_what_cannot_be_edited_in_place_is_refused(own: str) -> None:
    with pytest.raises(FlairprepError, match=r"params\.yaml"):
        params_text.upgraded(own, TEMPLATE)


VALUES = {
    "labels.table": "data/raw/labels of 2024.csv",
    "labels.case_column": "Fall-Nr: #",
    "labels.label_column": "1e-5",
    "labels.positive": "no",
    "ingest.dicom_dir": "data/raw/a",
    "epochs": 3,
    "train.tensorboard": True,
    "test_fold": None,
}


def test_values_are_written_as_they_read_back_and_comments_stay() -> None:
    text = params_text.with_values(TEMPLATE, VALUES)
    assert params.flatten(load(text)) == params.flatten(load(TEMPLATE)) | VALUES
    written, shipped = (COMMENT.findall(re.sub(r'"[^"\n]*"', "", t)) for t in (text, TEMPLATE))
    assert written == [
        COMMENT.findall(re.sub(r'"[^"\n]*"', "", line))[0] for line in TEMPLATE.splitlines() if "#" in line
    ]
    assert len(written) == len(shipped)
    (own,) = [line for line in text.splitlines() if line.startswith("epochs")]
    (other,) = [line for line in TEMPLATE.splitlines() if line.startswith("epochs")]
    assert own.index("#") == other.index("#")


def test_a_value_of_a_key_that_is_not_there_is_refused() -> None:
    with pytest.raises(FlairprepError, match="lrr"):
        params_text.with_values(TEMPLATE, {"lrr": 1})
