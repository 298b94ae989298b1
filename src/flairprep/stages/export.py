"""export: the cases of split.csv as TFRecord shards, a split for each fold."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import SimpleITK as sitk
from pydantic import Field

from flairprep import console, files, params, tfrecord, volumes
from flairprep.cases import CaseError, Code, Outcome, Status, failure, passed_on, read_csv, table, write_csv
from flairprep.errors import FlairprepError

SPLIT = Path("data/split/split.csv")
SLICES = Path("data/select_slices")
OUT = Path("data/export")


class Params(params.Section):
    """Section `export` of params.yaml."""

    cases_per_shard: int = Field(ge=1)


def tensor(image: sitk.Image) -> npt.NDArray[np.float16]:
    """The voxels of `image` as the network sees them: float16, (z, y, x, 1).

    Raises:
        CaseError: OUT_OF_RANGE where float16 cannot hold a value (over 65504) or one is not a number.
    """
    values = sitk.GetArrayViewFromImage(image)[..., np.newaxis]
    if not np.abs(values).max() <= np.finfo(np.float16).max:
        raise CaseError(Code.OUT_OF_RANGE, "a value is beyond float16; choose another normalize.intensity than none")
    return values.astype(np.float16)


def check_folds(split: pd.DataFrame, case_ids: list[str]) -> None:
    """Refuses a fold of `split` that none of `case_ids` is in."""
    left = set(split.loc[split["case_id"].isin(case_ids), "fold"])
    if empty := sorted(set(split["fold"]) - left):
        raise FlairprepError(
            f"{SPLIT}: fold {empty[0]}: every case of it failed after ingest; "
            "mend the cases (their codes stand above) or lower split.folds in params.yaml"
        )


def export_case(case_id: str, label: int) -> tuple[Outcome, bytes | None]:
    """One case from data/select_slices as a serialised example, None where it failed."""
    try:
        image = tensor(volumes.read(SLICES / f"{case_id}.nii.gz"))
    except CaseError as error:
        return failure(case_id, error), None
    return Outcome(case_id, Status.OK), tfrecord.encode(image, label, case_id)


def export(going: pd.DataFrame, out: Path, per_shard: int) -> list[Outcome]:
    """The cases of `going` (case_id, label, fold) as shards and their descriptions in `out`."""
    going = going.astype({"fold": int, "label": int}).sort_values(["fold", "case_id"])
    pairs = zip(going["case_id"], going["label"], strict=True)
    outcomes: list[Outcome] = []

    def examples() -> Iterator[bytes | None]:
        for case_id, label in console.progress(pairs, len(going), "export"):
            outcome, example = export_case(case_id, label)
            outcomes.append(outcome)
            yield example

    source = examples()
    sizes = Counter(going["fold"].tolist())
    splits = [tfrecord.write_fold(out, fold, source, sizes[fold], per_shard) for fold in sorted(sizes)]
    width, height, depth = volumes.size(SLICES / f"{going['case_id'].iloc[0]}.nii.gz")
    tfrecord.write_info(out, splits, (depth, height, width, 1))
    return outcomes


def main() -> None:
    """Reads data/split/split.csv and data/select_slices, writes data/export."""
    section = params.load(Params, "export")
    split = read_csv(SPLIT, ("case_id", "label", "fold"))
    failed, usable = passed_on(read_csv(SLICES / "cases.csv", ("case_id", "status")))
    going = split[split["case_id"].isin(usable["case_id"])]
    with files.whole_folder(OUT) as out:
        check_folds(split, going["case_id"].tolist())
        outcomes = export(going, out, section.cases_per_shard)
        console.summarise("export", outcomes, passed_on=len(failed))
        check_folds(split, [outcome.case_id for outcome in outcomes if outcome.status is Status.OK])
        write_csv(out / "cases.csv", table([*failed, *outcomes]))


if __name__ == "__main__":
    console.run(main, "export")
