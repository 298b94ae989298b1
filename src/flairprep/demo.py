"""A synthetic FLAIR cohort as DICOM, in the layout of the RSNA-MICCAI 2021 (BraTS21) competition on Kaggle.

No patient's data are in it: the anatomy is the ICBM 2009 grey and white matter atlas that nilearn carries, bent a
little for each case, with one bright ellipsoid as the tumour. The acquisitions are as untidy as those of a real cohort.
Positions are in mm in the patient's LPS axes (DICOM, ITK); arrays are (slice, row, column), that is (z, y, x).
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import SimpleITK as sitk
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation
from scipy.special import expit

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import write_csv
from flairprep.runner.pool import map_cases

GREY, WHITE, FLUID = 620.0, 480.0, 90.0  # FLAIR intensities in arbitrary units: fluid is dark, grey over white matter
HEAD = ((0, 1, 5, 6, 10, 11), (60, 35, 35, 330, 330, 0))  # mm outside the brain, intensity: skull, scalp, air
SITE_DEPTH, SITE_ASIDE = 20.0, 12.0  # mm at least from a tumour's centre to the brain's edge, to its middle plane
RADIUS, BRIGHTNESS = (12.0, 18.0), (350.0, 900.0)  # of the tumours of class 0 and 1 at full signal
PREVALENCE = 0.52
FIELD_OF_VIEW = (232.0, 245.0)  # mm

# The direction cosines of a row and of a column, as ImageOrientationPatient gives them.
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}
MANUFACTURERS = ("SIEMENS", "Philips Medical Systems", "GE MEDICAL SYSTEMS", "TOSHIBA")

Floats = NDArray[np.float32]
Points = NDArray[np.float64]


class Fault(StrEnum):
    """What is wrong with a case; each fault has one case, after the sound ones and in this order."""

    NONE = "none"
    DARK = "dark"
    MISSING_SLICES = "missing slices"
    DUPLICATED_SLICE = "duplicated slice"
    NO_LABEL = "no label"
    NO_SCAN = "no scan"


class Copy(StrEnum):
    """How a planted duplicate differs from the case that it copies; ids and UIDs are new in each."""

    EXACT = "exact"
    NOISY = "noisy"
    MIRRORED = "mirrored"  # left to right, and noisy


@dataclass(frozen=True)
class Case:
    """What is settled for the cohort as a whole, so that even a small one has some of each kind."""

    seed: int
    index: int
    label: int
    plane: str
    manufacturer: str
    volumetric: bool  # acquired in 3D: thin slices, many of them
    stripped: bool  # only the brain is left, with zeros around it
    rescaled: bool  # each slice has its own rescale slope
    fault: Fault
    copy: Copy | None = None
    source: int | None = None  # the index of the case that this one is a copy of

    @property
    def case_id(self) -> str:
        """The folder's name and the PatientID."""
        return f"{self.index:05d}"

    def rng(self, purpose: int) -> np.random.Generator:
        """The case's own generator for one purpose: it depends neither on other cases nor on what else was drawn.

        A copy draws what its source does, but for what it adds itself (COPY).
        """
        index = self.index if self.source is None or purpose == COPY else self.source
        return np.random.default_rng([self.seed, index]).spawn(purpose + 1)[purpose]


ANATOMY, SCANNER, NOISE, FILES, COPY = range(5)


@dataclass(frozen=True)
class Atlas:
    """The anatomy before it is bent, at 2 mm.

    image: two components, the intensity and the distance to the brain's surface in mm (negative inside).
    sites: (n, 3), where a tumour may sit: deep in the white matter of either hemisphere.
    surface: (m, 3), points on the brain's surface.
    """

    image: sitk.Image
    sites: Points
    surface: Points


@dataclass(frozen=True)
class Head:
    """One patient: the intensity and depth image of `Atlas` with a tumour, and what maps the patient's space to it."""

    image: sitk.Image
    to_atlas: sitk.Transform
    surface: Points  # (m, 3), points on the patient's brain
    centre: Points  # (3,), of the patient's tumour


def make(out: Path, *, cases: int, signal: float, seed: int, shortcut: float = 0.0, duplicates: int = 0) -> None:
    """Writes out/train/<case>/FLAIR/Image-<k>.dcm and out/train_labels.csv (BraTS21ID, MGMT_value).

    `cases` sound cases are followed by one of each `Fault`. `signal` is how much of a tumour's appearance the label
    explains: all of it at 1, nothing at 0. `shortcut` and `duplicates` plant what the audit should find, see `plan`.
    The same arguments give the same bytes, however many workers there are.

    Raises:
        FlairprepError: an argument is out of range, there is data in `out` already, or nilearn is not installed.
    """
    if cases < 10:
        raise FlairprepError(f"cases={cases}: a cohort needs at least 10; ask for 10 or more")
    if not 0 <= signal <= 1:
        raise FlairprepError(f"signal={signal}: must lie between 0 (the label explains nothing) and 1")
    if seed < 0:
        raise FlairprepError(f"seed={seed}: must be a whole number of at least 0")
    if not 0 <= shortcut <= 1:
        raise FlairprepError(f"shortcut={shortcut}: must lie between 0 (the manufacturer says nothing) and 1")
    if not 0 <= duplicates <= cases:
        raise FlairprepError(f"duplicates={duplicates}: must lie between 0 and cases={cases}: each copies another case")
    train, labels = out / "train", out / "train_labels.csv"
    for path in (train, labels):
        if path.exists():
            raise FlairprepError(f"{path}: exists already and is left as it is; move it away or name another folder")
    planned = plan(cases, seed, shortcut, duplicates)
    scanned = [case for case in planned if case.fault is not Fault.NO_SCAN]
    atlas = load_atlas()
    with _whole_sibling(train) as folder:
        for _ in map_cases(partial(_write_case, atlas, folder, signal), scanned, "demo"):
            pass
    labelled = [case for case in planned if case.fault is not Fault.NO_LABEL]
    rows = [(case.case_id, case.label) for case in labelled]
    write_csv(labels, pd.DataFrame(rows, columns=["BraTS21ID", "MGMT_value"]))


@contextmanager
def _whole_sibling(path: Path) -> Iterator[Path]:
    """A temporary folder beside `path` that becomes `path` when the block ends without an error.

    Unlike files.whole_folder it works outside a DVC project, and leaves out the sync: a cohort can be made again.
    """
    unfinished = path.with_name(f".{path.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        unfinished.rename(path)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def plan(cases: int, seed: int, shortcut: float = 0.0, duplicates: int = 0) -> list[Case]:
    """The sound cases, after them one of each fault, and after these `duplicates` copies of sound cases.

    The label is independent of all else, unless there is a `shortcut`: with that probability the manufacturer is the
    label's own (the first two of MANUFACTURERS), else one of all four, each as often. Every second copy is exact; of
    the others one has more noise, the next is mirrored too.
    """
    rng = np.random.default_rng(seed)
    faults, positive = list(Fault)[1:], round(PREVALENCE * cases)
    labels = [*rng.permutation([1] * positive + [0] * (cases - positive)), *np.resize([0, 1], len(faults))]

    def shared_out(*pattern: str | bool) -> list[Any]:
        groups = (cases, len(faults))  # each by itself, so that the sound cases alone have some of each kind
        return [value for size in groups for value in rng.permutation(np.resize(pattern, size)).tolist()]

    planes = shared_out("axial", "axial", "axial", "sagittal", "coronal")
    manufacturers = shared_out(*MANUFACTURERS)
    volumetric = shared_out(True, False, False, False)
    stripped = shared_out(False, True, True, True, True, True)
    rescaled = shared_out(True, False, False, False, False)
    columns = zip(
        labels, planes, manufacturers, volumetric, stripped, rescaled, [Fault.NONE] * cases + faults, strict=True
    )
    planned = [Case(seed, index, int(label), *rest) for index, (label, *rest) in enumerate(columns)]
    planting = np.random.default_rng([seed, cases])  # of its own: without plants the cohort is what it was
    owned = planting.uniform(size=len(planned)) < shortcut
    planned = [
        replace(case, manufacturer=MANUFACTURERS[case.label]) if own else case
        for case, own in zip(planned, owned, strict=True)
    ]
    sources = planting.permutation(cases)[:duplicates].tolist()
    kinds = np.resize([Copy.EXACT, Copy.NOISY, Copy.EXACT, Copy.MIRRORED], duplicates)
    copies = [
        replace(planned[source], index=len(planned) + number, copy=Copy(kind), source=source)
        for number, (source, kind) in enumerate(zip(sources, kinds, strict=True))
    ]
    return planned + copies


def load_atlas() -> Atlas:
    """The atlas of nilearn (Fonov et al. 2011, ICBM 152 nonlinear symmetric 2009), as FLAIR intensities.

    Raises:
        FlairprepError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise FlairprepError("the demo cohort needs nilearn: pip install 'flairprep[demo]'") from error
    grey, white = datasets.load_mni152_gm_template(resolution=2), datasets.load_mni152_wm_template(resolution=2)
    brain, affine = datasets.load_mni152_brain_mask(resolution=2), grey.affine
    # nilearn's arrays, (x, y, z), run to the right, front and top (RAS+): turning x and y round gives LPS+. The margin
    # is for the head around the brain.
    margin = 8
    p_grey, p_white, p_brain = (np.pad(map_.get_fdata(), margin)[::-1, ::-1].T for map_ in (grey, white, brain))
    excess = np.maximum(p_grey + p_white, 1)
    p_grey, p_white, inside = p_grey / excess, p_white / excess, p_brain > 0.5
    spacing, first = affine[0, 0], affine[:3, 3]
    last = first + spacing * (np.array(grey.shape) - 1)
    origin = np.array([-last[0], -last[1], first[2]]) - margin * spacing

    def image_of(array: NDArray) -> sitk.Image:
        image = sitk.GetImageFromArray(array)
        image.SetOrigin(origin.tolist())
        image.SetSpacing([spacing] * 3)
        return image

    def positions(where: NDArray) -> Points:
        return origin + spacing * np.argwhere(where)[:, ::-1]

    depth = sitk.SignedMaurerDistanceMap(
        image_of(inside.astype(np.uint8)), insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    depths = sitk.GetArrayViewFromImage(depth)
    intensity = image_of((GREY * p_grey + WHITE * p_white + FLUID * (1 - p_grey - p_white)).astype(np.float32))
    sites = positions((p_white > 0.8) & (depths < -SITE_DEPTH))
    sites = sites[np.abs(sites[:, 0]) > SITE_ASIDE]
    return Atlas(sitk.Compose(intensity, depth), sites, positions(np.abs(depths) < spacing / 2)[::30])


def tumour(rng: np.random.Generator, label: int, signal: float) -> tuple[float, float]:
    """The radius in mm and the brightness over the tissue in a.u. of a tumour.

    Both go from the one to the other class's as a share u goes from 0 to 1, and u = signal * label + (1 - signal) * v,
    with v drawn for each: at signal 0 the label does not enter at all.
    """
    share = signal * label + (1 - signal) * rng.uniform(size=2)
    radius, brightness = np.interp(share[0], (0, 1), RADIUS), np.interp(share[1], (0, 1), BRIGHTNESS)
    return float(radius + rng.uniform(-1, 1)), float(brightness * rng.uniform(0.9, 1.1))


def head(atlas: Atlas, case: Case, signal: float) -> Head:
    """The patient: the atlas with a tumour, turned, stretched and bent."""
    rng = case.rng(ANATOMY)
    affine = sitk.AffineTransform(3)
    stretch = np.diag(rng.uniform(0.94, 1.06, 3))
    affine.SetMatrix((Rotation.from_euler("xyz", rng.uniform(-6, 6, 3), degrees=True).as_matrix() @ stretch).ravel())
    affine.SetCenter(atlas.surface.mean(axis=0))
    bend = sitk.BSplineTransformInitializer(atlas.image, [3, 3, 3])
    bend.SetParameters(rng.normal(0, 4, len(bend.GetParameters())))
    # One coarse field instead of both: evaluating splines at each voxel would take seconds.
    both, start, spacing = sitk.CompositeTransform([affine, bend]), [-156, -140, -156], [8] * 3
    field = sitk.TransformToDisplacementField(both, sitk.sitkVectorFloat64, [40] * 3, start, spacing)
    to_atlas = sitk.DisplacementFieldTransform(field)

    site = atlas.sites[rng.integers(len(atlas.sites))]
    radius, brightness = tumour(rng, case.label, signal)
    radii = radius * rng.uniform(0.9, 1.1, 3)
    voxels = sitk.GetArrayFromImage(atlas.image)
    axes = zip(atlas.image.GetOrigin(), atlas.image.GetSpacing(), atlas.image.GetSize(), site, radii, strict=True)
    x, y, z = (((start + step * np.arange(size) - middle) / radius) ** 2 for start, step, size, middle, radius in axes)
    ratio = np.sqrt(z[:, None, None] + y[:, None] + x)  # of the distance to the tumour's centre to its radius
    voxels[..., 0] += brightness * expit((1 - ratio) / 0.1)
    image = sitk.GetImageFromArray(voxels, isVector=True)
    image.CopyInformation(atlas.image)
    return Head(image, to_atlas, _from_atlas(to_atlas, atlas.surface), _from_atlas(to_atlas, site[None])[0])


def _from_atlas(to_atlas: sitk.Transform, points: Points) -> Points:
    """The patient's points, (n, 3), that `to_atlas` maps to `points`: a fixed point, since the bend is slight."""
    found = points.copy()
    for _ in range(8):
        found += points - np.array([to_atlas.TransformPoint(point) for point in found.tolist()])
    return found


def grid(case: Case, patient: Head) -> sitk.Image:
    """The acquisition's empty image: its planes hold the whole brain, its slices too."""
    rng = case.rng(SCANNER)
    row, column = (np.array(cosines, float) for cosines in PLANES[case.plane])
    direction = np.stack([row, column, np.cross(row, column)], axis=1)
    oblique = rng.uniform(2, 8) * (rng.uniform() < 0.4)  # degrees
    axis = rng.normal(size=3)
    direction = Rotation.from_rotvec(oblique * axis / np.linalg.norm(axis), degrees=True).as_matrix() @ direction
    matrix = int(rng.choice([128, 144, 160, 176, 192]))
    in_plane = rng.uniform(*FIELD_OF_VIEW) / matrix
    step = rng.uniform(1, 1.2) if case.volumetric else rng.choice([4.0, 4.5, 5.0, 5.5, 6.0])
    extent = patient.surface @ direction
    lower, upper = extent.min(axis=0), extent.max(axis=0)
    size = np.array([matrix, matrix, np.ceil((upper - lower)[2] / step) + 1], int)
    narrow = int(np.argmin((upper - lower)[:2]))
    size[narrow] = matrix * rng.choice([1, 0.875])
    spacing = np.round([in_plane, in_plane, step], 4)
    origin = direction @ ((lower + upper) / 2 - spacing * (size - 1) / 2)
    image = sitk.Image(size.tolist(), sitk.sitkUInt8)
    image.SetDirection(direction.ravel())
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(origin.tolist())
    return image


def scan(case: Case, patient: Head, acquisition: sitk.Image) -> Floats:
    """The intensities, (slice, row, column): tissue, bias field, Rician noise and the scanner's gain."""
    rng = case.rng(NOISE)
    beyond = 999.0  # mm outside the brain, where the atlas ends
    seen = sitk.Resample(patient.image, acquisition, patient.to_atlas, sitk.sitkLinear, beyond)
    intensity, depth = np.moveaxis(sitk.GetArrayViewFromImage(seen), -1, 0)
    waves = [np.cos(rng.uniform(0, 2 * np.pi) + np.linspace(0, rng.uniform(2, 4), n)) for n in intensity.shape]
    bias = (waves[0][:, None, None] + waves[1][:, None] + waves[2]).astype(np.float32)
    bias *= rng.uniform(0.15, 0.2) / np.abs(bias).max()
    gain, sigma = rng.uniform(0.5, 2), rng.uniform(15, 20)
    inside = depth < 0
    measured = inside if case.stripped else np.ones_like(inside)
    clean = np.where(inside, intensity, np.interp(depth, *HEAD))[measured] * (1 + bias[measured])
    noise = sigma * rng.standard_normal((2, clean.size), dtype=np.float32)
    volume = np.zeros(intensity.shape, np.float32)
    volume[measured] = gain * np.hypot(clean + noise[0], noise[1])
    return volume


def altered(case: Case, volume: Floats, acquisition: sitk.Image) -> Floats:
    """The volume of a copy from its source's, (slice, row, column): tissue gets 1 % more noise, zeros stay zero."""
    if case.copy is None or case.copy is Copy.EXACT:
        return volume
    noise = case.rng(COPY).normal(0, 0.01 * volume.max(), volume.shape)
    noisy = np.where(volume > 0, np.maximum(volume + noise, 1), 0).astype(np.float32)
    across = 2 - int(np.abs(np.reshape(acquisition.GetDirection(), (3, 3))[0]).argmax())  # the axis from right to left
    return np.flip(noisy, across) if case.copy is Copy.MIRRORED else noisy


def _write_case(atlas: Atlas, folder: Path, signal: float, case: Case) -> None:
    patient = head(atlas, case, signal)
    acquisition = grid(case, patient)
    volume = altered(case, scan(case, patient, acquisition), acquisition)
    if case.fault is Fault.DARK:
        volume[:] = 0
    rng = case.rng(FILES)
    dataset = _series(case, rng, acquisition)
    signed = not case.rescaled and rng.uniform() < 0.4
    dataset.PixelRepresentation = int(signed)
    dataset.BitsStored = 16 if signed else 12
    dataset.HighBit = dataset.BitsStored - 1
    kept = np.arange(len(volume))
    if case.fault is Fault.MISSING_SLICES:
        kept = np.delete(kept, slice(len(kept) // 3, len(kept) // 3 + 3))
    if case.fault is Fault.DUPLICATED_SLICE:
        kept = np.append(kept, len(kept) // 2)
    first = 1 if rng.uniform() < 0.2 else int(rng.integers(2, 60))
    names, instances = first + rng.permutation(len(kept)), 1 + rng.permutation(len(kept))
    series = folder / case.case_id / "FLAIR"
    series.mkdir(parents=True)
    for file, slice_index in enumerate(kept):
        values = volume[slice_index]
        slope = float(f"{max(values.max(), 1) / 4095:.6f}") if case.rescaled else 1.0
        stored = np.clip(np.rint(values / slope), 0, 4095)
        position = acquisition.TransformIndexToPhysicalPoint((0, 0, int(slice_index)))
        dataset.SOPInstanceUID = _uid(case, "instance", file)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.InstanceNumber = int(instances[file])
        dataset.ImagePositionPatient = [round(value, 6) for value in position]
        dataset.RescaleSlope = slope
        dataset.PixelData = stored.astype("<i2" if signed else "<u2").tobytes()
        dataset.save_as(series / f"Image-{names[file]}.dcm", enforce_file_format=True)


def _uid(case: Case, kind: str, number: int = 0) -> str:
    return generate_uid(entropy_srcs=["flairprep demo", str(case.seed), str(case.index), kind, str(number)])


def _series(case: Case, rng: np.random.Generator, acquisition: sitk.Image) -> Dataset:
    """What the files of one series share."""
    columns, rows, _ = acquisition.GetSize()
    in_plane, _, step = acquisition.GetSpacing()
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MRImageStorage
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=["flairprep demo"])
    meta.ImplementationVersionName = "FLAIRPREP_DEMO"
    dataset = Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]
    dataset.Modality = "MR"
    dataset.Manufacturer = case.manufacturer
    dataset.PatientName = f"Demo^{case.case_id}"
    dataset.PatientID = case.case_id
    dataset.PatientSex = str(rng.choice(["F", "M"]))
    dataset.PatientAge = f"{rng.integers(20, 86):03d}Y"
    dataset.PatientPosition = "HFS"
    dataset.SeriesDescription = "FLAIR"
    dataset.SeriesNumber = int(rng.integers(2, 12))
    dataset.ScanningSequence = ["SE", "IR"]
    dataset.SequenceVariant = "SK"
    dataset.MRAcquisitionType = "3D" if case.volumetric else "2D"
    dataset.MagneticFieldStrength = float(rng.choice([1.5, 3.0]))
    dataset.EchoTime = int(rng.integers(90, 141))  # ms, as are the next two
    dataset.RepetitionTime = int(rng.integers(80, 111)) * 100
    dataset.InversionTime = int(rng.integers(220, 281)) * 10
    dataset.StudyInstanceUID = _uid(case, "study")
    dataset.SeriesInstanceUID = _uid(case, "series")
    dataset.FrameOfReferenceUID = _uid(case, "frame")
    dataset.ImageOrientationPatient = np.round(np.reshape(acquisition.GetDirection(), (3, 3)).T[:2].ravel(), 6).tolist()
    dataset.PixelSpacing = [in_plane, in_plane]
    dataset.SpacingBetweenSlices = step
    dataset.SliceThickness = round(step * (1 if case.volumetric else rng.choice([1, 0.9, 0.8])), 4)  # the rest is gap
    dataset.Rows, dataset.Columns = rows, columns
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = 16
    dataset.RescaleIntercept = 0
    return dataset
