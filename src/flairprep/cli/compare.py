"""flairprep compare: compare the runs that DVC knows, in files and on the terminal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flairprep.core import console, files, params
from flairprep.core.tables import write_csv
from flairprep.evaluation.measures import EvaluateParams
from flairprep.experiments import comparison, summary
from flairprep.experiments.runs import WORKSPACE, read_runs, setting_of
from flairprep.experiments.settings import select_comparable


def compare(
    names: Sequence[str],
    out: Path,
    *,
    this_commit: bool,
    html: bool,
    baseline: str | None,
    margin: float | None,
    section: EvaluateParams,
) -> None:
    """Read the runs, write compare.json, compare.csv and compare.vl.json into `out`, and print the answer.

    Args:
        names: of runs, see `read_runs`, as this_commit.
        out: a folder.
        this_commit: leave out the runs of earlier commits.
        html: write compare.html too, and compare_assets beside it with the reports of the runs.
        baseline, margin: see `comparison.compare`.
        section: alpha, permutations, their seed and the primary measure.

    Raises:
        FlairprepError: no run, or a name that neither git nor DVC knows.
    """
    known = read_runs(names, this_commit=this_commit)
    if not known.runs:
        _print_left_out(known.skipped)
    preferred = known.same_as.get(WORKSPACE, WORKSPACE)
    runs, not_comparable = select_comparable(known.runs, preferred) if known.runs else ([], {})
    flat = params.flatten(values := params.read_params())
    result = comparison.compare(
        runs,
        flat | setting_of(flat),
        alpha=section.alpha,
        primary=section.primary,
        baseline=baseline,
        margin=margin,
        permutations=section.permutations,
        seed=section.seed,
    )
    left_out = {**known.skipped, **not_comparable}
    earlier = [run.name for run in runs if run.name in known.earlier]
    report = summary.to_json({**result, "left_out": left_out, "same": known.same_as, "earlier": earlier})
    chart = summary.to_json(summary.chart(result))
    files.write_json(out / "compare.json", report)
    write_csv(out / "compare.csv", summary.csv_table(result))
    files.write_json(out / "compare.vl.json", chart)
    if html:
        from flairprep.experiments import compare_page  # altair, which takes a second

        compare_page.write(out, result, runs, values, left_out, known.same_as)
    console.say(summary.text_table(result))
    console.say("")
    _print_left_out({name: why for name, why in left_out.items() if name not in known.earlier})
    if other := known.earlier & set(left_out):
        console.say(f"left out: {len(other)} of earlier commits, with other data or splits; see {out}/compare.json")
    if earlier:
        console.say(f"{len(runs)} runs, {len(earlier)} of them of earlier commits (--this-commit leaves these out)")
    for sentence in result["answer"]:
        console.say(sentence)
    for command in result["commands"]:
        console.say(f"    {command}")


def _print_left_out(left_out: Mapping[str, str]) -> None:
    for name, reason in left_out.items():
        console.say(f"left out: {name}: {reason}")
