"""A finished run made by hand and small, for the tests of its cards: what `reports` writes, an export and a network."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pandas as pd
from records import write_fold
from tables import put

import reports
from flairprep.dataset import shards
from flairprep.imaging import nifti

SHAPE = (8, 16, 16)
LAYERS = ("InputLayer", "Conv3D", "ReLU", "Conv3D", "ReLU", "Dense")
SIZES = ((3, 3, 3, 1, 4), (4,), (5, 1), (1,))  # of the stored arrays of one member: 108 + 4 + 5 + 1 = 118 numbers


def write_network(path: Path, members: int = 3, sizes: tuple[tuple[int, ...], ...] = SIZES) -> None:
    """A .keras archive as far as its layers and arrays go: `members` networks whose answers are averaged."""

    def layer(kind: str, **config: Any) -> dict[str, Any]:
        return {"class_name": kind, "name": kind.lower(), "config": config}

    entry = layer("InputLayer", batch_shape=[None, *SHAPE, 1])
    one = {"layers": [entry, *(layer(kind) for kind in LAYERS[1:])]}
    inner = [layer("Functional", **one) for _ in range(members)]
    config = {"layers": [entry, *inner, layer("Average")]} if members > 1 else one
    weights = io.BytesIO()
    with h5py.File(weights, "w") as file:
        for member in range(members):
            for index, size in enumerate(sizes):
                file[f"layers/functional_{member}/layers/layer_{index}/vars/0"] = np.zeros(size, np.float32)
        file["optimizer/vars/0"] = np.zeros(1000)
        file["layers/dropout/seed_generator/vars/0"] = np.zeros(2)
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps({"config": config}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.99.0"}))
        archive.writestr("model.weights.h5", weights.getvalue())


def write_export(split: pd.DataFrame, per_shard: int = 2) -> None:
    """data/export of the cases in `split` (case_id, label, fold), from their volumes in data/select_slices."""
    out, entries = Path("data/export"), []
    out.mkdir(parents=True)
    for fold, rows in split.groupby("fold"):
        cases = [(case_id, int(label)) for case_id, label in zip(rows["case_id"], rows["label"], strict=True)]
        entries.append(write_fold(out, int(fold), [(_image(case), label, case) for case, label in cases], per_shard))
    shards.write_info(out, entries, (*SHAPE, 1))


def _image(case_id: str) -> np.ndarray:
    image = nifti.read_volume(Path(f"data/select_slices/{case_id}.nii.gz"))
    return np.asarray(nifti.sitk.GetArrayFromImage(image), np.float16)[..., np.newaxis]


def write(folder: Path, count: int = 24, **report: Any) -> pd.DataFrame:
    """A finished run in the working folder `folder`; its cases, see reports.write_project.

    The case 00002 fails in a later stage.
    """
    cases = reports.write_project(folder, count, **report)
    split = pd.read_csv("data/split/split.csv", dtype=str)
    gone = split["case_id"] == "00002"
    write_export(split[~gone])
    rows = [("00000", "failed", "BLANK_VOLUME", ""), ("00002", "failed", "OUT_OF_RANGE", "")]
    rows += [(case_id, "ok", "", "") for case_id in split.loc[~gone, "case_id"]]
    table = pd.DataFrame(sorted(rows), columns=["case_id", "status", "code", "message"])
    put("data/export/cases.csv", table.to_csv(index=False))
    write_network(Path("data/train/model.keras"))
    return cases
