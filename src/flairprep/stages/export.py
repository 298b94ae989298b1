"""export: write the cases of split.csv as TFRecord shards, one split per fold."""

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
        CaseError: OUT_OF_RANGE: float16 cannot hold a value (over 65504), or one is not a number.
    """
    values = sitk.GetArrayViewFromImage(image)[..., np.newaxis]
    if not np.abs(values).max() <= np.finfo(np.float16).max:
        raise CaseError(Code.OUT_OF_RANGE, "a value is beyond float16; choose another normalize.intensity than none")
    return values.astype(np.float16)


def check_folds(split: Sequence[Row], case_ids: Collection[str]) -> None:
    """Refuse a fold of `split` without any of `case_ids`."""
    filled = {row["fold"] for row in split if row["case_id"] in case_ids}
    if empty := sorted({row["fold"] for row in split} - filled):
        raise FlairprepError(
            f"{SPLIT}: fold {empty[0]}: all its cases failed after ingest; "
            "fix them, see the codes above, or lower split.folds in params.yaml"
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


def export(rows: Sequence[Row], out: Path, per_shard: int, cache: ResultCache) -> list[Outcome]:
    """Write cases, as `rows` of (case_id, label, fold), as shards with their descriptions into `out`."""
    rows = sorted(rows, key=lambda row: (int(row["fold"]), row["case_id"]))
    cases = [(row["case_id"], int(row["label"])) for row in rows]
    outcomes: list[Outcome] = []

    def record_files(folder: Path) -> Generator[Path | None, None, None]:
        function = partial(export_case, out=folder)
        results = map_volumes(
            cache, function, cases, source=SLICES, out=folder, on_failure=failure_of, suffix=".tfrecord"
        )
        for outcome in results:
            outcomes.append(outcome)
            yield folder / f"{outcome.case_id}.tfrecord" if outcome.status is Status.OK else None

    with tempfile.TemporaryDirectory(dir=out) as folder, closing(record_files(Path(folder))) as records:
        sizes = Counter(int(row["fold"]) for row in rows)
        splits = [shards.write_fold(out, fold, records, sizes[fold], per_shard) for fold in sorted(sizes)]
        next(records, None)  # ends the progress
    width, height, depth = nifti.volume_size(SLICES / f"{cases[0][0]}.nii.gz")
    shards.write_info(out, splits, (depth, height, width, 1))
    return outcomes


def main() -> None:
    """Read data/split/split.csv and data/select_slices; write data/export."""
    section = params.load(ExportParams, "export")
    cache = ResultCache("export", __file__, {})
    split = read_rows(SPLIT, ("case_id", "label", "fold"))
    failed, cases = separate_failures(read_rows(SLICES / "cases.csv", OUTCOME_COLUMNS))
    case_ids = {row["case_id"] for row in cases}
    with files.atomic_folder(OUT) as out:
        check_folds(split, case_ids)
        outcomes = export([row for row in split if row["case_id"] in case_ids], out, section.cases_per_shard, cache)
        console.summarise("export", outcomes, passed_on=len(failed), reused=cache.reused)
        check_folds(split, {outcome.case_id for outcome in outcomes if outcome.status is Status.OK})
        write_rows(out / "cases.csv", table([*failed, *outcomes]), OUTCOME_COLUMNS)


if __name__ == "__main__":
    console.run(main, "export")
