"""Write cases as shards: first each as a file of one record, as export's workers do."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from flairprep.dataset import shards

Case = tuple[np.ndarray, int, str]  # image (z, y, x, 1), label, case_id


def write_records(folder: Path, cases: Iterable[Case | None]) -> list[Path | None]:
    """Write a file in `folder` for each case; None for None."""
    paths: list[Path | None] = []
    folder.mkdir(parents=True, exist_ok=True)
    for index, case in enumerate(cases):
        paths.append(None if case is None else folder / f"{index}.record")
        if case is not None:
            paths[-1].write_bytes(shards.record(*case))
    return paths


def write_fold(out: Path, fold: int, cases: Iterable[Case | None], per_shard: int) -> dict[str, Any]:
    """Write the cases as the shards of `fold` in `out`; return the entry of dataset_info.json."""
    records = write_records(out / "records", cases)
    lengths = {}
    for shard in shards.plan([(fold, str(index).zfill(9), 0) for index in range(len(records))], per_shard):
        kept = [path for name, _ in shard.cases if (path := records[int(name)]) is not None]
        shards.join(kept, out / shard.name)
        lengths[shard] = len(kept)
    (out / "records").rmdir()  # empty by now
    (entry,) = shards.splits_of(out, lengths)
    return entry
