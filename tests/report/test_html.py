"""Pages: texts stay texts, and nothing but the page's own script may run."""

import base64
import hashlib
import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from flairprep.report import html

PARTS = list(html.TEMPLATES.iterdir())


@pytest.fixture
def template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A template of one value, in the page's clothes."""
    for path in PARTS:
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    monkeypatch.setattr(html, "TEMPLATES", tmp_path)
    (tmp_path / "one.html").write_text(
        '{% extends "base.html" %}{% block main %}<p title="{{ a }}">{{ a }}</p>{% endblock %}'
    )
    return tmp_path


@pytest.mark.usefixtures("template")
def test_a_text_stays_a_text() -> None:
    text = html.render("one.html", a="<b>\"'&{{ 1 }}")
    assert '<p title="&lt;b&gt;&#34;&#39;&amp;{{ 1 }}">&lt;b&gt;&#34;&#39;&amp;{{ 1 }}</p>' in text


@pytest.mark.usefixtures("template")
def test_a_value_that_is_missing_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'a' is undefined"):
        html.render("one.html")


@pytest.mark.usefixtures("template")
def test_the_script_that_may_run_is_the_pages_own() -> None:
    text = html.render("one.html", a="")
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text
    assert "default-src 'none'" in text


def test_no_part_of_a_page_lies_elsewhere() -> None:
    for path in PARTS:
        assert not re.search(r"https?:|//[a-z]|@import|url\(", path.read_text(encoding="utf-8")), path


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (0.0942, "0.0942"),
        (1409.45, "1409"),
        (-4.0, "-4"),
        (2.6e-09, "2.6e-09"),
        (999.96, "1000"),
        (2e7, "2e+07"),
    ],
)
def test_numbers_are_short(value: float | None, text: str) -> None:
    assert html.number(value) == text


@pytest.mark.parametrize(("value", "text"), [(None, "-"), (0.5469, "54.7 %"), (1, "100.0 %")])
def test_shares_are_percents(value: float | None, text: str) -> None:
    assert html.percent(value) == text


@pytest.mark.parametrize("text", ["a b", "\"'><", "\u202e", "%41", "/../x", "ä"])
def test_the_name_of_a_place_holds_nothing_that_ends_it(text: str) -> None:
    assert re.fullmatch(r"[\w.~%-]+", html.anchor(text), re.ASCII)
    assert html.anchor(text) != html.anchor(text + "_")


@pytest.mark.parametrize("text", ['a"b', "a\\b", "a\nb", "</style><script>", "\u202eé 8 %", "f" * 3 + "1"])
def test_a_string_of_css_holds_nothing_that_ends_it(text: str) -> None:
    quoted = html.css(text)
    inside = quoted[1:-1]
    assert quoted[0] == quoted[-1] == '"'
    assert re.fullmatch(r"(\\[0-9a-f]{1,6} |[A-Za-z0-9])*", inside)
    assert re.sub(r"\\([0-9a-f]+) ", lambda found: chr(int(found[1], 16)), inside) == text
