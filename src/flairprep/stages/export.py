"""export: write the cases of split.csv as TFRecord shards, one split per fold."""

import tempfile
from collections.abc import Collection, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
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
from flairprep.runner.result_cache import Joined, ResultCache

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
    """Write cases, as `rows` of (case_id, label, fold), as shards with their descriptions into `out`.

    Where DVC has a shard as it would be again, it becomes a link to DVC's file.
    """
    planned = shards.plan(((int(row["fold"]), row["case_id"], int(row["label"])) for row in rows), per_shard)
    made = {shard: Joined(list(map(_volume, shard.cases)), shard.cases, out / shard.name) for shard in planned}
    linked = [shard for shard in planned if cache.link(made[shard])]
    outcomes = {shard: [Outcome(case_id, Status.OK) for case_id, _ in shard.cases] for shard in linked}
    cache.reused += sum(map(len, outcomes.values()))
    new = [shard for shard in planned if shard not in outcomes]
    cases = [case for shard in new for case in shard.cases]
    with tempfile.TemporaryDirectory(dir=out) as name:
        folder, work = Path(name), partial(export_case, out=Path(name))
        results = map_volumes(
            cache, work, cases, source=SLICES, out=folder, on_failure=failure_of, files=("{}.tfrecord",)
        )
        with closing(results):
            for shard in new:
                outcomes[shard] = own = list(islice(results, len(shard.cases)))
                written = [folder / f"{one.case_id}.tfrecord" for one in own if one.status is Status.OK]
                shards.join(written, out / shard.name)
                if len(written) == len(own):
                    cache.remember(made[shard])
            next(results, None)  # ends the progress
    lengths = {shard: sum(one.status is Status.OK for one in outcomes[shard]) for shard in planned}
    shape = nifti.volume_size(_volume(planned[0].cases[0]))[::-1]
    shards.write_info(out, shards.splits_of(out, lengths), (*shape, 1))
    return [outcome for shard in planned for outcome in outcomes[shard]]


def _volume(case: tuple[str, int]) -> Path:
    return SLICES / f"{case[0]}.nii.gz"


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
