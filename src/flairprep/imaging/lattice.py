"""Put intensities on a lattice of 16-bit codes, value = code * slope + intercept, so that they are stored in half."""

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

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

    def encode(self, values: Array, low: float, high: float) -> Array:
        """Return the nearest codes (int16) of `values`, none of which decodes to less than low or more than high."""
        first, last = (self.places(np.array([low, high]))).tolist()
        return np.clip(np.rint(self.places(values)), math.ceil(first), math.floor(last)).astype(np.int16)

    def places(self, values: Array) -> Array:
        """Return where `values` lie between the codes."""
        return (values.astype(np.float64) - self.intercept) / self.slope


def lattice_of(background: float, clip: float, unit: float) -> tuple[Lattice, int] | None:
    """Return a lattice for -clip to clip that holds `background` exactly, and the background's code.

    Where the scanner stored integers, `unit` is their step. The lattice divides it evenly, so that the same few low
    bytes come back again and again and the file gets smaller: by a power of two if that gives a step of at most
    2.5e-4, else by three or five times one. Both bytes of the background's code are equal, one long run to a
    compressor.

    Args:
        background, clip: in units of the intensity map; clip > 0.
        unit: step of the acquired values after the map, > 0; 1 for values that are not whole.

    Returns:
        None where the range is so wide that the step would exceed 2^-11.
    """
    least = max(abs(background), clip) / LAST
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


def stored(values: Array, inside: Array, background: float, clip: float, unit: float) -> tuple[Array, Lattice | None]:
    """Cut the tissue's `values` to [-clip, clip] and lay them into a volume of `background`.

    No tissue gets the background's value: it moves to the next one, towards zero. It is not cut there: the darkest
    voxels of a cohort, once cut alike, would leave its intensity statistics to tell the label.

    Args:
        values: (n,), float64.
        inside: the mask of n voxels (z, y, x), bool.
        background, clip, unit: see `lattice_of`.

    Returns:
        The volume (z, y, x) as int16 codes with their lattice, or as float32 with None where there is no lattice.
    """
    made = lattice_of(background, clip, unit)
    if made is None:
        tissue = np.clip(values, -clip, clip).astype(np.float32)
        tissue[tissue == np.float32(background)] = np.nextafter(np.float32(background), np.float32(-background or 1))
        volume = np.full(inside.shape, background, np.float32)
        volume[inside] = tissue
        return volume, None
    lattice, empty = made
    codes = lattice.encode(values, -clip, clip)
    codes[codes == empty] += -1 if background > 0 else 1
    volume = np.full(inside.shape, empty, np.int16)
    volume[inside] = codes
    return volume, lattice
