"""The verdict on a terminal, and as plain text where it is piped."""

import io
import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from flairprep.cli import verdict, verdict_box
from flairprep.core.errors import FlairprepError
from flairprep.evaluation.verdict import MEANING

METRICS: dict[str, Any] = {
    "verdict": "no evidence",
    **{"accuracy": 0.6, "accuracy_low": 0.4, "accuracy_high": 0.8, "nir": 0.55},
    **{"auc": 0.75, "auc_low": 0.5, "auc_high": 1.0},
}


@pytest.mark.parametrize("width", [2, 11, 21, 60])
@pytest.mark.parametrize(
    ("low", "value", "high"), [(0, 0, 0), (0, 0.5, 1), (0.2, 0.4, 0.9), (1, 1, 1), (0.3, 0.3, 0.31)]
)
def test_an_interval_lies_where_its_numbers_are(low: float, value: float, high: float, width: int) -> None:
    line = verdict_box.interval_line(value, low, high, width)
    assert len(line) == width
    drawn = [place for place, sign in enumerate(line) if sign != " "]
    assert drawn == list(range(verdict_box.column(low, width), verdict_box.column(high, width) + 1))
    assert line.index("●") == verdict_box.column(value, width)
    assert (verdict_box.column(0, width), verdict_box.column(1, width)) == (0, width - 1)


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.93, 1])
def test_a_mark_points_at_its_share_and_stays_inside(share: float) -> None:
    line = verdict_box.mark_line(share, "NIR 55.0%", 40)
    assert len(line) == 40
    assert line.index("▲") == round(share * 39)
    assert "NIR 55.0%" in line


def test_interval_and_nir_share_an_axis() -> None:
    accuracy, nir, auc, chance = verdict_box.drawing(METRICS, 76)
    start, width = accuracy.index("├") - verdict_box.column(0.4, 53), 53
    assert accuracy.index("┤") - start == verdict_box.column(0.8, width)
    assert nir.index("▲") - start == verdict_box.column(0.55, width)
    assert auc.index("├") == chance.index("▲")
    assert "NIR 55.0%" in nir
    undrawn = verdict_box.drawing({**METRICS, "auc": None, "auc_low": None, "auc_high": None}, 76)
    assert undrawn == [accuracy, nir]


def shown(width: int, **options: Any) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=True, **options)
    lines = [f"verdict: no evidence: {MEANING['no evidence']}", "  a: " + "word " * 30, "    b"]
    console.print(verdict_box.render(lines, METRICS, console))
    return out.getvalue()


@pytest.mark.parametrize("width", [20, 40, 80, 120, 300])
def test_the_box_is_as_wide_as_the_terminal_up_to_a_limit(width: int) -> None:
    lines = shown(width, color_system=None).splitlines()
    assert {cell_len(line) for line in lines} == {min(width, verdict_box.WIDTH)}
    told = " ".join(re.sub(r"[│╭╮╰╯─]", "", line) for line in lines).split()
    assert told.count("word") == 30
    assert "evidence" in told
    assert set(MEANING["no evidence"].split()) <= set(told)


def test_colour_is_left_out_on_request() -> None:
    assert "\x1b[" in shown(80, color_system="standard")
    assert not re.search(r"\x1b\[[\d;]*3\d", shown(80, color_system="standard", no_color=True))


def project(folder: Path) -> None:
    (folder / "reports").mkdir()
    numbers = dict.fromkeys(("sensitivity", "specificity", "balanced_accuracy"), 0.5)
    numbers |= {f"{name}_{end}": 0.5 for name in tuple(numbers) for end in ("low", "high")}
    numbers |= {"p_auc": 0.3, "p_nir": 0.3, "p_selection": 0.5, "p_within": None, "p_without_leaks": None, "leaked": 0}
    numbers |= {"brier": 0.25, "n": 20, "prevalence": 0.5, "best_epoch": 1, "best_accuracy": 0.6}
    numbers |= {"better_than_nir": False, "declared_epochs": 3}
    (folder / "reports/metrics.json").write_text(json.dumps({**METRICS, **numbers}))
    (folder / "params.yaml").write_text((Path(__file__).parents[1] / "params.yaml").read_text())


def test_piped_output_is_plain_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    project(tmp_path)
    text = verdict.verdict()
    verdict.show()
    assert capsys.readouterr().out == f"{text}\n"
    assert text.startswith("verdict: no evidence: ")
    assert text.isascii()
    (tmp_path / "reports/metrics.json").unlink()
    with pytest.raises(FlairprepError, match="dvc repro"):
        verdict.show()


@pytest.mark.slow
@pytest.mark.parametrize(("variables", "boxed"), [({}, True), ({"NO_COLOR": "1"}, True), ({"TERM": "dumb"}, False)])
def test_a_terminal_shows_the_box(variables: dict[str, str], boxed: bool, tmp_path: Path) -> None:
    project(tmp_path)
    command = "from flairprep.cli.main import main; main(['verdict'])"
    environment = {"TERM": "xterm-256color", "COLUMNS": "80", "LC_ALL": "C.UTF-8", **variables}
    kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "FORCE_COLOR")}
    main_end, other_end = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", command], stdout=other_end, stderr=other_end, env={**kept, **environment}, cwd=tmp_path
    )
    os.close(other_end)
    told = b""
    while True:
        try:
            told += os.read(main_end, 4096)
        except OSError:  # the program has ended
            break
    os.close(main_end)
    assert process.wait(60) == 0
    assert ("╭".encode() in told) is boxed
    assert (re.search(rb"\x1b\[[\d;]*3\d", told) is not None) is (boxed and not variables)
