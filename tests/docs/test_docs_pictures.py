"""The pictures of the pages: which there are, what they weigh, and how docs/pictures.py reads a terminal."""

import re
import runpy
import sys
from collections.abc import Callable
from typing import Any

import pytest
from docs_pages import PAGES, ROOT, prose

FOLDER = ROOT / "docs/pictures"
SHOWN = [(name, *found) for name, text in PAGES.items() for found in re.findall(r"!\[(.*?)\]\((.*?)\)", prose(text))]
MADE = re.compile(r'(?:Shot|draw_terminal)\(\s*"([\w-]+)"')
LARGEST, LARGEST_SUM = 200_000, 1_000_000  # bytes


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    """What docs/pictures.py defines."""
    return runpy.run_path(str(ROOT / "docs/pictures.py"))


def test_every_picture_of_a_page_exists_and_says_in_words_what_it_shows() -> None:
    assert SHOWN
    for page, words, target in SHOWN:
        assert ((ROOT / page).parent / target).is_file(), (page, target)
        assert len(words.split()) >= 8, (page, target)


def test_every_picture_is_shown_and_made_by_the_script() -> None:
    shown = {((ROOT / page).parent / target).resolve() for page, _, target in SHOWN}
    files = set(FOLDER.iterdir())
    assert shown == files
    assert sorted(path.stem for path in files) == sorted(MADE.findall((ROOT / "docs/pictures.py").read_text("utf-8")))


def test_the_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in FOLDER.iterdir()}
    assert {name: size for name, size in sizes.items() if size > LARGEST} == {}
    assert sum(sizes.values()) < LARGEST_SUM


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.svg")), ids=lambda path: path.name)
def test_a_terminal_names_no_other_host_and_no_path_of_a_computer(path: Any) -> None:
    text = path.read_text(encoding="utf-8").replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "://" not in text
    assert "@font-face" not in text
    assert not re.search(r"/(tmp|home|root|work|Users|usr|var)\b", text)


@pytest.mark.parametrize(
    ("raw", "lines"),
    [
        ("one\r\ntwo\r\n", ["one", "two", ""]),
        ("bar 1\r\x1b[2Kbar 2\r\x1b[2K", [""]),
        ("\x1b[?25lbar 1\r\x1b[2Kwarning\r\nbar 2", ["warning", "bar 2"]),
        ("a\r\nb\r\n\r\x1b[2K\x1b[1A\x1b[2Kc", ["a", "c", ""]),
        ("\x1b[1mbold\x1b[0m", ["\x1b[1mbold\x1b[0m"]),
    ],
)
def test_a_line_that_a_bar_wrote_over_is_gone(raw: str, lines: list[str], script: dict[str, Any]) -> None:
    assert script["screen"](raw) == lines


def test_a_terminal_is_read_to_its_end_or_until_it_shows_a_text(script: dict[str, Any]) -> None:
    read: Callable[..., list[str]] = script["on_terminal"]
    code = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns); {}; print('end')"
    assert read((sys.executable, "-c", code.format("pass")), ROOT, 77) == ["True 77", "end"]
    assert read((sys.executable, "-c", code.format("sys.stdin.read()")), ROOT, 77, until="77") == ["True 77"]
