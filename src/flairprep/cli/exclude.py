"""flairprep exclude: take the cases that were rated exclude out of the next run."""

import argparse
from pathlib import Path

from flairprep.cli.check import ingest_section
from flairprep.core import console, files
from flairprep.core.errors import FlairprepError
from flairprep.core.params import FILE
from flairprep.core.tables import read_rows
from flairprep.study import excluded

CASES = Path("data/ingest/cases.csv")


def run(options: argparse.Namespace) -> None:
    """Add the cases of options.table that are rated exclude to ingest.exclude of params.yaml.

    Raises:
        FlairprepError: ingest has not run, or see `excluded.exclude`; params.yaml stays as it is.
    """
    rows = read_rows(options.table, excluded.COLUMNS)
    if not CASES.is_file():
        raise FlairprepError(f"{CASES}: missing, so no case is known; run dvc repro, or dvc checkout {CASES.parent}")
    known = {row["case_id"] for row in read_rows(CASES, ("case_id",))}
    listed = ingest_section().exclude
    found = excluded.exclude(FILE.read_text(encoding="utf-8"), rows, known, listed, options.table)
    if found.added:
        files.write_text(FILE, found.text)
    for case, reason in found.added.items():
        console.say(f"  {case}: {reason}")
    left = ", ".join(f"{sum(row['rating'] == name for row in rows)} {name}" for name in excluded.RATINGS[:2])
    console.say(
        f"exclude: {len(found.added)} cases added to {excluded.KEY}, {len(found.already)} listed before; "
        f"{left} left as they are"
    )
    if found.added:
        console.say("  next: dvc repro; ingest and all stages after it run again, training included")
