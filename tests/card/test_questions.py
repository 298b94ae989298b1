"""card.yaml: written with every question, read with every answer, and kept."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flairprep.card import questions
from flairprep.core.errors import FlairprepError


def test_a_new_file_asks_every_question_and_answers_none(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    written = questions.blank()
    path.write_text(written)
    assert YAML(typ="safe").load(path) == dict.fromkeys(questions.QUESTIONS)
    assert questions.read(path) == {}
    for text in questions.QUESTIONS.values():
        assert written.count(f"# {text}\n") == 1


def test_no_file_is_no_answer(tmp_path: Path) -> None:
    assert questions.read(tmp_path / "card.yaml") == {}


def test_answers_are_text(tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text("funding: none\nsample_size: 585\ndata_published: 2027-01-31\nethics: |\n  a\n  b\nsetting: '  '\n")
    answers = {"funding": "none", "sample_size": "585", "data_published": "2027-01-31", "ethics": "a\nb"}
    assert questions.read(path) == answers


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("fundings: none\n", "'funding'"),
        ("funding: [a, b]\n", "funding"),
        ("funding: true\n", "funding"),
        ("funding: a: b\n", "YAML"),
        ("just text\n", "str"),
    ],
)
def test_a_faulty_file_is_one_line(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "card.yaml"
    path.write_text(text)
    with pytest.raises(FlairprepError) as error:
        questions.read(path)
    assert str(error.value).startswith(f"{path}: ")
    assert told in str(error.value)
    assert "\n" not in str(error.value)
