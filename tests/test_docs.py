"""The documentation says what the code does: params, codes, metrics, columns, links, commands and snippets."""

import argparse
import ast
import importlib
import json
import pickle
import re
import runpy
import shlex
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from types import FunctionType
from typing import Any

import exports
import miniature
import numpy as np
import pandas as pd
import pytest
from miniature import Project
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.cli import main, sections
from flairprep.core import params
from flairprep.core.codes import WARNS, Code
from flairprep.evaluation import verdict
from flairprep.stages import evaluate
from flairprep.stats import (
    bootstrap,
    clinical,
    hypothesis_tests,
    intervals,
    metrics,
    permutation,
    power,
    ranking,
    replicates,
)

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = {path.stem: path.read_text(encoding="utf-8") for path in sorted((ROOT / "docs").glob("*.md"))}
PAGES = {"README.md": README, **{f"docs/{name}.md": text for name, text in DOCS.items()}}
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")
SHIPPED = YAML(typ="safe", pure=True).load(PARAMS)


# ---- how a page is read ----


def blocks(text: str) -> list[tuple[str, str]]:
    """The fenced blocks of a page: (language, content)."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def prose(text: str) -> str:
    """A page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def rows(text: str) -> list[list[str]]:
    """The cells of every row of every table, headings and rulers too."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def section(text: str, heading: str) -> str:
    """What stands between a heading and the next one of its rank or above."""
    level = heading.split(" ")[0]
    after = re.split(rf"^{re.escape(heading)}$", text, maxsplit=1, flags=re.MULTILINE)[1]
    return re.split(rf"^#{{1,{len(level)}}} ", after, maxsplit=1, flags=re.MULTILINE)[0]


def quoted(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`\n]+)`", text)


def table(text: str, first: str) -> list[list[str]]:
    """The rows below the heading `first` of a table's first column, of all such tables of a text."""
    found, inside = [], False
    for row in rows(text):
        if row[0] == first:
            inside = True
        elif re.fullmatch(r":?-+:?", row[0]):
            continue
        elif inside and row[0].startswith("`"):
            found.append(row)
        else:
            inside = False
    return found


def test_the_pages_are_those_that_the_readme_lists() -> None:
    assert {f"docs/{name}.md" for name in DOCS} == set(re.findall(r"^\| \[.*?\]\((docs/\w[\w-]*\.md)\)", README, re.M))


def test_the_readme_has_a_row_for_each_stage() -> None:
    told = [row[0] for row in rows(section(README, "## Stages")) if row[0] in PIPELINE["stages"]]
    assert told == list(PIPELINE["stages"])


@pytest.mark.parametrize("page", PAGES)
def test_each_block_says_what_it_is(page: str) -> None:
    """So that no command hides in a block that the tests below do not read."""
    assert {kind for kind, _ in blocks(PAGES[page])} <= {"sh", "text", "python", "yaml", "mermaid"}
    assert not re.search(r"\n\n    \S", prose(PAGES[page])), "an indented block"


# ---- params ----


def model_of(name: str | None) -> type[params.Section]:
    """The model that a section is checked against; None: the swept values at the top."""
    return sections.SWEPT if name is None else sections.SECTIONS[name]


def flat() -> dict[str, tuple[str | None, str]]:
    """Every key of params.yaml, dotted: its section and its name in it."""
    swept = {key: (None, key) for key in params.SWEPT}
    nested = {f"{name}.{key}": (name, key) for name in params.SECTIONS for key in SHIPPED[name]}
    return {**swept, **nested}


KEYS = flat()


def test_the_generated_pages_are_what_the_code_makes() -> None:
    """docs/params.md, docs/codes.md and params.schema.json: `make docs` writes them."""
    for path, text in runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, path


def test_every_param_is_described_and_has_a_row() -> None:
    listed = [quoted(row[0])[0] for row in table(DOCS["params"], "param") if len(row) == 4 and row[3]]
    assert listed == list(KEYS), "in the order of params.yaml"


def test_the_schema_knows_every_key_and_refuses_others() -> None:
    """Editors read it by the first line of params.yaml."""
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    path = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert path
    schema = json.loads((ROOT / path[1]).read_text())
    assert set(schema["properties"]) == {*params.SWEPT, *params.SECTIONS} == set(schema["required"])
    for name in params.SECTIONS:
        assert set(schema["properties"][name]["properties"]) == set(SHIPPED[name])
        assert schema["properties"][name]["additionalProperties"] is False
    assert schema["properties"]["normalize"]["properties"]["intensity"]["enum"]
    assert all(
        one.get("description") for name in params.SECTIONS for one in schema["properties"][name]["properties"].values()
    )


def variables() -> set[str]:
    """The environment variables that the code reads."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    return set(re.findall(r"""(?:environ\.get|environ|_positive_integer)[\[(]"(FLAIRPREP_[A-Z]+)""", code))


def test_every_environment_variable_has_a_row_and_no_other_has_one() -> None:
    listed = {quoted(row[0])[0] for row in table(DOCS["params"], "variable")}
    assert listed == variables()


def overrides() -> Iterator[tuple[str, str]]:
    """Every -S KEY=VALUE of every page, one value at a time."""
    for text in PAGES.values():
        for key, values in re.findall(r"-S '?([a-z_]+(?:\.[a-z_]+)?)=((?:\[[^\]]*\]|[^\s`'|)])+)", text):
            yield from ((key, value) for value in re.findall(r"\[[^\]]*\]|[^,]+", values))


@pytest.mark.parametrize(("key", "value"), sorted(set(overrides())))
def test_every_override_is_one_that_params_yaml_takes(key: str, value: str) -> None:
    where, name = KEYS[key]
    given = {key: SHIPPED[key] for key in params.SWEPT} if where is None else SHIPPED[where]
    params.validate(model_of(where), {**given, name: YAML(typ="safe", pure=True).load(value)}, where)


# ---- codes ----


def test_every_code_has_a_kind_a_cause_and_a_remedy() -> None:
    assert all(code.kind and code.cause and code.remedy for code in Code)
    assert {code for code in Code if code.kind == "warning"} == WARNS
    assert pickle.loads(pickle.dumps(Code.MOSAIC)) is Code.MOSAIC is Code("MOSAIC")


# ---- metrics ----


def first_columns(text: str, first: str) -> list[str]:
    return [name for row in table(text, first) for name in quoted(row[0])]


def test_every_metric_has_a_row_and_no_other_has_one() -> None:
    rng = np.random.default_rng(0)
    ids, labels = np.array([f"{n}" for n in range(8)]), np.array([0, 1] * 4)
    found = evaluate.Predictions(ids, labels, rng.uniform(size=(4, 8)), ids)
    section_of = evaluate.EvaluateParams(alpha=0.05, permutations=99, seed=0, prevalence=None)
    table_of = pd.DataFrame({"epoch": "1", "case_id": ids, "label": labels, "probability": "0.5", "group": ids})
    measures = evaluate.evaluate(found, "val_loss", section_of) | verdict.of_test_fold(table_of, table_of)
    assert sorted(first_columns(DOCS["metrics"], "metric")) == sorted([*measures, "diagnosis"])


def test_the_verdicts_are_those_of_the_code() -> None:
    verdicts = set(verdict.MEANING)
    assert set(first_columns(DOCS["metrics"], "verdict")) == verdicts


def test_the_diagnoses_and_the_checks_are_those_of_the_code() -> None:
    for modules, called, first in (
        ("evaluation/diagnosis.py", {"_diagnosis", "Diagnosis"}, "diagnosis"),
        ("sanity/*_checks.py", {"Check"}, "check"),
    ):
        trees = [ast.parse(path.read_text()) for path in (ROOT / "src/flairprep").glob(modules)]
        nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Call)]
        calls = [node for node in nodes if ast.unparse(node.func) in called]
        names = {node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)}
        assert set(first_columns(DOCS["metrics"], first)) == names


def test_the_plots_are_those_of_the_pipeline() -> None:
    assert first_columns(DOCS["metrics"], "plot") == [next(iter(plot)) for plot in PIPELINE["plots"]]


# ---- statistics ----

MEASURED = section(DOCS["statistics"], "## How often they are wrong")


def test_every_statistic_has_its_place_and_every_name_is_a_function() -> None:
    named = set(re.findall(r"`([a-z_]+\.[a-z_]+)`", DOCS["statistics"]))
    for name in named - set(KEYS):
        module, function = name.split(".")
        (path,) = (ROOT / "src/flairprep").glob(f"*/{module}.py")
        assert callable(getattr(importlib.import_module(f"flairprep.{path.parent.name}.{module}"), function)), name
    for module_of in (
        metrics,
        intervals,
        bootstrap,
        clinical,
        hypothesis_tests,
        power,
        permutation,
        ranking,
        replicates,
    ):
        own = {
            name
            for name, value in vars(module_of).items()
            if isinstance(value, FunctionType) and value.__module__ == module_of.__name__
        }
        word = module_of.__name__.split(".")[2]
        assert {f"{word}.{name}" for name in own if not name.startswith("_")} <= named


def test_every_number_that_was_measured_stands_in_the_results() -> None:
    printed = "".join(path.read_text() for path in (ROOT / "bench/results").glob("*.txt"))
    numbers = [n for row in rows(MEASURED)[2:] for n in re.findall(r"\d+(?:\.\d+)?%|\d+ of \d+", row[-1])]
    assert len(numbers) > 20
    assert not [n for n in numbers if n not in printed]


def test_every_measured_time_and_ratio_stands_in_the_results() -> None:
    printed = "".join(path.read_text() for path in (ROOT / "bench/results").glob("*.txt"))
    told = DOCS["speed"].partition("## A plan")[0]
    numbers = [n for n in re.findall(r"\d+\.\d\d+", told) if n != "0.9375"]
    assert len(numbers) > 10
    assert not [n for n in numbers if n not in printed]


def test_every_reference_is_given_and_used() -> None:
    given = [int(n) for n in re.findall(r"^(\d+)\. ", section(DOCS["statistics"], "## References"), re.MULTILINE)]
    used = {int(n) for n in re.findall(r"\[(\d+)\](?!\()", DOCS["statistics"])}
    assert given == sorted(used) == list(range(1, len(given) + 1))


# ---- links ----


def anchors(text: str) -> set[str]:
    """Those that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(PAGES[page])):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        path = ((ROOT / page).parent / name).resolve() if name else ROOT / page
        assert path.exists(), target
        assert path.is_relative_to(ROOT), target
        assert not anchor or anchor in anchors(path.read_text(encoding="utf-8")), target


# ---- commands ----


@pytest.fixture(scope="module")
def commands() -> dict[str, argparse.ArgumentParser]:
    """The subcommands of flairprep, from the parser that cli.main would use."""
    made: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        made.append(parser)
        raise SystemExit

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        with pytest.raises(SystemExit):
            main.main([])
    return next(dict(a.choices) for a in made[0]._actions if isinstance(a, argparse._SubParsersAction))


def typed(text: str) -> list[str]:
    """The commands of a page that stand in blocks to be typed, a line each."""
    return [line for kind, content in blocks(text) if kind == "sh" for line in content.splitlines()]


def written() -> list[str]:
    """Every command of flairprep, dvc and make on any page, in blocks, tables and sentences; without assignments."""
    found: dict[str, None] = {}
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
                    found[command] = None
    return list(found)


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
    for command in written():
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
    r"make demo|make test": "they make .venv, in minutes; .ci/run makes test, and the pass starts with what demo runs",
    r"\. \.venv/bin/activate|pip .*": "no command of the project",
    r"flairprep key": "for exports; the miniature has a folder a case. tests/cli/test_main.py runs it",
    r"dvc remote .*|dvc push.*|dvc pull.*|git push|dvc exp (push|pull) .*": "there is no remote",
    r"dask .*|FLAIRPREP_SCHEDULER=.*": "there is no cluster; tests/runner/test_cluster.py makes one",
    r"TF_CONFIG=.*": "there are no other hosts; tests/test_hosts.py runs it as two processes",
    r"flairprep cache .*": "it works on the user's own store",
}
# How the pass types what would take long, ask, or have nothing to do.
CHEAPER = {
    "lr=1e-4,5e-5,2e-5,1e-5": "lr=1e-5",
    "val_fold=0,1,2,3,4": "val_fold=1",
    "git commit": "git commit --allow-empty",
    "dvc gc": "dvc gc --force",
}


@pytest.fixture(scope="module")
def typed_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A miniature in which every command of the pages has run once, in the order in which README.md lists the pages."""
    project = miniature.make(tmp_path_factory.mktemp("typed"))
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
    """Until the queue has done its runs."""
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
    """File -> columns, by the tables of all pages."""
    found = [row for text in DOCS.values() for row in table(text, "file")]
    return {quoted(file)[0]: quoted(columns) for file, _, columns in found}


@pytest.mark.slow
def test_every_table_is_told_with_its_columns(typed_project: Project) -> None:
    root = typed_project.root
    files = [path for part in ("data", "reports") for path in sorted((root / part).rglob("*.csv"))]
    found = {str(path.relative_to(root)): path.read_text().split("\n", 1)[0].split(",") for path in files}
    others = ("data/raw", "reports/all", "reports/assets")
    found = {name: columns for name, columns in found.items() if not name.startswith(others)}
    differing = json.loads((root / "reports/compare.json").read_text())["keys"]
    found["reports/compare.csv"] = [name for name in found["reports/compare.csv"] if name not in differing]
    assert columns_told() == found


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
        if path.name != "compare.vl.json" and "assets" not in path.parts:
            assert set(keys(json.loads(path.read_text()))) <= told, path.name


# ---- snippets ----


def test_the_snippets_read_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    labels = {0: "0101", 1: "01010", 2: "1100"}
    exports.write_export(tmp_path, labels, lambda rng, label, _: exports.brain(rng, label, 1.0), per_shard=3)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for kind, content in blocks(DOCS["shards"]):
        if kind == "python" and not (content.startswith("import torch") and find_spec("torch") is None):
            exec(content, names)
    assert "p_selection" in capsys.readouterr().out
    shards, tf_data = names["Shards"], names["tf_data"]
    read = shards("data/export", [0, 1, 2], shape=(8, 12, 12))
    plain = [read[index] for index in range(len(read))]
    for (image, label, case_id), case in zip(plain, tf_data.dataset("data/export").as_numpy_iterator(), strict=True):
        assert image.dtype == np.float32
        assert np.array_equal(image[0], case["image"][..., 0].astype(np.float32))
        assert (label, case_id) == (case["label"], case["case_id"].decode())


@pytest.mark.parametrize("page", PAGES)
def test_every_snippet_parses(page: str) -> None:
    for kind, content in blocks(PAGES[page]):
        if kind == "python":
            ast.parse(content)
        if kind == "yaml":
            for name, values in YAML(typ="safe", pure=True).load(content).items():
                params.validate(model_of(name), {**SHIPPED[name], **values}, name)
