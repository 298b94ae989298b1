"""The `flairprep` command: what is not a stage."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flairprep.cli.check import check, ingest_section
from flairprep.core import console, params
from flairprep.core.errors import FlairprepError

METRICS = Path("reports/metrics.json")
DIAGNOSIS = Path("reports/evaluate/diagnosis.json")


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one subcommand; exit status 1 where something is to be mended."""
    parser = argparse.ArgumentParser(
        prog="flairprep",
        description="FLAIR scans to a verdict; the stages run by dvc.",
        epilog="example: flairprep demo, then dvc repro; flairprep COMMAND --help shows one for each",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    demo = _add(commands, "demo", "write a synthetic cohort as DICOM", "flairprep demo --cases 80 --out data/raw")
    demo.add_argument("--cases", type=int, default=80, metavar="N", help="sound cases; a few faulty ones come on top")
    demo.add_argument(
        "--signal", type=float, default=1.0, metavar="S", help="how much of a tumour the label explains, 0 to 1"
    )
    demo.add_argument(
        "--shortcut", type=float, default=0.0, metavar="R", help="how often the label chooses the scanner, 0 to 1"
    )
    demo.add_argument("--duplicates", type=int, default=0, metavar="N", help="cases that are copies of another patient")
    demo.add_argument("--seed", type=int, default=0, metavar="K", help="another seed, another cohort")
    demo.add_argument("--out", type=Path, default=Path("data/raw"), metavar="DIR", help="gets train/, train_labels.csv")

    check = _add(commands, "check", "find what would stop a run, before it runs", "flairprep check -S lr=1e-5")
    check.add_argument("-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="as for dvc exp run")

    inspect = _add(commands, "inspect", "say what ingest would do with scans", "flairprep inspect data/raw/train")
    inspect.add_argument("path", type=Path, metavar="PATH", help="a folder of DICOM files, or of folders of them")
    inspect.add_argument("--any-modality", action="store_true", help="judge the geometry of CT and others too")

    _add(commands, "key", "make the key that replaces patient ids, before dvc add", "flairprep key")

    who = _add(commands, "who", "print the patient id of a case, from the raw files", "flairprep who 5f3a1c0d9e8b7a62")
    who.add_argument("case", metavar="CASE", help="a case id, as in data/ingest/cases.csv")

    compare = _add(commands, "compare", "say whether the runs differ, and what would settle it", "flairprep compare")
    compare.add_argument(
        "experiments", nargs="*", metavar="RUN", help="names or revisions; default: all of dvc exp show"
    )
    compare.add_argument("--all-commits", action="store_true", help="the runs of every commit")
    compare.add_argument("--html", action="store_true", help="write a page too, compare.html")
    compare.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="of compare.json, .csv and .vl.json"
    )

    _add(commands, "plan", "print a screening design of 8 runs for the usual advice", "flairprep plan")

    cache = _add(commands, "cache", "tell or shrink what is kept of cases", "flairprep cache prune --max-size 20GB")
    actions = cache.add_subparsers(dest="action", required=True, metavar="ACTION")
    _add(actions, "info", "how many results lie where, and their size", "flairprep cache info")
    prune = _add(actions, "prune", "remove what was not used for longest", "flairprep cache prune --max-size 20GB")
    prune.add_argument("--max-size", required=True, metavar="SIZE", help="what may stay, e.g. 500MB or 20GB")
    _add(actions, "clear", "remove all", "flairprep cache clear")

    _add(commands, "verdict", "print the verdict of the last run", "flairprep verdict")

    options = parser.parse_args(argv)
    console.run(lambda: _run(options))


def _add(commands: Any, name: str, text: str, example: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=text, description=text, epilog=f"example: {example}"
    )
    return parser


def _run(options: argparse.Namespace) -> None:
    match options.command:
        case "demo":
            from flairprep.demo import cohort as demo

            demo.make(
                options.out,
                cases=options.cases,
                signal=options.signal,
                seed=options.seed,
                shortcut=options.shortcut,
                duplicates=options.duplicates,
            )
            console.say(f"demo: a cohort with signal {options.signal:g} and seed {options.seed} is in {options.out}")
        case "check":
            if faults := check(options.set_param):
                raise FlairprepError("\n       ".join(faults))
            console.say("check: params.yaml, the labels and the scans are ready for dvc")
        case "inspect":
            from flairprep.cli import inspect as inspection

            section = ingest_section()
            limits = {"exclude": section.exclude, "any_modality": options.any_modality}
            inspection.show(options.path, section.sequence, section.min_slices, **limits)
        case "key":
            from flairprep.cohort import case_ids

            dicom_dir = Path(ingest_section().dicom_dir)
            console.say(f"key: {case_ids.make_key(dicom_dir)}; next: dvc add {dicom_dir}")
        case "who":
            from flairprep.dicom import survey

            section = ingest_section()
            for patient in survey.patients(Path(section.dicom_dir), section.sequence, options.case):
                console.say((patient if patient.isprintable() else ascii(patient)) or "(no patient id)")
        case "compare":
            from flairprep.experiments import comparison as compare
            from flairprep.stages import evaluate

            section = params.load(evaluate.EvaluateParams, "evaluate")
            chosen = {"all_commits": options.all_commits, "html": options.html, **section.model_dump()}
            compare.run(options.experiments, options.out, **chosen)
        case "plan":
            from flairprep.experiments import screening

            given = params.read_params()
            console.say(screening.text(given["seed"], given["split"]["folds"], given["test_fold"]))
        case "cache":
            from flairprep.runner import cache_usage as cache

            match options.action:
                case "info":
                    found = cache.info()
                    console.say(
                        f"cache: {found.results} results of cases, {found.bytes / 1e9:.2f} GB, in {found.folder}"
                    )
                case "prune":
                    console.say(f"cache: {cache.prune(cache.size(options.max_size)) / 1e9:.2f} GB removed")
                case "clear":
                    console.say(f"cache: {cache.clear() / 1e9:.2f} GB removed")
        case "verdict":
            console.say(verdict())


def verdict() -> str:
    """What evaluate printed, from reports/metrics.json and its diagnosis."""
    from flairprep.evaluation import diagnosis
    from flairprep.stages import evaluate

    if not METRICS.is_file():
        raise FlairprepError(f"{METRICS}: no such file; `dvc repro` makes it")
    section = params.load(evaluate.EvaluateParams, "evaluate")
    told = evaluate.sentence(json.loads(METRICS.read_text()), section.alpha)
    if DIAGNOSIS.is_file():
        told += f"\n{diagnosis.Diagnosis(**json.loads(DIAGNOSIS.read_text()))}"
    return told
