"""explanations: which cases the page explains, and what its pictures show."""

import multiprocessing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from workspace import contents, in_this_process, volume

import reports
from flairprep.core.errors import FlairprepError
from flairprep.explanation import maps
from flairprep.explanation.maps import Explanation
from flairprep.report import explanations
from flairprep.report.previews import BOX
from flairprep.runner import result_cache

COLUMNS = ["case_id", "label", "probability", "wrong", "flips"]


def table(*rows: tuple[str, int, float, float]) -> pd.DataFrame:
    """reports/evaluate/cases.csv as text."""
    return pd.DataFrame([(*row, 0) for row in rows], columns=COLUMNS).astype(str)


def test_the_most_certain_right_and_wrong_of_each_label_and_the_always_wrong_are_chosen() -> None:
    scored = table(
        ("00", 1, 0.70, 0.0),
        ("01", 1, 0.95, 0.1),
        ("02", 0, 0.05, 0.0),
        ("03", 0, 0.20, 0.0),
        ("04", 1, 0.30, 0.8),
        ("05", 1, 0.10, 0.9),
        ("06", 0, 0.99, 1.0),
        ("07", 0, 0.60, 1.0),
        ("08", 1, 0.45, 1.0),
        ("09", 0, 0.55, 0.6),
    )
    chosen = explanations.chosen(scored)
    assert list(chosen) == ["01", "02", "05", "06", "07"]
    assert "right" in chosen["01"]
    assert "right" in chosen["02"]
    assert "wrong case of label 1" in chosen["05"]
    assert "wrong case of label 0" in chosen["06"]
    assert "every epoch" in chosen["06"]
    assert chosen["07"] == "wrong in every epoch"


def test_ties_go_to_the_first_id_and_exactly_half_predicts_0() -> None:
    chosen = explanations.chosen(table(("b", 1, 0.9, 0.0), ("a", 1, 0.9, 0.0), ("c", 0, 0.5, 0.0)))
    assert list(chosen) == ["a", "c"]
    assert "right" in chosen["c"]


def test_red_lies_over_what_speaks_for_label_1_and_blue_over_what_speaks_against_it() -> None:
    values = np.full((16, 16, 16), -4.0, np.float32)
    values[4:12, 4:12, 4:12] = np.random.default_rng(0).normal(size=(8, 8, 8))
    image = volume(values, (2.0, 2.0, 2.0))
    response = np.zeros_like(values)
    response[8, 8, 9] = 2.0  # towards the patient's left: on the right of the picture
    response[8, 8, 6] = -1.5
    maps = [volume(each, (2.0, 2.0, 2.0)) for each in (response, -response)]
    one = Explanation(0.9, 2.2, 0.1, 1.0, (0.0, 0.0, 0.0), 2.0, *maps)
    (bare, trained, control), bar = explanations.rows_of(image, one, -4.0)
    assert bar > 0
    pixel = BOX // 16
    y = 8 * pixel + pixel // 2
    for strip, left, right in ((trained, "blue", "red"), (control, "red", "blue")):
        for x, colour in ((6, left), (9, right)):
            red, _, blue = strip.getpixel((x * pixel + pixel // 2, y))
            assert (red > blue + 40) == (colour == "red"), (x, red, blue)
            assert (blue > red + 40) == (colour == "blue"), (x, red, blue)
    grey = np.asarray(bare)
    assert (grey[..., 0] == grey[..., 2]).all(), "nothing lies over the input itself"
    sheet = explanations.picture(image, one, -4.0)
    assert sheet.size == (3 * BOX, 3 * (BOX + explanations.HEADING))


def test_a_map_like_its_control_is_said_to_show_the_input() -> None:
    def shown(correlation: float | None) -> bool:
        return explanations.Explained("a", 1, "", 0.9, correlation, 1.0, 20).shows_the_input

    assert [shown(value) for value in (0.1, -0.3, 0.8, 1.0, None)] == [False, False, True, True, True]


def test_all_slices_are_drawn_in_colour() -> None:
    values = np.zeros((9, 16, 16), np.float32)
    values[:, 4:12, 4:12] = 1.0
    image = volume(values)
    heat = sitk.Cast(image, sitk.sitkFloat32)
    one = Explanation(0.9, 2.2, 0.1, 1.0, (0.0, 0.0, 0.0), 1.0, heat, heat)
    sheet = np.asarray(explanations.all_slices(image, one, 0.0)).astype(int)
    assert sheet.shape == (3 * 64, 3 * 64, 3)
    for row in range(3):
        for column in range(3):
            red, _, blue = sheet[row * 64 + 32, column * 64 + 32]
            assert red > blue + 100


def draw(scored: pd.DataFrame, background: float, assets: Path) -> list[explanations.Explained]:
    with explanations.begun(scored, background, assets) as drawn:
        return drawn()


@pytest.mark.slow
def test_the_chosen_cases_of_a_run_are_drawn_and_nothing_else_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flairprep.explanation import networks
    from flairprep.network import model
    from flairprep.network.model_config import ModelParams

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setattr(networks, "keep_to", lambda _: None)  # of workers; this process has begun with more
    reports.write_volumes(["a", "b"])
    scored = table(("a", 1, 0.9, 0.0), ("b", 0, 0.2, 0.0), ("gone", 0, 0.8, 1.0))
    assert draw(scored, -4.0, tmp_path) == [], "train has not run"
    section = ModelParams(**{**dict.fromkeys(ModelParams.model_fields), "name": "resnet3d", "filters": [2]})
    maps.MODEL.parent.mkdir()
    model.build(section, (8, 16, 16, 1)).save(maps.MODEL)
    Path("assets").mkdir()
    shown = draw(scored, -4.0, Path("assets"))
    assert [(one.case_id, one.label) for one in shown] == [("a", 1), ("b", 0)]
    assert {path.as_posix() for path in Path("assets").rglob("*") if path.is_file()} == {
        f"assets/explain/{kind}/{case}.webp" for kind in maps.KINDS for case in "ab"
    }
    first = contents(Path("assets"))
    assert draw(scored, -4.0, Path("assets")) == shown
    assert contents(Path("assets")) == first
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    for workers in (1, 2):  # one thread after the other, and both at once
        monkeypatch.setenv("FLAIRPREP_WORKERS", str(workers))
        assert draw(scored, -4.0, Path("assets")) == shown
        assert contents(Path("assets")) == first


@pytest.mark.parametrize(("workers", "begun"), [(1, 1), (2, 1), (3, 2), (16, 2)])  # of two threads, but for the first
def test_an_error_while_the_maps_are_made_ends_the_workers_and_removes_their_folder(
    workers: int, begun: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    monkeypatch.setenv("FLAIRPREP_WORKERS", str(workers))
    reports.write_volumes(["a", "b"])
    maps.MODEL.parent.mkdir()
    maps.MODEL.write_bytes(b"no network")
    Path("assets").mkdir()

    def fail() -> None:
        with explanations.begun(table(("a", 1, 0.9, 0.0), ("b", 1, 0.1, 0.0)), -4.0, Path("assets")):
            assert len(multiprocessing.active_children()) == begun
            assert len(list(Path("assets").iterdir())) == 1
            raise KeyError("planted")

    with pytest.raises(KeyError, match="planted"):
        fail()
    assert not multiprocessing.active_children()
    assert not list(Path("assets").iterdir())


@pytest.mark.parametrize("late", [False, True], ids=["at the start", "at the end"])
def test_a_network_that_cannot_be_used_costs_the_maps_and_not_the_page(
    late: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail() -> None:
        raise FlairprepError("data/train/model.keras: planted")

    @contextmanager
    def failing(*_: object) -> Iterator[Callable[[], None]]:
        if not late:
            fail()
        yield fail

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(maps, "begun", failing)
    maps.MODEL.parent.mkdir(parents=True)
    maps.MODEL.touch()
    assert draw(table(("a", 1, 0.9, 0.0)), -4.0, tmp_path) == []
    assert caplog.text.count("planted") == 1
