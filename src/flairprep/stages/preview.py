"""preview: draw every case, as acquired and as the network sees it, and measure its quality, before any training."""

from pathlib import Path

from flairprep.core import console, files, params
from flairprep.core.outcomes import OUTCOME_COLUMNS, separate_failures
from flairprep.core.tables import read_rows
from flairprep.report import case_pictures, quality

CASES = Path("data/ingest/cases.csv")
OUT = Path("reports/preview")


class BackgroundUsed(params.Section, extra="ignore"):
    """The value of everything but tissue, of section `normalize`."""

    background: float


def main() -> None:
    """Read data/ingest and data/select_slices; write reports/preview."""
    background = params.load(BackgroundUsed, "normalize").background
    _, rows = separate_failures(read_rows(CASES, OUTCOME_COLUMNS))
    with files.atomic_folder(OUT) as out:
        drawn = case_pictures.draw([row["case_id"] for row in rows], out, background)
        case_pictures.write(drawn, out)
        measured = quality.compare(drawn.qualities)
        quality.write(measured, out)
    outliers = sum(bool(one.outliers) for one in measured.values())
    console.say(f"preview: {console.plural(len(measured), 'case')}, {outliers} of unusual quality: {OUT}")


if __name__ == "__main__":
    console.run(main, "preview")
