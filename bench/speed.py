"""Time from DICOM to the network's input, for flairprep and for other tools.

python bench/speed.py [--json bench/results/speed.json] > bench/results/speed.txt

The cohort is synthetic: series of 189 slices of 256 x 256 voxels, int16, 0.9375 x 0.9375 x 1 mm, axial and sagittal in
turn, files in shuffled order. A head is smooth tissue with noise, skull-stripped, or whole with noise in the air. In
each round each tool processes each case once, sequentially, in a process of its own, on one thread. A ratio is the
median, over cases and rounds, of a tool's time over flairprep's in the same round. Missing tools are skipped: pip
install flairprep[bench].
"""

# ruff: noqa: E402
import os

ONE = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS")
os.environ |= dict.fromkeys(ONE, "1") | {"FLAIRPREP_CACHE": "off"}

import argparse
import contextlib
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import machine
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.ndimage import gaussian_filter

from flairprep.cli import sections
from flairprep.core import memory, params
from flairprep.dataset import shards
from flairprep.dicom import discovery, survey
from flairprep.imaging import skull_stripping
from flairprep.runner import map_cases
from flairprep.stages import export, ingest, normalize, select_slices

ROOT = Path(__file__).resolve().parents[1]
SLICES, EDGE = 189, 256  # voxels
SPACING = (0.9375, 0.9375, 1.0)  # mm, in the plane and between slices
HEAD = (68.0, 86.0, 64.0)  # mm, half axes left to right, front to back, up and down
NOISE = 12.0  # standard deviation, of 350 to 850
SHAPE = (128, 128, 64)  # of the network's input, (x, y, z)
PLANES = {"axial": ((1, 0, 0), (0, 1, 0)), "sagittal": ((0, 1, 0), (0, 0, -1))}  # directions of rows and columns
PACKAGES = ("numpy", "SimpleITK", "pydicom", "monai", "itk", "torch", "torchio", "dcm2niix")
PACKAGES = (*PACKAGES, "dicom2nifti", "opencv-python-headless", "zlib-ng")
INPUT, WHOLE_INPUT = "DICOM to the network's input", "The same input of whole heads"
VOLUME, WHOLE = "DICOM to a compressed volume", "The same volume of whole heads"


# The cohort


def head(rng: np.random.Generator, plane: str, stripped: bool) -> np.ndarray:
    """Return a head, int16 (slices, rows, columns): an ellipsoid with a rough edge, in exact zeros or noisy air."""
    row, column = (np.array(direction) for direction in PLANES[plane])
    axes = [int(np.flatnonzero(direction)[0]) for direction in (np.cross(row, column), column, row)]
    lengths = np.array(HEAD)[axes][:, None, None, None]
    spacing = np.array([SPACING[2], SPACING[1], SPACING[0]])[:, None, None, None]
    centred = np.indices((SLICES, EDGE, EDGE)) - np.array([SLICES - 1, EDGE - 1, EDGE - 1])[:, None, None, None] / 2
    distance = np.sqrt(((centred * spacing / lengths) ** 2).sum(axis=0))
    coarse, fine = (_field(rng, sigma) for sigma in (10, 2.5))
    tissue = 600 + 90 * coarse + 60 * fine + NOISE * rng.standard_normal(distance.shape)
    air = 0 if stripped else np.hypot(*(NOISE * rng.standard_normal((2, *distance.shape))))
    return np.where(distance + 0.03 * coarse < 1, np.clip(tissue, 1, 4095), air).astype(np.int16)


def _field(rng: np.random.Generator, sigma: float) -> np.ndarray:
    """Return smooth noise of standard deviation 1 over the volume; sigma in voxels."""
    step = 2
    small = gaussian_filter(rng.standard_normal((SLICES // step + 1, EDGE // step, EDGE // step)), sigma / step)
    large = small.repeat(step, 0).repeat(step, 1).repeat(step, 2)[:SLICES]
    return large / large.std()


def write_case(folder: Path, number: int, *, stripped: bool) -> None:
    """Write the DICOM files of case `number` as folder/ID/FLAIR/Image-N.dcm, N in random order."""
    rng = np.random.default_rng([2021, number])
    plane = list(PLANES)[number % 2]
    row, column = (np.array(direction, float) for direction in PLANES[plane])
    normal = np.cross(row, column)
    voxels = head(rng, plane, stripped)
    directory = folder / f"{number:05d}" / "FLAIR"
    directory.mkdir(parents=True)
    dataset = _shared(number, np.concatenate([row, column]))
    names = rng.permutation(SLICES) + 1
    for index, (name, pixels) in enumerate(zip(names, voxels, strict=True)):
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=[f"speed {number} {index}"])
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = index + 1
        dataset.ImagePositionPatient = np.round(-120 + normal * SPACING[2] * index, 4).tolist()
        dataset.SliceLocation = round(float(normal @ np.array(dataset.ImagePositionPatient)), 4)
        dataset.PixelData = pixels.tobytes()
        dataset.save_as(directory / f"Image-{name}.dcm", enforce_file_format=True)


def _shared(number: int, orientation: np.ndarray) -> Dataset:
    """Return the elements that all files of a series share, similar to those of the RSNA-MICCAI set."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.StudyDate = dataset.SeriesDate = "20210101"
    dataset.Modality, dataset.Manufacturer, dataset.SeriesDescription = "MR", "SIEMENS", "FLAIR"
    dataset.PatientID = dataset.PatientName = f"{number:05d}"
    dataset.PatientPosition = "HFS"
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.MRAcquisitionType = ["SE", "IR"], "SK", "3D"
    dataset.EchoTime, dataset.RepetitionTime, dataset.InversionTime = 120, 9000, 2500  # ms
    dataset.MagneticFieldStrength = 3.0
    dataset.SliceThickness = dataset.SpacingBetweenSlices = SPACING[2]
    dataset.SeriesNumber = 5
    for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID"):
        setattr(dataset, keyword, generate_uid(entropy_srcs=[f"speed {number} {keyword}"]))
    dataset.ImageOrientationPatient = orientation.tolist()
    dataset.PixelSpacing = list(SPACING[:2])
    dataset.Rows = dataset.Columns = EDGE
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 1
    dataset.WindowCenter, dataset.WindowWidth = 500, 1000
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    return dataset


# Tools: each gets a case's folder, and an empty one for its outputs


@cache
def section(stage: Any) -> Any:
    """Load the stage's section of params.yaml."""
    name = stage.__name__.rpartition(".")[2]
    return params.load(sections.SECTIONS[name], name)


def every_intermediate(case: Path, out: Path) -> None:
    """Run ingest, normalize, select_slices and export, with the files between them."""
    stripped = to_volume(case, out)
    for folder in (normalize.OUT, select_slices.OUT, export.OUT):
        folder.mkdir(parents=True)
    normalize.normalize_case((case.name, stripped), params=section(normalize), out=normalize.OUT)
    background = section(normalize).background
    select_slices.select_case(case.name, params=section(select_slices), background=background, out=select_slices.OUT)
    export.export_case((case.name, 1), out=export.OUT)


def in_memory(case: Path, out: Path) -> bytes:
    """Return the record of the case's shard, without any file."""
    memory.keep_memory()
    raw_case = discovery.case_in_folder(case.name, case, "FLAIR", case.parent)
    best, _ = survey.choose_series(raw_case, survey.survey_case(raw_case), "FLAIR")
    image = survey.read_candidate(best).image
    stripped, background = skull_stripping.is_skull_stripped(image), section(normalize).background
    image, scaling = normalize.normalized(image, section(normalize), skull_stripped=stripped)
    image = select_slices.select_slices(image, section(select_slices), background=background, scaling=scaling)
    return shards.record(export.tensor(image), 1, case.name)


def to_volume(case: Path, out: Path) -> bool:
    """Run ingest alone, which writes one .nii.gz; return whether it is skull-stripped."""
    memory.keep_memory()  # as in flairprep's workers
    raw_case = discovery.case_in_folder(case.name, case, "FLAIR", case.parent)
    folder = ingest.OUT / "volumes"
    folder.mkdir(parents=True)
    row = ingest.ingest(raw_case, params=section(ingest), volumes_dir=folder).outcome.row
    return row["skull_stripped"] == "yes"


def monai(reader: str, case: Path, out: Path) -> np.ndarray:
    """Apply LoadImage, Orientation, Spacing, NormalizeIntensity, Resize."""
    return _monai(reader)(str(case / "FLAIR")).numpy()


@cache
def _monai(reader: str) -> Any:
    import itk  # noqa: F401
    import torch
    from monai import transforms
    from monai.data import ITKReader, PydicomReader

    torch.set_num_threads(1)
    return transforms.Compose(
        [
            transforms.LoadImage({"ITK": ITKReader, "pydicom": PydicomReader}[reader](), ensure_channel_first=True),
            transforms.Orientation("LPS"),
            transforms.Spacing((1.0, 1.0, 1.0), mode="bilinear"),
            transforms.NormalizeIntensity(nonzero=True),
            transforms.Resize(SHAPE),
        ]
    )


def torchio(case: Path, out: Path) -> np.ndarray:
    """Apply ToCanonical, Resample, ZNormalization, Resize."""
    import torchio as tio

    return _torchio()(tio.ScalarImage(case / "FLAIR")).numpy()


@cache
def _torchio() -> Any:
    import torch
    import torchio as tio

    torch.set_num_threads(1)
    inside = tio.ZNormalization(masking_method=lambda values: values > 0)
    return tio.Compose([tio.ToCanonical(), tio.Resample(1), inside, tio.Resize(SHAPE)])


def dcm2niix(compression: str, case: Path, out: Path) -> Path:
    """Convert the series by dcm2niix; compression: y or n."""
    from dcm2niix import bin as binary

    command = [binary, "-z", compression, "-b", "n", "-f", "volume", "-o", str(out), str(case / "FLAIR")]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return out / ("volume.nii.gz" if compression == "y" else "volume.nii")


def dcm2niix_simpleitk(smooth: bool, case: Path, out: Path) -> np.ndarray:
    """Run dcm2niix, then orient, z-score voxels that are not zero, and resample in SimpleITK.

    smooth: with a Gaussian against aliasing, as flairprep does it; else without.
    """
    image = sitk.ReadImage(str(dcm2niix("n", case, out)))
    image = sitk.Cast(sitk.DICOMOrient(image, "LPS"), sitk.sitkFloat32)
    statistics = sitk.LabelStatisticsImageFilter()
    inside = image != 0
    statistics.Execute(image, inside)
    image = sitk.Mask((image - statistics.GetMean(1)) / statistics.GetSigma(1), inside, -4)
    spacing = [n * old / new for n, old, new in zip(image.GetSize(), image.GetSpacing(), SHAPE, strict=True)]
    first = [0.5 * n / new - 0.5 for n, new in zip(image.GetSize(), SHAPE, strict=True)]
    if smooth:
        variances = [
            max(0, (new / old) ** 2 - 1) / (8 * math.log(2))
            for new, old in zip(spacing, image.GetSpacing(), strict=True)
        ]
        image = sitk.DiscreteGaussian(image, variances, maximumKernelWidth=64, useImageSpacing=False)
    origin = image.TransformContinuousIndexToPhysicalPoint(first)
    resampled = sitk.Resample(
        image, SHAPE, sitk.Transform(), sitk.sitkLinear, origin, spacing, image.GetDirection(), -4.0
    )
    return sitk.GetArrayFromImage(resampled)


def tutorial(case: Path, out: Path) -> np.ndarray:
    """Load the middle 64 files by name, each resized, as the tutorial does; no geometry."""
    import cv2

    cv2.setNumThreads(1)
    paths = sorted((case / "FLAIR").iterdir(), key=lambda path: int(path.stem.rpartition("-")[2]))
    middle = len(paths) // 2
    slices = [pydicom.dcmread(path).pixel_array for path in paths[middle - 32 : middle + 32]]
    return np.stack([cv2.resize(pixels.astype(np.float32), SHAPE[:2]) for pixels in slices])


def dicom2nifti(case: Path, out: Path) -> Path:
    """Convert the series by dicom2nifti."""
    from dicom2nifti import convert_dicom

    path = out / "volume.nii.gz"
    convert_dicom.dicom_series_to_nifti(str(case / "FLAIR"), str(path), reorient_nifti=False)
    return path


class Tool(NamedTuple):
    """A row of a table: its name, the packages it needs, and the function that is timed."""

    table: str
    name: str
    needs: tuple[str, ...]
    run: Callable[[Path, Path], Any]


TOOLS = (
    Tool(INPUT, "flairprep, every intermediate written", (), every_intermediate),
    Tool(INPUT, "flairprep, in memory", (), in_memory),
    Tool(INPUT, "MONAI, ITKReader", ("monai", "itk"), partial(monai, "ITK")),
    Tool(INPUT, "MONAI, PydicomReader", ("monai", "itk"), partial(monai, "pydicom")),
    Tool(INPUT, "TorchIO", ("torchio",), torchio),
    Tool(INPUT, "dcm2niix, then SimpleITK", ("dcm2niix",), partial(dcm2niix_simpleitk, True)),
    Tool(INPUT, "the same, without smoothing", ("dcm2niix",), partial(dcm2niix_simpleitk, False)),
    Tool(INPUT, "the tutorial's loader (no geometry)", ("opencv-python-headless",), tutorial),
    Tool(WHOLE_INPUT, "flairprep, every intermediate written", (), every_intermediate),
    Tool(WHOLE_INPUT, "MONAI, ITKReader (air counts as head)", ("monai", "itk"), partial(monai, "ITK")),
    Tool(WHOLE_INPUT, "MONAI, PydicomReader (the same)", ("monai", "itk"), partial(monai, "pydicom")),
    Tool(WHOLE_INPUT, "TorchIO (the same)", ("torchio",), torchio),
    *(
        Tool(table, name, needs, run)
        for table in (VOLUME, WHOLE)
        for name, needs, run in (
            ("flairprep, ingest", (), to_volume),
            ("dcm2niix -z y", ("dcm2niix",), partial(dcm2niix, "y")),
            ("dcm2niix -z n (not compressed)", ("dcm2niix",), partial(dcm2niix, "n")),
            ("dicom2nifti", ("dicom2nifti",), dicom2nifti),
        )
    ),
)


# Timing


def installed(package: str) -> str | None:
    """Return the version of a package, None if it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@contextlib.contextmanager
def workspace() -> Any:
    """Change into an empty folder with the project's params.yaml."""
    with tempfile.TemporaryDirectory() as name, contextlib.chdir(name):
        shutil.copy(ROOT / "params.yaml", name)
        yield Path(name)


def once(run: Callable[[Path, Path], Any], case: Path) -> tuple[float, float]:
    """Run a tool once; return wall seconds, and processor seconds with those of child processes."""
    with workspace() as out, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        times, start = os.times(), time.perf_counter()
        run(case, out)
        wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(times[:4])


Seconds = dict[tuple[str, str], list[tuple[float, float]]]  # (table, tool) -> wall and processor seconds of each run


def time_tools(tools: list[Tool], cases: dict[str, list[Path]], rounds: int) -> Seconds:
    """Time each tool, in the same order of cases and rounds for all; a first round only warms up."""
    seconds: Seconds = defaultdict(list)
    with contextlib.ExitStack() as stack:
        # One process per tool: memory and settings of one would affect the others.
        workers = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in tools]
        for number in range(rounds + 1):
            for table in dict.fromkeys(tool.table for tool in tools):
                for case in cases[table][: None if number else 1]:
                    for tool, worker in zip(tools, workers, strict=True):
                        if tool.table == table:
                            run_seconds = worker.submit(once, tool.run, case).result()
                            seconds[table, tool.name] += [run_seconds] if number else []
    return dict(seconds)


def check_equal(case: Path) -> None:
    """Refuse to compare different results: flairprep's and dcm2niix's volumes must have equal voxels and grids."""
    with workspace() as out:
        to_volume(case, out)
        volume = ingest.OUT / f"volumes/{case.name}.nii.gz"
        ours, other = (
            sitk.DICOMOrient(sitk.ReadImage(str(path)), "LPS") for path in (volume, dcm2niix("n", case, out))
        )
        np.testing.assert_array_equal(sitk.GetArrayViewFromImage(ours), sitk.GetArrayViewFromImage(other))
        np.testing.assert_allclose(ours.GetOrigin(), other.GetOrigin(), atol=1e-3)
        np.testing.assert_allclose(ours.GetSpacing(), other.GetSpacing(), atol=1e-5)


def rows(seconds: Seconds) -> list[dict[str, Any]]:
    """Return the rows of the tables; ratio: to flairprep's first row of the same table, case by case."""
    table_rows, base = [], {}
    for (table, name), runs in seconds.items():
        ours = base.setdefault(table, runs)
        wall, cpu = (median(values) for values in zip(*runs, strict=True))
        ratio = median(one[0] / other[0] for one, other in zip(runs, ours, strict=True))
        row = {"table": table, "tool": name, "seconds": round(wall, 4), "processor_seconds": round(cpu, 4)}
        table_rows.append(row | {"ratio": round(ratio, 3)})
    return table_rows


def sizes(case: Path) -> dict[str, int]:
    """Return the bytes of a case's outs, and of the same volume compressed by dcm2niix."""
    with workspace() as out:
        every_intermediate(case, out)
        bytes_of = {path.parent.as_posix(): path.stat().st_size for path in sorted(Path("data").rglob(f"{case.name}*"))}
        if installed("dcm2niix"):
            bytes_of["dcm2niix -z y"] = dcm2niix("y", case, out).stat().st_size
    return bytes_of


# Workers


def _whole_case(case: Path) -> None:
    with workspace() as out:
        every_intermediate(case, out)


def two_workers(cases: list[Path], rounds: int) -> float:
    """Return the speed-up of two workers over one, median of the rounds, without their start."""
    speedups = []
    many = cases * max(1, 12 // len(cases))
    for _ in range(rounds):
        seconds = {}
        for count in ("1", "2"):
            os.environ["FLAIRPREP_WORKERS"] = count
            results = map_cases.map_cases(_whole_case, [*cases[:2], *many], f"{count} workers", on_failure=_raise)
            next(results), next(results)
            start = time.perf_counter()
            list(results)
            seconds[count] = time.perf_counter() - start
        speedups.append(seconds["1"] / seconds["2"])
    return median(speedups)


def _raise(case: Path, error: Exception) -> None:
    raise error


def main() -> None:
    """Print the tables; with --json also write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="words in the names of tools")
    parser.add_argument("--one", action="store_true", help="skip the comparison of two workers with one")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    start = time.monotonic()
    packages = [name for name in PACKAGES if installed(name)]
    report: dict[str, Any] = {
        "machine": f"{machine.header(packages)}, {len(os.sched_getaffinity(0))} cores",
        "cases": arguments.cases,
        "rounds": arguments.rounds,
    }
    tools = [tool for tool in TOOLS if all(map(installed, tool.needs))]
    if arguments.only:
        tools = [tool for tool in tools if any(word in tool.name for word in arguments.only)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(arguments.cases):
            write_case(folder / "stripped", number, stripped=True)
            write_case(folder / "whole", number, stripped=False)
        stripped, whole = (sorted((folder / kind).iterdir()) for kind in ("stripped", "whole"))
        if installed("dcm2niix"):
            for case in (*stripped, *whole):
                check_equal(case)
        report["bytes"] = {kind: sizes(case) for kind, case in (("stripped", stripped[0]), ("whole", whole[0]))}
        report["speed"] = rows(
            time_tools(tools, {INPUT: stripped, WHOLE_INPUT: whole, VOLUME: stripped, WHOLE: whole}, arguments.rounds)
        )
        if not arguments.one:
            report["two_workers_over_one"] = two_workers(stripped, 3)
    report["minutes"] = round((time.monotonic() - start) / 60, 1)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=2) + "\n")
    show(report)


def show(report: dict[str, Any]) -> None:
    """Print the report."""
    print(f"{report['machine']}\n{report['cases']} cases, {report['rounds']} rounds")
    table = ""
    for row in report["speed"]:
        if row["table"] != table:
            table = row["table"]
            print(f"\n{table:42} {'s / case':>9} {'processor':>9} {'ratio':>6}")
        print(f"{row['tool']:42} {row['seconds']:9.3f} {row['processor_seconds']:9.3f} {row['ratio']:6.2f}")
    print()
    for kind, bytes_of in report["bytes"].items():
        print(f"{kind} heads, MB per case: " + ", ".join(f"{name} {size / 1e6:.1f}" for name, size in bytes_of.items()))
    if "two_workers_over_one" in report:
        print(f"\n2 workers over 1: {report['two_workers_over_one']:.2f}")
    print(f"\n{report['minutes']} minutes", file=sys.stderr)


if __name__ == "__main__":
    main()
