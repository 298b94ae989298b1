"""export: the cases of split.csv as TFRecord shards, a split for each fold."""

import tempfile
from collections import Counter
from collections.abc import Collection, Generator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, Outcome, Status, failure, separate_failures, table
from flairprep.core.tables import Row, read_rows, write_rows
from flairprep.dataset import shards
from flairprep.imaging import nifti
from flairprep.runner.case_stage import failure_of, map_volumes
from flairprep.runner.result_cache import ResultCache

SPLIT = Path("data/split/split.csv")
SLICES = Path("data/select_slices")
OUT = Path("data/export")


class ExportParams(params.Section):
    """Section `export` of params.yaml."""

    cases_per_shard: int = Field(ge=1)
    """Most cases per TFRecord file; 64 take 134 MB at 64 x 128 x 128."""


def tensor(image: sitk.Image) -> npt.NDArray[np.float16]:
    """Return the voxels of `image` as the network sees them: float16, (z, y, x, 1).

    Raises:
        CaseError: OUT_OF_RANGE where float16 cannot hold a value (over 65504) or one is not a number.
    """
    values = sitk.GetArrayViewFromImage(image)[..., np.newaxis]
    if not np.abs(values).max() <= np.finfo(np.float16).max:
        raise CaseError(Code.OUT_OF_RANGE, "a value is beyond float16; choose another normalize.intensity than none")
    return values.astype(np.float16)


def check_folds(split: Sequence[Row], case_ids: Collection[str]) -> None:
    """Refuse a fold of `split` that none of `case_ids` is in."""
    left = {row["fold"] for row in split if row["case_id"] in case_ids}
    if empty := sorted({row["fold"] for row in split} - left):
        raise FlairprepError(
            f"{SPLIT}: fold {empty[0]}: every case of it failed after ingest; "
            "fix the cases (their codes stand above) or lower split.folds in params.yaml"
        )


def export_case(case: tuple[str, int], *, out: Path) -> Outcome:
    """Write one (case_id, label) from data/select_slices to out/ID.tfrecord."""
    case_id, label = case
    try:
        image = tensor(nifti.read_volume(SLICES / f"{case_id}.nii.gz"))
    except CaseError as error:
        return failure(case_id, error)
    (out / f"{case_id}.tfrecord").write_bytes(shards.record(image, label, case_id))
    return Outcome(case_id, Status.OK)


def export(going: Sequence[Row], out: Path, per_shard: int, cache: ResultCache) -> list[Outcome]:
    """Write the cases of `going` (case_id, label, fold) as shards, with their descriptions, into `out`."""
    going = sorted(going, key=lambda row: (int(row["fold"]), row["case_id"]))
    cases = [(row["case_id"], int(row["label"])) for row in going]
    outcomes: list[Outcome] = []

    def written(records: Path) -> Generator[Path | None, None, None]:
        work = partial(export_case, out=records)
        results = map_volumes(cache, work, cases, source=SLICES, out=records, on_failure=failure_of, suffix=".tfrecord")
        for outcome in results:
            outcomes.append(outcome)
            yield records / f"{outcome.case_id}.tfrecord" if outcome.status is Status.OK else None

    with tempfile.TemporaryDirectory(dir=out) as records, closing(written(Path(records))) as source:
        sizes = Counter(int(row["fold"]) for row in going)
        splits = [shards.write_fold(out, fold, source, sizes[fold], per_shard) for fold in sorted(sizes)]
        next(source, None)  # so that the progress ends
    width, height, depth = nifti.volume_size(SLICES / f"{cases[0][0]}.nii.gz")
    shards.write_info(out, splits, (depth, height, width, 1))
    return outcomes


def main() -> None:
    """Read data/split/split.csv and data/select_slices; write data/export."""
    section = params.load(ExportParams, "export")
    cache = ResultCache("export", __file__, {})
    split = read_rows(SPLIT, ("case_id", "label", "fold"))
    failed, usable = separate_failures(read_rows(SLICES / "cases.csv", OUTCOME_COLUMNS))
    whole = {row["case_id"] for row in usable}
    going = [row for row in split if row["case_id"] in whole]
    with files.atomic_folder(OUT) as out:
        check_folds(split, whole)
        outcomes = export(going, out, section.cases_per_shard, cache)
        console.summarise("export", outcomes, passed_on=len(failed), reused=cache.reused)
        check_folds(split, {outcome.case_id for outcome in outcomes if outcome.status is Status.OK})
        write_rows(out / "cases.csv", table([*failed, *outcomes]), OUTCOME_COLUMNS)


if __name__ == "__main__":
    console.run(main, "export")
