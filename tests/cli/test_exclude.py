"""flairprep exclude: ratings become ingest.exclude, and the rest of params.yaml stays as it is."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML
from tables import put
from workspace import write_params

from flairprep.cli.main import main
from flairprep.core.errors import FlairprepError
from flairprep.study import params_text

CASES = ("00001", "00002", "00003", "P-7")


@pytest.fixture(autouse=True)
def _project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path)
    put("data/ingest/cases.csv", "case_id,status\n" + "".join(f"{case},ok\n" for case in CASES))


def rated(*lines: str) -> None:
    put("ratings.csv", "\n".join(["case_id,rating,comment", *lines, ""]))


def listed() -> dict[str, str]:
    return YAML(typ="safe").load(Path("params.yaml"))["ingest"]["exclude"]


def of_file(exclude: str) -> list[str]:
    """Write params.yaml with these lines for ingest.exclude; return its other lines."""
    text = Path("params.yaml").read_text(encoding="utf-8")
    (line,) = [line for line in text.splitlines() if line.startswith("  exclude:")]
    Path("params.yaml").write_text(text.replace(line, exclude), encoding="utf-8")
    return [one for one in text.splitlines() if one != line]


@pytest.mark.parametrize(
    ("before", "kept"),
    [
        ("  exclude: {}   # known bad cases", {}),
        ('  exclude: {"00003": dark}  # known bad cases', {"00003": "dark"}),
        ('  exclude:  # known bad cases\n    # looked at twice\n    "00003": dark  # really', {"00003": "dark"}),
    ],
)
def test_cases_rated_exclude_are_listed_with_their_comments(before: str, kept: dict[str, str]) -> None:
    others = of_file(before)
    rated('"00002","exclude","moved: ""a lot"" # 3"', "00001,good,fine", "P-7,exclude,", "00003,doubtful,dim")
    main(["exclude", "ratings.csv"])
    assert listed() == {**kept, "00002": 'moved: "a lot" # 3', "P-7": "rated exclude"}
    after = Path("params.yaml").read_text(encoding="utf-8")
    assert [line for line in after.splitlines() if line in others] == others
    for comment in before.split("#")[1:]:
        assert comment.splitlines()[0].strip() in after


def test_again_changes_nothing_and_a_reason_that_stands_there_stays() -> None:
    of_file('  exclude: {"00002": dark}')
    rated("00002,exclude,moved", "00001,exclude,")
    main(["exclude", "ratings.csv"])
    assert listed() == {"00002": "dark", "00001": "rated exclude"}
    first = Path("params.yaml").read_bytes()
    main(["exclude", "ratings.csv"])
    assert Path("params.yaml").read_bytes() == first


def test_what_a_spreadsheet_would_run_comes_back_as_it_was_typed() -> None:
    rated("""00001,exclude,'=1+1""")
    main(["exclude", "ratings.csv"])
    assert listed() == {"00001": "=1+1"}


@pytest.mark.parametrize(
    ("lines", "named"),
    [
        (["99999,exclude,gone"], "99999"),
        (["00001,bad,"], "'bad'"),
        (["00001,exclude,", "00001,good,"], "00001"),
        (["00001,exclude,", "2,exclude,"], "'2'"),
    ],
)
def test_what_cannot_be_right_is_refused_and_nothing_is_written(
    lines: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    rated(*lines)
    before = Path("params.yaml").read_bytes()
    with pytest.raises(SystemExit) as ended:
        main(["exclude", "ratings.csv"])
    assert ended.value.code == 1
    assert named in "".join(capsys.readouterr())
    assert Path("params.yaml").read_bytes() == before


def test_without_cases_nothing_is_known() -> None:
    rated("00001,exclude,")
    Path("data/ingest/cases.csv").unlink()
    with pytest.raises(SystemExit) as ended:
        main(["exclude", "ratings.csv"])
    assert ended.value.code == 1


def test_braces_over_several_lines_are_left_to_their_user() -> None:
    of_file('  exclude: {"00001": dark,  # why\n    "00002": dim}')
    with pytest.raises(FlairprepError, match=r"ingest\.exclude"):
        params_text.with_entries(Path("params.yaml").read_text(encoding="utf-8"), "ingest.exclude", {"P-7": "x"})
