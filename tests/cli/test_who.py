"""Find the patient of a case."""

from pathlib import Path

import pytest
from raw_folder import (
    RAW,
    export,
    make_project,
    pseudonym,
    put,
    put_key,
)

from flairprep.cli import main


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def test_who_prints_the_patient_of_a_case_and_nothing_else(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    put_key()
    main.main(["who", pseudonym("p3")])
    assert capfd.readouterr().out == "p3\n"
    put(RAW / "more", "", 9)
    main.main(["who", pseudonym("1.2.9")])
    assert capfd.readouterr().out == "(no patient id)\n"


def test_who_reads_folders_of_cases_too(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "00002/FLAIR", "p1", 1)
    main.main(["who", "00002"])
    assert capfd.readouterr().out == "p1\n"


def test_who_refuses_a_case_that_does_not_exist_with_a_hint(capfd: pytest.CaptureFixture[str]) -> None:
    export()
    put_key()
    wrong = pseudonym("p1")[:-1] + "?"
    with pytest.raises(SystemExit) as end:
        main.main(["who", wrong])
    assert end.value.code == 1
    error = capfd.readouterr().err
    assert f"no case '{wrong}'" in error
    assert f"did you mean '{pseudonym('p1')}'?" in error


@pytest.mark.parametrize("patient", ["\x1b[2Jp1", "p1\r\nerror: x"])
def test_who_does_not_let_a_header_move_the_cursor(patient: str, capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "00001/FLAIR", patient, 1)
    main.main(["who", "00001"])
    assert capfd.readouterr().out.removesuffix("\n").isprintable()
