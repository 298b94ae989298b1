"""flairprep compare: compare the runs that DVC knows, in files and on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flairprep.core import console, files, params
from flairprep.core.tables import write_csv
from flairprep.experiments import comparison, summary
from flairprep.experiments.runs import WORKSPACE, read_runs, setting_of
from flairprep.experiments.settings import select_comparable


def compare(
    names: Sequence[str], out: Path, *, all_commits: bool, html: bool, alpha: float, permutations: int, seed: int
) -> None:
    """Read the runs, write compare.json, compare.csv and compare.vl.json into `out`, and print the answer.

    Args:
        names: of runs, see `read_runs`, as all_commits.
        out: a folder.
        all_commits: read the runs of every commit.
        html: write compare.html too, a page in one file.
        alpha, permutations, seed: see `comparison.compare`.

    Raises:
        FlairprepError: no run, or a name that neither git nor DVC knows.
    """
    known = read_runs(names, all_commits=all_commits)
    if not known.runs:
        _print_left_out(known.skipped)
    preferred = known.same_as.get(WORKSPACE, WORKSPACE)
    runs, not_comparable = select_comparable(known.runs, preferred) if known.runs else ([], {})
    flat = params.flatten(params.read_params())
    result = comparison.compare(runs, flat | setting_of(flat), alpha=alpha, permutations=permutations, seed=seed)
    left_out = {**known.skipped, **not_comparable}
    report = summary.to_json({**result, "left_out": left_out, "same": known.same_as})
    chart = summary.to_json(summary.chart(result))
    files.write_json(out / "compare.json", report)
    write_csv(out / "compare.csv", summary.csv_table(result))
    files.write_json(out / "compare.vl.json", chart)
    if html:
        from flairprep.report import charts
        from flairprep.report.html import render

        rows = summary.text_rows(result)
        page = render("compare.html", comparison=report, rows=rows, chart=charts.compared(chart))
        files.write_text(out / "compare.html", page)
    console.say(summary.text_table(result))
    console.say("")
    _print_left_out(left_out)
    for sentence in result["answer"]:
        console.say(sentence)
    for command in result["commands"]:
        console.say(f"    {command}")


def _print_left_out(left_out: Mapping[str, str]) -> None:
    for name, reason in left_out.items():
        console.say(f"left out: {name}: {reason}")
