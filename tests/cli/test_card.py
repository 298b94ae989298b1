"""`flairprep card`: what it writes, keeps and refuses; tests/card has the content."""

import json
from pathlib import Path

import finished_run
import pytest
from workspace import contents, write_params

from flairprep.card import questions
from flairprep.cli import main

OUT = Path("reports/card")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("card")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        finished_run.write(folder)
    return folder


@pytest.fixture(autouse=True)
def _here(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(project)
    write_params(project, evaluate={"permutations": 99})
    Path("card.yaml").unlink(missing_ok=True)


def test_both_cards_and_the_questions_are_written_and_repeat_to_the_byte(capsys: pytest.CaptureFixture[str]) -> None:
    before = contents(Path("data")), contents(Path("reports/evaluate"))
    main.main(["card"])
    first = contents(OUT)
    assert set(first) == {"MODEL_CARD.md", "croissant.jsonld"}
    assert questions.read() == {}
    told = capsys.readouterr().out
    assert all(key in told for key in ("data_licence", "data_url", "authors", "data_published"))
    main.main(["card"])
    assert contents(OUT) == first
    assert (contents(Path("data")), contents(Path("reports/evaluate"))) == before


def test_what_the_author_wrote_is_kept_and_told() -> None:
    text = "# mine\nfunding:   Nobody paid.  # as yet\ndata_name: Ours\n"
    Path("card.yaml").write_text(text)
    main.main(["card"])
    assert Path("card.yaml").read_text() == text
    assert "Nobody paid." in (OUT / "MODEL_CARD.md").read_text()
    assert json.loads((OUT / "croissant.jsonld").read_text())["name"] == "Ours"


def test_the_reference_standard_may_stand_in_params(capsys: pytest.CaptureFixture[str]) -> None:
    keys = {"assay": "a pyrosequencer", "cut_off": "9 %", "dates": "one day"}
    for given, state in ((dict.fromkeys(keys), "open"), ({**keys, "dates": None}, "open"), (keys, "answered")):
        write_params(Path(), evaluate={"permutations": 99}, report=given)
        Path("card.yaml").write_text("annotators: a machine\n")
        main.main(["card"])
        text = (OUT / "MODEL_CARD.md").read_text()
        (row,) = [line for line in text.splitlines() if line.startswith("| 17 | Reference")]
        waiting = len(questions.QUESTIONS) - (2 if state == "answered" else 1)
        assert f"{waiting} of {len(questions.QUESTIONS)} " in capsys.readouterr().out
        assert row.split("|")[3].strip() == state
        assert ("a pyrosequencer" in text) == (given["assay"] is not None)


def test_another_folder_may_be_named(tmp_path: Path) -> None:
    main.main(["card", "--out", str(tmp_path / "new/folder")])
    assert set(contents(tmp_path / "new/folder")) == {"MODEL_CARD.md", "croissant.jsonld"}


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("out", "--out reports/metrics.json"),
        ("params", "params.yaml: split.folds"),
        ("answers", "card.yaml: unknown key 'fund'"),
        ("file", "reports/sanity.json"),
    ],
)
def test_a_fault_is_told_and_nothing_written(fault: str, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, path = ["card"], Path("reports/sanity.json")
    text = path.read_text()
    if fault == "out":
        arguments += ["--out", "reports/metrics.json"]
    elif fault == "params":
        write_params(Path(), split={"folds": 1})
    elif fault == "answers":
        Path("card.yaml").write_text("fund: x\n")
    else:
        path.unlink()
    before = contents(Path("reports"))
    with pytest.raises(SystemExit) as error:
        main.main(arguments)
    assert error.value.code == 1
    assert told in capsys.readouterr().err
    assert contents(Path("reports")) == before
    path.write_text(text)
