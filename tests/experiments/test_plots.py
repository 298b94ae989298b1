"""The page of plots: what it holds, and what it must not."""

import json
import re

import pytest

from flairprep.core.errors import FlairprepError
from flairprep.experiments import plots

HOSTILE = "</script><img src=http://example.org/x onerror=alert(1)>"


def specification(title: str) -> dict[str, object]:
    return {"title": title, "data": {"values": [{"x": 1, "text": HOSTILE}]}, "mark": "point"}


def test_the_page_holds_every_plot_and_its_runs_once() -> None:
    first = plots.Plot("roc", "ROC", ("workspace", "HEAD"), specification("ROC"))
    second = plots.Plot("loss", "Loss", ("HEAD",), specification("Loss"))
    page = plots.page(
        [first, second, plots.Plot("p", "A picture", ("HEAD",), pictures=("data:image/png;base64,AA==",))]
    )
    assert re.findall(r'<figure id="(\w+)"', page) == ["roc", "loss", "p"]
    assert "<h1>Plots of workspace, HEAD</h1>" in page
    assert page.count("vegaEmbed(document") == 2
    assert 'src="data:image/png;base64,AA=="' in page
    drawn = re.search(r'vegaEmbed\(document.getElementById\("roc"\), (.*), options\);', page)
    assert drawn is not None
    assert json.loads(drawn[1]) == first.specification, "names and data arrive as they are"


def test_texts_of_the_data_are_texts() -> None:
    page = plots.page([plots.Plot("roc", HOSTILE, (HOSTILE,), specification(HOSTILE))])
    assert HOSTILE not in page
    assert page.count("</script>") == 2, "the library and the plots, and no end within them"
    assert "content=\"default-src 'none'; " in page
    assert not re.search(r"""<(script|link|img)[^>]*(src|href)=["']?http""", page)


def test_without_a_plot_there_is_no_page() -> None:
    with pytest.raises(FlairprepError, match="dvc repro"):
        plots.page([])
