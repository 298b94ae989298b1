"""CLAIM 2024 and TRIPOD+AI: every item once, answered or open, and nothing that leads nowhere."""

import re

import pytest

from flairprep.card import checklists, model_card
from flairprep.card.facts import RunFacts
from flairprep.card.questions import QUESTIONS

CLAIM = [str(number) for number in range(1, 45)]
PARTS = {"3": "abc", "5": "ab", "6": "abc", "8": "abc", "9": "abc", "12": "abcdefg", "18": "abcdef", "20": "abc"}
PARTS |= {"23": "ab", "27": "abc"}
TRIPOD = [f"{number}{part}" for number in range(1, 28) for part in PARTS.get(str(number), " ")]
TRIPOD = [number.strip() for number in TRIPOD]


@pytest.mark.parametrize(("items", "numbers"), [(checklists.CLAIM, CLAIM), (checklists.TRIPOD, TRIPOD)])
def test_the_items_are_those_of_the_checklist(items: tuple[checklists.Item, ...], numbers: list[str]) -> None:
    assert [item.number for item in items] == numbers
    for item in items:
        assert item.passages or item.questions, item.number
        assert set(item.passages) <= set(model_card.TITLES), item.number
        assert set(item.questions) <= set(QUESTIONS), item.number


def test_every_question_is_for_an_item_or_for_the_cards_heads() -> None:
    asked = {key for item in (*checklists.CLAIM, *checklists.TRIPOD) for key in item.questions}
    cards = {*model_card.HEADS, "out_of_scope", "data_name"}
    assert asked | cards == set(QUESTIONS)


def test_an_item_is_open_until_each_of_its_questions_is_answered() -> None:
    item = checklists.Item("1", "topic", ("flow", "assay"), ("funding", "ethics"))
    passages = {"flow": "So many.", "assay": ""}
    for answers, state in (
        ({}, "open"),
        ({"funding": "none"}, "open"),
        ({"funding": "none", "ethics": "x"}, "answered"),
    ):
        (answer,) = checklists.answer((item,), passages, answers)
        assert (answer.state, answer.passages) == (state, ("flow",))
        assert answer.told == tuple(answers.values())
        assert set(answer.asked) == {"funding", "ethics"} - set(answers)


def rows_of(text: str, title: str) -> dict[str, list[str]]:
    """Return item -> cells of a checklist in the card."""
    section = re.split(r"^#{2,3} ", text.split(f"### {title}\n")[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    cells = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    assert len({row[0] for row in cells}) == len(cells), "an item stands twice"
    return {row[0]: row for row in cells}


def test_the_card_shows_every_item_once(finished: RunFacts) -> None:
    answers = dict.fromkeys(("funding", "label_meaning"), "told | by\nthe author")
    text = model_card.write(finished, answers, []).text
    for title, numbers, items in (("CLAIM 2024", CLAIM, checklists.CLAIM), ("TRIPOD+AI", TRIPOD, checklists.TRIPOD)):
        rows = rows_of(text, title)
        assert list(rows) == numbers
        for item in items:
            number, topic, state, answer = rows[item.number]
            waiting = [key for key in item.questions if key not in answers]
            assert (topic, state) == (item.topic, "open" if waiting else "answered"), number
            assert all(key in answer for key in waiting), number
            assert ("told \\| by the author" in answer) == bool(set(answers) & set(item.questions)), number
    anchors = {model_card.anchor(title) for title in re.findall(r"^#+ (.*)$", text, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([^)]*)\)", text)) <= anchors


def test_with_every_answer_nothing_is_open(finished: RunFacts) -> None:
    card = model_card.write(finished, dict.fromkeys(QUESTIONS, "said"), [])
    assert card.asked == {}
    for title in ("CLAIM 2024", "TRIPOD+AI"):
        assert {row[2] for row in rows_of(card.text, title).values()} == {"answered"}
    assert "*Open:" not in card.text
