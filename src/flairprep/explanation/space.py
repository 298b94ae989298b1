"""Bring a map from the network's grid back to the space of the scan as acquired."""

import SimpleITK as sitk

from flairprep.explanation.occlusion import Array


def on_grid(values: Array, network_input: sitk.Image) -> sitk.Image:
    """Return `values`, float32 (z, y, x), as an image with the geometry of `network_input`, see stages.select_slices.

    Raises:
        ValueError: the shapes differ.
    """
    image = sitk.GetImageFromArray(values)
    if image.GetSize() != network_input.GetSize():
        raise ValueError(f"a map of {image.GetSize()} voxels for an input of {network_input.GetSize()}")
    image.CopyInformation(network_input)
    return image


def native(on_network_grid: sitk.Image, scan: sitk.Image) -> sitk.Image:
    """Resample a map linearly to the voxels of `scan`, the volume of data/ingest; 0 outside the network's input.

    Every stage keeps the voxels' place in the scanner (LPS, mm). So the two grids are all that is needed, whatever
    normalize.orientation, the plane of acquisition and the slices that were left out.
    """
    return sitk.Resample(on_network_grid, scan, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32)


def position(index_zyx: Array, image: sitk.Image) -> tuple[float, float, float]:
    """Return the position in the scanner, LPS in mm, of a continuous index (z, y, x) of `image`."""
    x, y, z = image.TransformContinuousIndexToPhysicalPoint([float(each) for each in index_zyx[::-1]])
    return x, y, z
