"""Draw a head with a tumour, and simulate its acquisition."""

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from scipy.special import expit

from flairprep.core.errors import FlairprepError
from flairprep.demo.plan import ANATOMY, COPY, NOISE, SCANNER, Copy, DemoCase

GREY, WHITE, FLUID = 620.0, 480.0, 90.0  # FLAIR intensities in arbitrary units: fluid is dark, grey over white matter
HEAD = ((0, 1, 5, 6, 10, 11), (60, 35, 35, 330, 330, 0))  # mm outside the brain, intensity: skull, scalp, air
SITE_DEPTH, SITE_ASIDE = 20.0, 12.0  # mm at least from a tumour's centre to the brain's edge, to its middle plane
RADIUS, BRIGHTNESS = (12.0, 18.0), (350.0, 900.0)  # of the tumours of class 0 and 1 at full signal
FIELD_OF_VIEW = (232.0, 245.0)  # mm
# The direction cosines of a row and of a column, as ImageOrientationPatient gives them.
PLANES = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
}
Floats = NDArray[np.float32]
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Atlas:
    """The anatomy before it is bent, at 2 mm.

    image: two components, the intensity and the distance to the brain's surface in mm (negative inside).
    sites: (n, 3), possible centres of a tumour: deep in the white matter of either hemisphere.
    surface: (m, 3), points on the brain's surface.
    """

    image: sitk.Image
    sites: Points
    surface: Points


@dataclass(frozen=True)
class Head:
    """One patient: the image of `Atlas` with a tumour, and the transform from the patient's space to the atlas's."""

    image: sitk.Image
    to_atlas: sitk.Transform
    surface: Points  # (m, 3), points on the patient's brain
    centre: Points  # (3,), of the patient's tumour


def load_atlas() -> Atlas:
    """Load nilearn's atlas (Fonov et al. 2011, ICBM 152 nonlinear symmetric 2009) as FLAIR intensities.

    Raises:
        FlairprepError: nilearn is not installed.
    """
    try:
        from nilearn import datasets
    except ImportError as error:
        raise FlairprepError("the demo cohort needs nilearn: pip install 'flairprep[demo]'") from error
    grey, white = datasets.load_mni152_gm_template(resolution=2), datasets.load_mni152_wm_template(resolution=2)
    brain, affine = datasets.load_mni152_brain_mask(resolution=2), grey.affine
    # nilearn's arrays, (x, y, z), run to the right, front and top (RAS+): reversing x and y gives LPS+. The margin is
    # for the head around the brain.
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
    """Draw the radius in mm and the brightness over the tissue in a.u. of a tumour.

    Both go from class 0's to class 1's as a share u goes from 0 to 1, and u = signal * label + (1 - signal) * v, with v
    drawn for each: at signal 0 the label does not enter.
    """
    share = signal * label + (1 - signal) * rng.uniform(size=2)
    radius, brightness = np.interp(share[0], (0, 1), RADIUS), np.interp(share[1], (0, 1), BRIGHTNESS)
    return float(radius + rng.uniform(-1, 1)), float(brightness * rng.uniform(0.9, 1.1))


def head(atlas: Atlas, case: DemoCase, signal: float) -> Head:
    """Make the patient: the atlas with a tumour, turned, stretched and bent."""
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
    """Return the patient's points, (n, 3), that `to_atlas` maps to `points`, by fixed point: the bend is slight."""
    of_patient = points.copy()
    for _ in range(8):
        of_patient += points - np.array([to_atlas.TransformPoint(point) for point in of_patient.tolist()])
    return of_patient


def grid(case: DemoCase, patient: Head) -> sitk.Image:
    """Return the acquisition's empty image, which holds the whole brain in all three axes."""
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


def scan(case: DemoCase, patient: Head, acquisition: sitk.Image) -> Floats:
    """Return the intensities, (slice, row, column): tissue, bias field, Rician noise and the scanner's gain."""
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


def altered(case: DemoCase, volume: Floats, acquisition: sitk.Image) -> Floats:
    """Return a copy's volume from its source's, (slice, row, column): tissue gets 1 % more noise, zeros stay zero."""
    if case.copy is None or case.copy is Copy.EXACT:
        return volume
    noise = case.rng(COPY).normal(0, 0.01 * volume.max(), volume.shape)
    noisy = np.where(volume > 0, np.maximum(volume + noise, 1), 0).astype(np.float32)
    across = 2 - int(np.abs(np.reshape(acquisition.GetDirection(), (3, 3))[0]).argmax())  # the axis from right to left
    return np.flip(noisy, across) if case.copy is Copy.MIRRORED else noisy
