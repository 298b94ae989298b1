"""Cost per case by size of the cohort: seconds, and memory of the process that holds the tables.

python bench/scale.py [--json bench/results/scale.json] > bench/results/scale.txt

The cases are small (12 slices of 32 x 32 voxels), so that costs that grow with their number show. The stages up to
export run as `dvc repro` runs them, without the result cache. The cohorts take turns and the median of their times
counts, since the speed of a shared machine varies.
"""

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import machine
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from ruamel.yaml import YAML

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("ingest", "normalize", "select_slices", "balance", "split", "audit", "export")
COHORTS = (100, 1000, 5000)
ROUNDS = 3
FEW, MANY = 20, 200  # cases; memory should grow by less than 1.3 between them
SLICES, EDGE = 12, 32
SMALL: dict[str, Any] = {"select_slices.count": 8, "select_slices.size": 16, "audit.permutations": 100}


def write_case(folder: Path, number: int) -> None:
    """Write a small skull-stripped head as folder/ID/FLAIR/N.dcm."""
    rng = np.random.default_rng([5, number])
    z, y, x = (np.indices((SLICES, EDGE, EDGE)) - np.array([SLICES, EDGE, EDGE])[:, None, None, None] / 2 + 0.5) * 1.0
    inside = (x / 12) ** 2 + (y / 14) ** 2 + (z / 5) ** 2 < 1
    voxels = np.where(inside, rng.integers(300, 900, inside.shape), 0).astype(np.int16)
    directory = folder / f"{number:06d}/FLAIR"
    directory.mkdir(parents=True)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.Modality, dataset.Manufacturer, dataset.PatientID = "MR", "SIEMENS", f"P{number}"
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=[f"{number} {keyword}"]))
    dataset.ImageOrientationPatient, dataset.PixelSpacing = [1, 0, 0, 0, 1, 0], [6, 6]
    dataset.Rows = dataset.Columns = EDGE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    for index, pixels in enumerate(voxels):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"1.2.826.0.{number + 1}.{index + 1}"
        dataset.ImagePositionPatient = [-96, -96, 12 * index]
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(directory / f"{index}.dcm", enforce_file_format=True)


def prepare(folder: Path, cases: int) -> None:
    """Write the working directory of a cohort: raw scans, labels, params.yaml."""
    yaml = YAML()
    section = yaml.load(ROOT / "params.yaml")
    for key, value in SMALL.items():
        stage, name = key.split(".")
        section[stage][name] = value
    (folder / "reports").mkdir()
    yaml.dump(section, folder / "params.yaml")
    rows = [f"{number:06d},{number % 2}" for number in range(cases)]
    for number in range(cases):
        write_case(folder / "data/raw/train", number)
    (folder / "data/raw/train_labels.csv").write_text("\n".join(["BraTS21ID,MGMT_value", *rows]) + "\n")
    os.sync()  # else the scans are written out while the stages run


def run(stage: str, folder: Path) -> tuple[float, float]:
    """Run a stage; return its seconds and the peak memory (MB) of its main process. That of workers stays constant."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "FLAIRPREP_CACHE": "off"}
    shutil.rmtree(folder / "data" / stage, ignore_errors=True)  # as DVC does
    start = time.perf_counter()
    command = [sys.executable, "-m", f"flairprep.stages.{stage}"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{stage}: {(folder / 'log').read_text()[-2000:]}")
    return time.perf_counter() - start, used.ru_maxrss / 1024


def main() -> None:
    """Print the tables; with --json also write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    environment = f"{machine.header(('numpy', 'SimpleITK', 'pydicom'))}, {len(os.sched_getaffinity(0))} cores"
    print(f"{environment}\n")
    counts = sorted({FEW, MANY, *COHORTS})
    runs: dict[tuple[str, int], list[tuple[float, float]]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as name:
        folders = {cases: Path(name, str(cases)) for cases in counts}
        for cases, folder in folders.items():
            folder.mkdir()
            prepare(folder, cases)
        for _ in range(ROUNDS):
            for (cases, folder), stage in itertools.product(folders.items(), STAGES):
                runs[stage, cases].append(run(stage, folder))
    medians = {stage: {cases: _medians(runs[stage, cases]) for cases in counts} for stage in STAGES}
    show(medians)
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": environment, "stages": medians}, indent=2) + "\n")


def _medians(runs: list[tuple[float, float]]) -> tuple[float, float]:
    seconds, megabytes = (median(values) for values in zip(*runs, strict=True))
    return seconds, megabytes


def show(medians: dict[str, dict[int, tuple[float, float]]]) -> None:
    """Print both tables. The cost of a case is the difference of two cohorts per case, without start-up."""
    steps = list(itertools.pairwise(COHORTS))
    print(f"{'ms per case':14}" + "".join(f"{f'{few} to {many}':>14}" for few, many in steps) + f"{'ratio':>8}")
    rows = {stage: [1000 * (cells[b][0] - cells[a][0]) / (b - a) for a, b in steps] for stage, cells in medians.items()}
    for stage, each in (rows | {"all": [sum(column) for column in zip(*rows.values(), strict=True)]}).items():
        print(f"{stage:14}" + "".join(f"{value:14.2f}" for value in each) + f"{each[-1] / each[0]:8.2f}")
    counts = sorted({FEW, MANY, *COHORTS})
    ratios = ((FEW, MANY), (COHORTS[0], COHORTS[-1]))
    titles = "".join(f"{count:>8}" for count in counts) + "".join(f"{f'{many} over {few}':>16}" for few, many in ratios)
    print(f"\n{'peak, MB':14}{titles}")
    for stage, cells in medians.items():
        row = "".join(f"{cells[count][1]:8.0f}" for count in counts)
        print(f"{stage:14}{row}" + "".join(f"{cells[many][1] / cells[few][1]:16.2f}" for few, many in ratios))


if __name__ == "__main__":
    main()
