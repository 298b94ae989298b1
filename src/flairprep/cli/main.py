"""The `flairprep` command: everything that is not a stage."""

import argparse
import importlib
from collections.abc import Callable, Sequence
from pathlib import Path

from flairprep import __version__
from flairprep.cli.check import check, ingest_section, next_step
from flairprep.core import console, params
from flairprep.core.errors import FlairprepError

# Each command imports what it needs when it runs: the library takes a second, tensorflow several.


def main(argv: Sequence[str] | None = None) -> None:
    """Run one subcommand; exit status 1 where the user has to fix something."""

    def typed() -> None:
        options = parser().parse_args(argv)
        options.run(options)

    console.run(typed)


def parser() -> argparse.ArgumentParser:
    """Build the command line: one subparser per command, each with an example."""
    top = argparse.ArgumentParser(
        prog="flairprep",
        description="FLAIR scans to a verdict. DVC runs the stages; these commands do the rest.",
        epilog="example: flairprep demo, then dvc repro; flairprep COMMAND --help shows one for each",
    )
    top.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(
        run: Callable[[argparse.Namespace], None], name: str, text: str, example: str, *aliases: str
    ) -> argparse.ArgumentParser:
        command = commands.add_parser(
            name, aliases=aliases, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=f"example: {example}"
        )
        command.set_defaults(run=run)
        return command

    init = add(_run_of("init"), "init", "make a study of your own in a new folder", "flairprep init study --demo")
    init.add_argument("dir", type=Path, metavar="DIR", help="the study's folder")
    init.add_argument("--scans", type=Path, metavar="PATH", help="the folder of scans to look at; they stay there")
    init.add_argument("--labels", type=Path, metavar="TABLE", help="the table of labels to look at")
    init.add_argument("--label-column", metavar="NAME", help="its column of labels, where several may be")
    init.add_argument("--positive", metavar="TEXT", help="which of two texts means label 1, e.g. methylated")
    init.add_argument(
        "--demo", type=int, nargs="?", const=80, metavar="CASES", help="make a synthetic cohort in it, of 80 cases"
    )

    add(_run_of("upgrade"), "upgrade", "bring a study to the installed version", "flairprep upgrade")

    demo = add(_demo, "demo", "write a synthetic cohort as DICOM", "flairprep demo --cases 80 --out data/raw")
    demo.add_argument("--cases", type=int, default=80, metavar="N", help="sound cases; a few faulty ones come on top")
    demo.add_argument(
        "--signal", type=float, default=1.0, metavar="S", help="how much of a tumour the label explains, 0 to 1"
    )
    demo.add_argument(
        "--shortcut", type=float, default=0.0, metavar="R", help="how often the label chooses the scanner, 0 to 1"
    )
    demo.add_argument("--duplicates", type=int, default=0, metavar="N", help="cases that copy another patient's scan")
    demo.add_argument("--seed", type=int, default=0, metavar="K", help="another seed, another cohort")
    demo.add_argument("--out", type=Path, default=Path("data/raw"), metavar="DIR", help="gets train/, train_labels.csv")

    checked = add(_check, "check", "find what would stop a run, before it runs", "flairprep check -S lr=1e-5")
    checked.add_argument(
        "-S", "--set-param", action="append", default=[], metavar="KEY=VALUE", help="as for dvc exp run"
    )

    inspect = add(_inspect, "inspect", "show what ingest would do with scans", "flairprep inspect data/raw/train")
    inspect.add_argument("path", type=Path, metavar="PATH", help="a folder of scans, or of folders; or an archive")
    inspect.add_argument("--files", action="store_true", help="name the folder or archive of each series")
    inspect.add_argument("--any-modality", action="store_true", help="judge the geometry of CT and others too")

    for run, name, text, example in (
        (_pack, "pack", "turn the folder of each case into one archive", "flairprep pack data/raw/train --out packed"),
        (_unpack, "unpack", "turn archives into folders again", "flairprep unpack packed --out data/raw/train"),
    ):
        packer = add(run, name, text, example)
        packer.add_argument("folder", type=Path, metavar="DIR", help="the raw folder")
        packer.add_argument("--out", type=Path, metavar="NEW", help="write there and remove nothing")
        packer.add_argument("--remove", action="store_true", help="replace each, once the copy was read back")
        if name == "pack":
            packer.add_argument("--sequences", nargs="+", default=[], metavar="NAME", help="keep these only: FLAIR")

    add(_key, "key", "make the key that replaces patient ids, before dvc add", "flairprep key", "make-key")

    who = add(
        _run_of("who"),
        "who",
        "print the patient id of a case, from the raw files",
        "flairprep who 5f3a1c0d9e8b7a62",
        "patient-id",
    )
    who.add_argument("case", metavar="CASE", help="a case id, as in data/ingest/cases.csv")
    who.add_argument("--files", action="store_true", help="name the folder or archive of each series, too")

    compare = add(_compare, "compare", "show whether the runs differ, and what would settle it", "flairprep compare")
    compare.add_argument(
        "experiments", nargs="*", metavar="RUN", help="names or revisions; default: all that DVC knows"
    )
    compare.add_argument("--this-commit", action="store_true", help="leave out the runs of earlier commits")
    compare.add_argument("--baseline", metavar="SETTING", help="compare the others with this one only, e.g. lr=1e-4")
    compare.add_argument(
        "--equivalence", type=float, metavar="MARGIN", help="call settings equal that differ by less, e.g. 0.03"
    )
    compare.add_argument("--html", action="store_true", help="write a page too, compare.html")
    compare.add_argument(
        "--out", type=Path, default=Path("reports"), metavar="DIR", help="of compare.json, .csv and .vl.json"
    )

    explain = add(
        _run_of("explain"),
        "explain",
        "show where the network looks, beside a random one",
        "flairprep explain 00002 00013",
    )
    explain.add_argument("cases", nargs="+", metavar="CASE", help="a case id, as in data/split/split.csv")
    explain.add_argument(
        "--out", type=Path, default=Path("reports/explain"), metavar="DIR", help="of the maps, pictures and explain.csv"
    )

    view = add(_run_of("view"), "view", "show a case in the browser: scan, input, mask, map", "flairprep view 00002")
    view.add_argument("case", metavar="CASE", help="a case id, as in data/ingest/cases.csv")
    view.add_argument("--port", type=int, default=0, metavar="N", help="of 127.0.0.1; default: a free one")
    view.add_argument("--no-browser", action="store_true", help="print the address and open nothing")
    view.add_argument(
        "--maps", type=Path, default=Path("reports/explain"), metavar="DIR", help="what flairprep explain wrote"
    )

    add(_run_of("plan"), "plan", "print a screening design of 16 runs for the usual advice", "flairprep plan")

    example = "flairprep sweep lr=1e-4,1e-5 val_fold=0..4"
    swept = add(_run_of("sweep"), "sweep", "print the commands of a sweep from the last commit", example)
    swept.add_argument("assignments", nargs="+", metavar="KEY=VALUES", help="e.g. lr=1e-4,1e-5, or val_fold=0..4")
    swept.add_argument("--run", action="store_true", dest="do", help="type them too: queue, run, compare")

    plots = add(_run_of("plots"), "plots", "write the plots as a page that needs no internet", "flairprep plots HEAD")
    plots.add_argument("runs", nargs="*", metavar="RUN", help="names or revisions, overlaid; default: the workspace")
    plots.add_argument("--out", type=Path, default=Path("reports/plots.html"), metavar="FILE", help="the page to write")

    exclude = add(
        _run_of("exclude"),
        "exclude",
        "exclude the cases that were rated so in the report",
        "flairprep exclude ratings.csv",
    )
    exclude.add_argument("table", type=Path, metavar="FILE", help="ratings.csv, as the report's page hands it out")

    card = add(_run_of("card"), "card", "write the model card and the data set card of the last run", "flairprep card")
    card.add_argument(
        "--out", type=Path, default=Path("reports/card"), metavar="DIR", help="gets MODEL_CARD.md and croissant.jsonld"
    )

    cache = add(
        _cache, "cache", "show, prune or clear the result cache", "flairprep cache prune --max-size 20GB"
    ).add_subparsers(dest="action", required=True, metavar="ACTION")
    for action, text in (("info", "show where the cache is, its results and its size"), ("clear", "remove everything")):
        cache.add_parser(action, help=text, description=text, epilog=f"example: flairprep cache {action}")
    text, example = "remove what was not used for longest", "flairprep cache prune --max-size 20GB"
    prune = cache.add_parser("prune", help=text, description=text, epilog=f"example: {example}")
    prune.add_argument("--max-size", required=True, metavar="SIZE", help="what may stay, e.g. 500MB or 20GB")

    verdict = add(_verdict, "verdict", "print the verdict of the last run", "flairprep verdict")
    verdict.add_argument(
        "--predictions", type=Path, metavar="FILE", help="of any framework: CSV of epoch, case_id, label, probability"
    )

    example = "flairprep numbers --cases 117 --positives 61 --epochs 60 0.54 0.60 0.62 0.667"
    numbers = add(_numbers, "numbers", "judge accuracies, for those who have nothing else", example)
    numbers.add_argument("accuracies", nargs="+", type=float, metavar="ACCURACY", help="one per setting, 0 to 1")
    numbers.add_argument("--cases", type=int, required=True, metavar="N", help="validation cases")
    numbers.add_argument("--positives", type=int, required=True, metavar="N", help="those of label 1")
    numbers.add_argument("--epochs", type=int, default=1, metavar="N", help="each accuracy is the best of so many")

    example = "flairprep predict new/scans --out predictions.csv"
    predict = add(_run_of("predict"), "predict", "predict scans by the network of a run", example)
    predict.add_argument(
        "path", type=Path, metavar="PATH", help="a folder of cases, one case, an archive, a NIfTI file"
    )
    predict.add_argument("--out", type=Path, default=Path("predictions.csv"), metavar="FILE", help="the table to write")
    networks = predict.add_mutually_exclusive_group()
    networks.add_argument(
        "--run", nargs="+", default=[], dest="runs", metavar="RUN", help="experiments or revisions; several: their mean"
    )
    networks.add_argument("--folds", metavar="RUN", help="the mean over all folds of this run's setting")
    predict.add_argument("--on-failure", choices=("empty", "prior"), help="probability of a case that failed")
    predict.add_argument("--calibrate", action="store_true", help="by the validation cases of all folds there are")
    predict.add_argument("--kaggle", action="store_true", help="write BraTS21ID,MGMT_value, failed cases at the prior")

    example = "flairprep validate other/scans other/labels.csv --case-column id --label-column methylated"
    validate = add(_run_of("validate"), "validate", "validate the network of a run on another cohort", example)
    validate.add_argument("path", type=Path, metavar="PATH", help="the scans, as for predict")
    validate.add_argument("labels", type=Path, metavar="LABELS", help="their labels: a CSV, one row per case")
    validate.add_argument("--run", dest="network", metavar="RUN", help="an experiment or revision; default: workspace")
    validate.add_argument(
        "--out", type=Path, default=Path("reports/validation"), metavar="DIR", help="of validation.html and .json"
    )
    for part, what in (("case", "of case ids"), ("label", "of labels")):
        validate.add_argument(f"--{part}-column", metavar="NAME", help=f"{what}; default: labels.{part}_column")
    validate.add_argument("--positive", metavar="TEXT", help="the text of label 1; '' where labels are 0 and 1")
    return top


def _run_of(module: str) -> Callable[[argparse.Namespace], None]:
    """Return a function that imports flairprep.cli.MODULE when it is called, and calls its `run` with the options."""

    def run(options: argparse.Namespace) -> None:
        importlib.import_module(f"flairprep.cli.{module}").run(options)

    return run


def _demo(options: argparse.Namespace) -> None:
    from flairprep.demo import cohort

    kinds = ("cases", "signal", "seed", "shortcut", "duplicates")
    cohort.make(options.out, **{kind: getattr(options, kind) for kind in kinds})
    console.say(f"demo: a cohort with signal {options.signal:g} and seed {options.seed} is in {options.out}")


def _check(options: argparse.Namespace) -> None:
    if faults := check(options.set_param):
        raise FlairprepError("\n       ".join(faults))
    console.say("check: params.yaml, the labels and the scans are ready for dvc")


def _inspect(options: argparse.Namespace) -> None:
    from flairprep.cli import inspect

    inspect.show(options.path, ingest_section(), any_modality=options.any_modality, files=options.files)


def _pack(options: argparse.Namespace) -> None:
    from flairprep.cli.pack import pack

    pack(options.folder, options.out, remove=options.remove, sequences=options.sequences)


def _unpack(options: argparse.Namespace) -> None:
    from flairprep.cli.pack import unpack

    unpack(options.folder, options.out, remove=options.remove)


def _key(_: argparse.Namespace) -> None:
    from flairprep.cohort import case_ids

    dicom_dir = Path(ingest_section().dicom_dir)
    console.say(f"key: {case_ids.make_key(dicom_dir)}; next: {next_step(dicom_dir)}")


def _compare(options: argparse.Namespace) -> None:
    from flairprep.cli.compare import compare
    from flairprep.evaluation.measures import EvaluateParams

    section = params.load(EvaluateParams, "evaluate")
    if options.equivalence is not None and not 0 < options.equivalence < 1:
        raise FlairprepError(f"--equivalence {options.equivalence:g}: must be between 0 and 1, e.g. 0.03")
    compare(
        options.experiments,
        options.out,
        this_commit=options.this_commit,
        html=options.html,
        baseline=options.baseline,
        margin=options.equivalence,
        section=section,
    )


def _cache(options: argparse.Namespace) -> None:
    from flairprep.runner import cache_usage

    if options.action == "info":
        usage = cache_usage.info()
        console.say(f"cache: {usage.results} results of cases, {usage.bytes / 1e9:.2f} GB, in {usage.folder}")
        return
    freed = cache_usage.clear() if options.action == "clear" else cache_usage.prune(cache_usage.size(options.max_size))
    console.say(f"cache: {freed / 1e9:.2f} GB removed")


def _verdict(options: argparse.Namespace) -> None:
    if options.predictions is None:
        from flairprep.cli import verdict

        verdict.show()
    else:
        from flairprep.cli import own_predictions

        console.say(own_predictions.verdict(options.predictions))


def _numbers(options: argparse.Namespace) -> None:
    from flairprep.cli import numbers

    console.say(numbers.text(options.cases, options.positives, options.epochs, options.accuracies))
