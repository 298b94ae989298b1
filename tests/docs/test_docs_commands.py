"""Every command, file, column and key that a page names exists, and every command that is to be typed works."""

import argparse
import json
import re
import shlex
import time
from collections.abc import Iterator
from typing import Any

import miniature
import pytest
from docs_pages import DOCS, PAGES, README, ROOT, blocks, prose, quoted, table, typed
from miniature import Project

from flairprep.cli import main


@pytest.fixture(scope="module")
def commands() -> dict[str, argparse.ArgumentParser]:
    """Return the subcommands of flairprep, from the parser that cli.main would use."""
    made: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        made.append(parser)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(SystemExit):
            main.main([])
    return next(dict(a.choices) for a in made[0]._actions if isinstance(a, argparse._SubParsersAction))


def commands_of_pages() -> list[str]:
    """Return every command of flairprep, dvc and make on any page, in blocks, tables and sentences; no assignments."""
    commands: dict[str, None] = {}
    for text in PAGES.values():
        lines = [
            *typed(text),
            *quoted(prose(text)),
            *(s for kind, t in blocks(text) if kind == "text" for s in t.split("\n")),
        ]
        for line in lines:
            inner = re.findall(r"\$\((.*?)\)", line)
            for part in [*re.split(r" (?:&&|\|) ", re.sub(r"\$\(.*?\)", "NAME", line)), *inner]:
                command = re.sub(r"^(?:[A-Z_]+=\S* )*", "", part.strip())
                if re.match(r"(flairprep|dvc|make)( |$)", command):
                    commands[command] = None
    return list(commands)


def test_every_command_is_one_that_exists(
    commands: dict[str, argparse.ArgumentParser], monkeypatch: pytest.MonkeyPatch
) -> None:
    from dvc.cli.parser import DvcParser, get_main_parser

    def refuse(_: argparse.ArgumentParser, message: str, *__: Any) -> None:
        raise ValueError(message)

    monkeypatch.setattr(argparse.ArgumentParser, "error", refuse)
    monkeypatch.setattr(DvcParser, "error", refuse)
    dvc = get_main_parser()
    targets = {name for line in (ROOT / "Makefile").read_text().splitlines() for name in _targets(line)}
    faults = []
    for command in commands_of_pages():
        tool, *words = shlex.split(command)
        try:
            if tool == "make" and not set(words) <= targets:
                faults.append(f"{command}: no such target")
            elif tool == "dvc" and words:
                dvc.parse_args(words)
            elif tool == "flairprep" and words and words[0] not in {"--help"}:
                if words[0] in commands:
                    commands[words[0]].parse_args(words[1:])
                else:
                    faults.append(f"{command}: no such subcommand")
        except ValueError as error:
            if "arguments are required" not in str(error):  # a sentence may name a command without what it works on
                faults.append(f"{command}: {error}")
    assert not faults


def _targets(line: str) -> list[str]:
    names = re.match(r"([a-z][a-z -]*):", line)
    return names[1].split() if names else []


def test_every_subcommand_has_a_row_with_its_options(commands: dict[str, argparse.ArgumentParser]) -> None:
    told = {quoted(row[0])[0]: set(quoted(row[2])) for row in table(README, "command")}
    assert set(told) == {f"flairprep {name}" for name in commands}
    for name, parser in commands.items():
        options = {action.option_strings[-1] for action in parser._actions if action.option_strings} - {"--help"}
        assert options <= told[f"flairprep {name}"], name


# What the pass below does not run, and why.
NOT_RUN = {
    r"flairprep init .*|cd .*": "another project; tests/test_study.py types them in an environment of a wheel",
    r"tensorboard .*": "a program of its own, which flairprep does not install",
    r"make demo|make test": "they make .venv, in minutes; .ci/run makes test, and the pass starts with what demo runs",
    r"\. \.venv/bin/activate|pip .*": "no command of the project",
    r"ln -s .*|git add data/raw/train": "there is no other disk; tests/test_raw_link.py links a folder outside",
    r"flairprep key": "for exports; the miniature has a folder a case. tests/cli/test_main.py runs it",
    r"dvc queue kill NAME": "no run of the queue is going on; tests/test_resume.py kills one",
    r"dvc remote .*|dvc push.*|dvc pull.*|git push|dvc exp (push|pull) .*": "there is no remote",
    r"dask .*|FLAIRPREP_SCHEDULER=.*": "there is no cluster; tests/runner/test_cluster.py makes one",
    r"TF_CONFIG=.*": "there are no other hosts; tests/test_hosts.py runs it as two processes",
    r"flairprep view .*": "it serves until it is ended; tests/cli/test_view.py starts and ends it",
    r"flairprep cache .*": "it works on the user's own result cache",
}


# How the pass types what would take long, ask, or have nothing to do.
CHEAPER = {
    "lr=1e-4,5e-5,2e-5,1e-5": "lr=1e-5",
    "val_fold=0,1,2,3,4": "val_fold=1",
    "val_fold=0..4": "val_fold=0..2",
    "git commit": "git commit --allow-empty",
    "dvc gc": "dvc gc --force",
    "--baseline lr=1e-4": "--baseline 'epochs=2 lr=1e-4'",  # the pass has run other numbers of epochs before
}


@pytest.fixture(scope="module")
def typed_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a miniature in which every command of the pages ran once, in the order of the pages in README.md."""
    store = tmp_path_factory.mktemp("store")  # a result cache, as users have
    project = miniature.make(tmp_path_factory.mktemp("typed"), FLAIRPREP_CACHE=str(store))
    project.run("git", "config", "user.email", "test@example.org")
    project.run("git", "config", "user.name", "test")
    project.run("git", "add", "-A")
    project.repro()  # as make demo does
    order = ["README.md", *re.findall(r"^\| \[.*?\]\((docs/[\w-]+\.md)\)", README, re.MULTILINE)]
    lines = dict.fromkeys(line for page in order for line in typed(PAGES[page]))
    for line in lines:
        if any(re.fullmatch(pattern, line) for pattern in NOT_RUN):
            continue
        for costly, cheap in CHEAPER.items():
            line = line.replace(costly, cheap)
        if " NAME" in line:
            names = project.run("dvc", "exp", "list", "--all-commits", "--name-only").split()
            line = line.replace("NAME", names[0])
        project.run("env", "PYTHONPATH=src", *shlex.split(line))
        if line == "dvc queue start":
            wait(project)
    return project


def wait(project: Project) -> None:
    """Wait until the queue has done its runs."""
    deadline = time.monotonic() + 300  # of patience, in case the queue never ends
    while "Running" in (status := project.run("dvc", "queue", "status")) or "Queued" in status:
        assert time.monotonic() < deadline, status
        time.sleep(1)
    assert "Failed" not in status, status


@pytest.mark.slow
def test_every_command_that_is_to_be_typed_works(typed_project: Project) -> None:
    assert "lower-rate" in typed_project.run("git", "branch")
    assert (typed_project.root / "reports/all/compare.json").is_file()


def test_what_is_not_run_is_on_a_page() -> None:
    lines = [line for text in PAGES.values() for line in typed(text)]
    assert not [p for p in NOT_RUN if not any(re.fullmatch(p, line) for line in lines)]
    assert not [costly for costly in CHEAPER if not any(costly in line for line in lines)]


def columns_told() -> dict[str, list[str]]:
    """Return file -> columns, by the tables of all pages."""
    tables = [row for text in DOCS.values() for row in table(text, "file")]
    told = [row for row in tables if len(row) == 3]  # file, a row is, columns; not the tables of what a file holds
    return {quoted(file)[0]: quoted(columns) for file, _, columns in told}


@pytest.mark.slow
def test_every_table_is_told_with_its_columns(typed_project: Project) -> None:
    root = typed_project.root
    files = [path for part in ("data", "reports") for path in sorted((root / part).rglob("*.csv"))]
    written = {str(path.relative_to(root)): path.read_text().split("\n", 1)[0].split(",") for path in files}
    others = ("data/raw", "reports/all", "reports/preview")  # quality.csv has a table of formulas, see docs/metrics.md
    written = {name: columns for name, columns in written.items() if not name.startswith(others)}
    differing = json.loads((root / "reports/compare.json").read_text())["keys"]
    written["reports/compare.csv"] = [name for name in written["reports/compare.csv"] if name not in differing]
    assert columns_told() == written


@pytest.mark.slow
def test_every_key_of_a_report_is_told(typed_project: Project) -> None:
    told = set(quoted(DOCS["metrics"]))

    def keys(value: Any) -> Iterator[str]:
        for item in value if isinstance(value, list) else ():
            yield from keys(item)
        for key, item in value.items() if isinstance(value, dict) else ():
            yield key
            yield from keys(item) if key not in {"setting", "strata", "left_out", "same"} else ()

    for path in sorted((typed_project.root / "reports").rglob("*.json")):
        if path.name not in {"compare.vl.json", "captions.json"}:  # for the page alone
            assert set(keys(json.loads(path.read_text()))) <= told, path.name
