"""Put intensities on a lattice of 16-bit codes, value = code * slope + intercept, so that they are stored in half."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

Array = npt.NDArray[Any]

LAST = 32767 - 257  # largest code that a value may need: the background's code moves the others by up to half of 257
WANTED, COARSEST = 2.5e-4, 2.0**-11  # steps: at most the first where 16 bits allow it, never more than the second


class Lattice(NamedTuple):
    """The scaling of a NIfTI header, float32 like there."""

    slope: float
    intercept: float

    def decode(self, codes: Array) -> Array:
        """Return the values (float32) of `codes` (int16, any shape)."""
        values: Array = np.multiply(codes, np.float32(self.slope), dtype=np.float32)
        values += np.float32(self.intercept)
        return values

    def code(self, value: float) -> int:
        """Return the code that is nearest to `value`."""
        return round(float(self.places(np.array(value))))

    def encode(self, values: Array, low: float, high: float) -> Array:
        """Return the nearest codes (int16) of `values`, none of which decodes to less than low or more than high."""
        first, last = (self.places(np.array([low, high]))).tolist()
        return np.clip(np.rint(self.places(values)), math.ceil(first), math.floor(last)).astype(np.int16)

    def places(self, values: Array) -> Array:
        """Return where `values` lie between the codes."""
        return (values.astype(np.float64) - self.intercept) / self.slope


def decoded(image: sitk.Image, scaling: Lattice | None) -> sitk.Image:
    """Return the values (float32) of an `image` of codes; the image itself where there is no `scaling`."""
    if scaling is None:
        return image
    values = sitk.GetImageFromArray(scaling.decode(sitk.GetArrayViewFromImage(image)))
    values.CopyInformation(image)
    return values


def lattice_of(background: float, reach: float, unit: float) -> tuple[Lattice, int] | None:
    """Return a lattice for -reach to reach that holds `background` exactly, and the background's code.

    Where the scanner stored integers, `unit` is their step. The lattice divides it evenly, so that the same few low
    bytes come back again and again and the file gets smaller: by a power of two if that gives a step of at most
    2.5e-4, else by three or five times one. Both bytes of the background's code are equal, one long run to a
    compressor.

    Args:
        background, reach: in units of the intensity map; reach > 0.
        unit: step of the acquired values after the map, > 0; 1 for values that are not whole.

    Returns:
        None where the range is so wide that the step would exceed 2^-11.
    """
    least = max(abs(background), reach) / LAST
    if least > COARSEST:
        return None
    halved = unit * 2.0 ** math.ceil(math.log2(least / unit))
    slope = np.float32(
        next((step for step in (halved, halved / 1.5, halved / 1.25) if least <= step <= WANTED), halved)
    )
    alike = np.frombuffer(bytes(byte for byte in range(256) for _ in range(2)), "<i2")
    code = int(alike[np.abs(alike * float(slope) - background).argmin()])
    # Exact, since the two lie within a factor of two of each other (Sterbenz 1974).
    lattice = Lattice(float(slope), float(np.float32(background) - np.float32(code) * slope))
    if lattice.decode(np.array([code], np.int16))[0] != np.float32(background):
        return None
    return lattice, code


def encoded(
    values: Array, offset: float, scale: float, background: float, clip: float
) -> tuple[Array, float, Lattice | None]:
    """Map acquired `values` of tissue to (v - offset) / scale, cut them to [-clip, clip], and encode them.

    No tissue gets the background's value: it moves to the next one, towards zero. It is not cut there: the darkest
    voxels of a cohort, once cut alike, would leave its intensity statistics to tell the label.

    Args:
        values: of any shape; integers are mapped once per level.
        offset, scale: of the intensity map; scale > 0.
        background, clip: in units of the map; clip > 0.

    Returns:
        int16 codes, that of the background, and their lattice; float32 values, the background, and None where there is
        no lattice.
    """
    # The less the values reach, the finer is the lattice that fits, and the oftener its step halves the scanner's.
    ends = [abs(float(end) - offset) / scale for end in (values.min(), values.max())] if values.size else []
    reach = min(clip, max(ends, default=0.0)) or clip
    made = lattice_of(background, reach, 1 / scale if np.issubdtype(values.dtype, np.integer) else 1.0)
    if made is None:
        away = np.nextafter(np.float32(background), np.float32(-background or 1))

        def cut(levels: Array) -> Array:
            tissue = np.clip((levels.astype(np.float64) - offset) / scale, -clip, clip).astype(np.float32)
            return np.where(tissue == np.float32(background), away, tissue)

        return _by_level(cut, values), background, None
    lattice, empty = made

    def encode(levels: Array) -> Array:
        codes = lattice.encode((levels.astype(np.float64) - offset) / scale, -clip, clip)
        codes[codes == empty] += -1 if background > 0 else 1
        return codes

    return _by_level(encode, values), empty, lattice


def _by_level(function: Callable[[Array], Array], values: Array) -> Array:
    """Return `function` of `values`, which maps each value alone; of integers, it gets each one once."""
    if np.issubdtype(values.dtype, np.integer) and values.size:
        low, high = values.min(), values.max()
        if int(high) - int(low) < 2**16:
            levels = function(np.arange(int(low), int(high) + 1))
            return np.asarray(levels[(values - low).astype(np.uint16)])  # what overflows keeps its low 16 bits
    return function(values)
