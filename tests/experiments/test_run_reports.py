"""The reports of runs beside the page that links to them: from git and the cache, never fetched."""

import os
from dataclasses import replace
from pathlib import Path

import comparisons
import pytest
from comparisons import Repository
from dvc_project import shell
from simulated_runs import simulate_run

from flairprep.experiments import run_reports


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repository:
    monkeypatch.chdir(tmp_path)
    return Repository(tmp_path)


def laid(there: Repository, **revisions: str | None) -> dict[str, run_reports.Laid]:
    """Lay the reports of runs in out/assets."""
    runs = [replace(simulate_run(name), revision=revision) for name, revision in revisions.items()]
    return run_reports.lay(runs, there.root / "out/assets", "assets")


def test_a_run_has_the_report_of_its_own_revision_and_its_pictures_by_link(there: Repository) -> None:
    revisions = {name: there.experiment(name) for name in ("one", "two")}
    reports = laid(there, **revisions)
    for name in revisions:
        assert reports[name] == (f"assets/{name}/index.html", "", "")
        page = there.root / "out" / reports[name].href
        assert page.read_text() == comparisons.REPORT.format(name=name)
        assert (page.parent / "assets/charts.js").read_text() == name
        picture = page.parent / "preview/before/1.png"
        assert picture.read_bytes() == comparisons.png()
        assert picture.stat().st_nlink == 3, "the cache's and two runs' are one file"
    assert shell(there.root, "git status --short --untracked-files=no") == "", "the workspace is left alone"


def test_the_workspaces_report_stays_where_it_is(there: Repository) -> None:
    assert laid(there, here=None)["here"] == ("../reports/index.html", "", "")
    (there.root / "reports/index.html").unlink()
    href, lacks, command = laid(there, here=None)["here"]
    assert (href, bool(lacks), command) == ("", True, "dvc repro report")


def test_a_run_after_the_workspace_has_its_report_in_the_folder_of_reports(there: Repository) -> None:
    runs = [
        replace(simulate_run(name), revision=revision) for name, revision in (("a", None), ("b", there.experiment("b")))
    ]
    reports = run_reports.lay(runs, there.root / "reports/compare_assets", "compare_assets")
    assert reports["a"].href == "index.html"
    assert reports["b"].href == "compare_assets/b/index.html"
    assert (there.root / "reports" / reports["b"].href).is_file()


def test_what_is_not_here_is_said_with_the_command_that_makes_it(there: Repository) -> None:
    bare, other = there.experiment("bare", pictures=False), there.experiment("other", own=False)
    branch = there.commit("third", pictures=False)
    reports = laid(there, bare=bare, other=other, third=branch)
    assert reports["bare"].href == "assets/bare/index.html", "the page alone still tells the numbers"
    assert reports["bare"].command == "dvc exp apply bare && dvc repro report"
    assert reports["other"].href == "", "a page of another run is not this one's"
    assert reports["other"].command == "dvc exp apply other && dvc repro report"
    assert reports["third"].command == f"git checkout {branch} && dvc repro report"
    assert all(report.lacks for report in reports.values())


def test_a_picture_that_the_cache_lost_is_counted(there: Repository) -> None:
    revision = there.experiment("one")
    digest = there.cached(comparisons.png())
    (there.cache / digest[:2] / digest[2:]).unlink()
    report = laid(there, one=revision)["one"]
    assert report.href
    assert report.lacks.startswith("1 of 2 ")


def test_where_links_are_refused_each_file_is_copied_once(there: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    revisions = {name: there.experiment(name) for name in ("one", "two")}
    link = os.link

    def beside(source: Path, target: Path) -> None:
        if there.cache in Path(source).resolve().parents:
            raise OSError(18, "on another disk")
        link(source, target)

    monkeypatch.setattr(os, "link", beside)
    assert not any(report.lacks for report in laid(there, **revisions).values())
    pictures = [there.root / f"out/assets/{name}/preview/before/1.png" for name in revisions]
    assert pictures[0].samefile(pictures[1])
    monkeypatch.setattr(run_reports, "MOST_COPIED", 1)
    again = run_reports.lay([replace(simulate_run("one"), revision=revisions["one"])], there.root / "full", "full")
    assert again["one"].lacks.startswith("2 of 2 ")


@pytest.mark.parametrize(
    ("names", "folders"),
    [
        (["feature/x", "feature_x", "Feature_X"], ["feature_x", "feature_x_2", "Feature_X_3"]),
        (["../up", "..", "a b (1234567)"], ["_up", "run", "a_b_1234567_"]),
    ],
)
def test_a_folder_is_called_as_its_run_without_what_a_path_reads(names: list[str], folders: list[str]) -> None:
    taken: list[str] = []
    for name in names:
        taken.append(run_reports.folder_name(name, taken))
    assert taken == folders
