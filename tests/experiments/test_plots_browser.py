"""The plots of the project's dvc.yaml, of two commits, in headless Chromium without a network."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import CHROMIUM, NEEDS_CHROMIUM
from dvc_project import shell
from ruamel.yaml import YAML

from flairprep.cli import main
from flairprep.core.errors import FlairprepError
from flairprep.experiments import plots

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright drives the browser")
ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, NEEDS_CHROMIUM]

TABLES = {
    "data/train/history.csv": "epoch,accuracy,val_accuracy,nir,loss,val_loss,accuracy_inference\n"
    "1,0.5,0.5,0.5,0.7,0.7,0.5\n2,{x},0.5,0.5,{x},0.6,0.6\n",
    "reports/evaluate/roc.csv": "false_positive_rate,true_positive_rate\n0,0\n0,{x}\n1,{x}\n1,1\n",
    "reports/evaluate/confusion.csv": "actual,predicted\n0,0\n1,1\n0,1\n",
    "reports/evaluate/probability.csv": "probability,label,cases,note\n0.25,0,3,\n0.75,1,{n},\n",
    "reports/evaluate/epochs.csv": "epoch,case_id,label,probability,note\n1,a,0,0.2,\n"
    "2,a,0,{x},\n1,b,1,0.7,\n2,b,1,0.8,\n",
    "reports/evaluate/reliability.csv": "probability,share\n0.1,0\n0.5,{x}\n0.9,1\n",
    "reports/balance/labels.csv": "by,value,label,cases\nall,all cases,0,5\nall,all cases,1,{n}\n",
    "reports/balance/detectable.csv": "cases,nir,accuracy,auc\n10,0.5,0.9,{x}\n20,0.5,0.8,0.8\n",
}
NAMES = ["accuracy", "loss", "batch_norm", "roc", "confusion", "probability", "probabilities", "reliability"]
NAMES += ["labels", "detectable"]


def write(root: Path, x: float, n: int) -> None:
    for name, text in TABLES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.format(x=x, n=n))


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project with the plots of dvc.yaml and two commits of their tables."""
    root = tmp_path_factory.mktemp("plots")
    for command in ("git init -q -b main", "git config user.email a@example.org", "git config user.name a"):
        shell(root, command)
    shell(root, "dvc init -q")
    yaml = YAML(typ="safe", pure=True)
    YAML().dump({"plots": yaml.load(ROOT / "dvc.yaml")["plots"]}, root / "dvc.yaml")
    shutil.copytree(ROOT / ".dvc/plots", root / ".dvc/plots")
    for x, n in ((0.6, 4), (0.9, 7)):
        write(root, x, n)
        shell(root, "git add -A")
        shell(root, f"git commit -q -m {n}")
    return root


def values(plot: plots.Plot, column: str) -> set[tuple[str, float]]:
    assert plot.specification is not None
    return {(row["rev"], float(row[column])) for row in plot.specification["data"]["values"]}


def test_runs_are_overlaid_as_dvc_does(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    own = plots.read_plots()
    assert [plot.name for plot in own] == NAMES
    assert {plot.revisions for plot in own} == {("workspace",)}
    both = {plot.name: plot for plot in plots.read_plots(["HEAD~1", "HEAD"])}
    assert list(both) == NAMES
    assert values(both["reliability"], "share") >= {("HEAD~1", 0.6), ("HEAD", 0.9)}
    assert values(both["labels"], "cases") >= {("HEAD~1", 4), ("HEAD", 7)}
    with pytest.raises(FlairprepError, match="nowhere"):
        plots.read_plots(["nowhere"])


@pytest.fixture(scope="module")
def page(repository: Path) -> Iterator[Any]:
    """The page in a browser that is offline, with what it asked for and complained of."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(repository)
        main.main(["plots", "HEAD~1", "HEAD", "--out", "page.html"])
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM)
        opened = chromium.new_context(offline=True).new_page()
        opened.asked, opened.errors = [], []
        opened.on("request", lambda request: opened.asked.append(request.url))
        opened.on("console", lambda message: opened.errors.append(message.text) if message.type == "error" else None)
        opened.on("pageerror", lambda error: opened.errors.append(str(error)))
        opened.goto((repository / "page.html").as_uri())
        drawn = "[...document.querySelectorAll('figure')].every((f) => f.querySelector('svg path'))"
        opened.wait_for_function(drawn, timeout=60_000)
        yield opened
        chromium.close()


def test_every_plot_is_drawn_and_nothing_leaves_the_page(page: Any, repository: Path) -> None:
    assert page.evaluate("[...document.querySelectorAll('figure')].map((f) => f.id)") == NAMES
    assert page.errors == []
    assert page.asked == [(repository / "page.html").as_uri()]
    assert page.evaluate("[...document.querySelectorAll('a')].filter((a) => a.href.startsWith('http')).length") == 0
    blocked = "fetch('http://127.0.0.1:9/').then(() => 'loaded', (error) => error.name)"
    assert page.evaluate(blocked) == "TypeError"


@pytest.mark.parametrize("name", ["roc", "reliability"])
def test_the_diagonal_goes_from_corner_to_corner(page: Any, name: str) -> None:
    line = page.evaluate(f"document.querySelector('#{name} path[stroke-dasharray=\"4,4\"]').getAttribute('d')")
    assert line == "M0,300L300,0"
    lines = page.evaluate(f"document.querySelectorAll('#{name} .mark-line path').length")
    assert lines == 3, "the diagonal and a line a run"
