"""Draw a volume: three planes through its centre, all its slices, its mask's outline, the histogram of its values.

Radiological convention: the patient's right is on the left of axial and coronal pictures, the front on the left of
sagittal ones, the head up. Letters and the bar are drawn into the pictures, so that they stay with them.
"""

import io
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk
from PIL import Image, ImageChops, ImageDraw, ImageFilter, ImageFont

from flairprep.core.files import atomic_part
from flairprep.imaging.orientation import turn_to

Array = npt.NDArray[Any]

BOX = 176  # pixels of the square that each plane is shown in
MONTAGE = 1024  # pixels that all slices together are at most wide
WINDOW = (1.0, 99.5)  # percentiles of the values that are black and white
BRIGHTEST = 99.9  # percentile of the tissue that is white: small lesions stay below it
BULK = 3.0  # deviations below the tissue's median that are black: fluid, but no other tissue
QUARTILES = 1.349  # distance of a normal distribution's quartiles, in deviations
BINS = 40  # of the histogram
DRAWN = 200_000  # values that windows and histograms are made of: 200 lie beyond the outermost percentiles
RANGE = (0.1, 99.9)  # percentiles that it goes from and to: one hot voxel must not squeeze it
SIDES = (("R", "L"), ("R", "L"), ("A", "P"))  # what lies on the left and on the right of the planes
BARS = (1, 2, 5, 10, 20, 50, 100)  # mm
QUALITIES = (60, 40, 20, 10)  # of WebP; noise takes the most bytes and shows the loss the least
EFFORT = 2  # of WebP: the next step takes twice the time for 6 % fewer bytes
MOST = 0.1  # bytes a pixel: 585 cases with two strips and a montage of 64 slices stay below 80 MB
SUFFIX = ".webp"
WHITE, RED, BLUE, YELLOW = "white", (255, 70, 20), (40, 120, 255), (255, 210, 0)
OPACITY = 0.7  # of the largest heat


class Upright(NamedTuple):
    """values: (z, y, x), from feet to head, front to back, the patient's right to left; spacing: the same axes, mm."""

    values: Array
    spacing: tuple[float, float, float]


class Histogram(NamedTuple):
    """counts: (BINS,) between low and high."""

    counts: list[int]
    low: float
    high: float


class Heat(NamedTuple):
    """Values of the axes of an Upright, (z, y, x), laid over it: red above 0, blue below, full at `top` and beyond."""

    values: Array
    top: float


class Shown(NamedTuple):
    """Caption of a picture. window: values of black and white; bar: its length in mm."""

    window: tuple[float, float]
    bar: int
    histogram: Histogram


def upright(image: sitk.Image) -> Upright:
    """Return the voxels of `image` along the nearest axes of the patient; nothing is interpolated."""
    turn, spacing = turn_to(image, "LPS"), image.GetSpacing()
    x, y, z = (spacing[axis] for axis in turn.order)
    return Upright(turn.view(sitk.GetArrayFromImage(image)), (z, y, x))


def tissue(values: Array, background: float | None = None) -> Array:
    """Return the values (n,) that are not `background`, by default not the lowest one; all where none is.

    Of more than DRAWN only every kth. Raises nothing: a picture is made of any volume.
    """
    flat = values.ravel() if np.issubdtype(values.dtype, np.integer) else values[np.isfinite(values)]
    kept = flat[flat != flat.min()] if background is None and flat.size else flat[mask(flat, background or 0.0)]
    kept = kept if kept.size else (flat if flat.size else np.zeros(1))
    return kept[:: 1 + (kept.size - 1) // DRAWN]


def mask(values: Array, background: float) -> Array:
    """Return where `values` are finite and not `background`, which volumes hold exactly; bool of their shape."""
    return np.isfinite(values) & (values != np.float32(background))


def tissue_window(values: Array, background: float) -> tuple[float, float]:
    """Return black and white for `values` (z, y, x) by the tissue alone, so that lesions in it stand out.

    Voxels beside the background are left out: interpolation mixed them with it, and its value may lie far below.
    """
    inside = mask(values, background)
    inner = inside.copy()
    for axis in range(values.ndim):
        kept, whole = np.moveaxis(inner, axis, 0), np.moveaxis(inside, axis, 0)
        kept[1:] &= whole[:-1]
        kept[:-1] &= whole[1:]
    kept = values[inner] if inner.any() else tissue(values, background)
    darkest, lower, median, upper, high = np.percentile(kept, (WINDOW[0], 25, 50, 75, BRIGHTEST))
    return float(max(darkest, median - BULK * (upper - lower) / QUARTILES)), float(high)


def window(values: Array) -> tuple[float, float]:
    """Return the values that black and white stand for; values: (n,)."""
    low, high = np.percentile(values, WINDOW)
    return float(low), float(high)


def histogram(values: Array) -> Histogram:
    """Bin `values` (n,); a single value fills a single bin."""
    low, high = (float(edge) for edge in np.percentile(values, RANGE))
    top = high if high > low else low + 1
    return Histogram(np.histogram(values, BINS, (low, top))[0].tolist(), low, high)


def bar_length(millimetres: float) -> int:
    """Return the longest of BARS that takes at most a third of `millimetres`, or the shortest."""
    return max((length for length in BARS if length * 3 <= millimetres), default=BARS[0])


def planes(
    volume: Upright, shown: tuple[float, float], heat: Heat | None = None, at: Sequence[int] | None = None
) -> tuple[Image.Image, int]:
    """Draw the axial, coronal and sagittal plane, BOX x 3 BOX; return the bar's length in mm too.

    All three have one scale. Voxels are drawn as rectangles, as thick as the slices are; where there are more than
    pixels, they are averaged.

    Args:
        heat: laid over the planes, which are in colour then.
        at: index (z, y, x) that the planes go through, by default the centre.
    """
    strip, across = _strip(volume, at, lambda cut: _coloured(volume, shown, heat, cut), "RGB" if heat else "L")
    draw = ImageDraw.Draw(strip)
    for place, (left, right) in enumerate(SIDES):
        _letter(draw, (place * BOX + 3, BOX // 2), left, "lm")
        _letter(draw, ((place + 1) * BOX - 3, BOX // 2), right, "rm")
    return strip, _bar(draw, across, BOX, (3 * BOX, BOX))


def outline(inside: Upright) -> Image.Image:
    """Draw the outline of a mask (bool) as `planes` draws its volume, in colour on nothing, to lie over it."""
    strip, _across = _strip(inside, None, lambda cut: grey(inside.values[cut], (0.0, 1.0)), "L")
    filled = strip.point([0] * 128 + [255] * 128)
    edge = ImageChops.subtract(filled, filled.filter(ImageFilter.MinFilter(3)))
    picture = Image.new("RGBA", strip.size, (*YELLOW, 0))
    picture.putalpha(edge)
    return picture


def _strip(
    volume: Upright, at: Sequence[int] | None, paint: Callable[[tuple[Any, ...]], Image.Image], mode: str
) -> tuple[Image.Image, float]:
    """Place what `paint` makes of three cuts of volume.values side by side; return how many mm BOX is, too."""
    z, y, x = at or (n // 2 for n in volume.values.shape)
    dz, dy, dx = volume.spacing
    cuts: list[tuple[tuple[Any, ...], tuple[float, float]]] = [
        ((z,), (dy, dx)),
        ((slice(None, None, -1), y), (dz, dx)),
        ((slice(None, None, -1), slice(None), x), (dz, dy)),
    ]
    across = max(n * step for n, step in zip(volume.values.shape, volume.spacing, strict=True))
    strip = Image.new(mode, (3 * BOX, BOX))
    for place, (cut, steps) in enumerate(cuts):
        picture = paint(cut)
        shape = picture.size[::-1]
        height, width = (max(1, round(n * step / across * BOX)) for n, step in zip(shape, steps, strict=True))
        picture = picture.resize((width, height), Image.Resampling.BOX)
        strip.paste(picture, (place * BOX + (BOX - width) // 2, (BOX - height) // 2))
    return strip, across


def montage(volume: Upright, shown: tuple[float, float], heat: Heat | None = None) -> tuple[Image.Image, int]:
    """Draw all axial slices from feet to head with their numbers, below `heat`; return the bar's length in mm too."""
    count, rows, columns = volume.values.shape
    across = int(np.ceil(np.sqrt(count)))
    _, dy, dx = volume.spacing
    tile = min(columns, MONTAGE // across) if columns >= 64 else 64  # small ones are enlarged: numbers need room
    height = max(1, round(tile * rows * dy / (columns * dx)))
    sheet = Image.new("RGB" if heat else "L", (across * tile, -(-count // across) * height))
    draw = ImageDraw.Draw(sheet)
    for index in range(count):
        left, top = index % across * tile, index // across * height
        picture = _coloured(volume, shown, heat, (index,))
        sheet.paste(picture.resize((tile, height), Image.Resampling.BOX), (left, top))
        _letter(draw, (left + 3, top + 3), str(index + 1), "la", size=11)
    _letter(draw, (3, height // 2), "R", "lm")
    _letter(draw, (tile - 3, height // 2), "L", "rm")
    return sheet, _bar(draw, columns * dx, tile, sheet.size)


def grey(cut: Array, shown: tuple[float, float]) -> Image.Image:
    """Convert `cut` (rows, columns) to 8 bit: `shown` are the values of black and white."""
    low, high = shown
    scaled = (np.nan_to_num(cut.astype(np.float64)) - low) / (high - low if high > low else 1.0)
    return Image.fromarray((np.clip(scaled, 0, 1) * 255).round().astype(np.uint8))


def _coloured(
    volume: Upright, shown: tuple[float, float], heat: Heat | None, cut: tuple[int | slice, ...]
) -> Image.Image:
    """Draw the plane volume.values[cut] as `grey` does, with `heat` over it."""
    picture = grey(volume.values[cut], shown)
    if heat is None:
        return picture
    values = np.nan_to_num(heat.values[cut].astype(np.float64)) / (heat.top or 1.0)
    share = OPACITY * np.clip(np.abs(values), 0, 1)[..., np.newaxis]
    colours = np.where(values[..., np.newaxis] > 0, RED, BLUE)
    return Image.fromarray(
        (np.asarray(picture)[..., np.newaxis] * (1 - share) + colours * share).round().astype(np.uint8)
    )


def _letter(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, anchor: str, size: int = 15) -> None:
    draw.text(place, text, WHITE, _font(size), anchor=anchor, stroke_width=1, stroke_fill="black")


@cache  # a font that is loaded anew has drawn no letter yet: half of the time of a montage
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _bar(draw: ImageDraw.ImageDraw, millimetres: float, pixels: int, corner: Sequence[int]) -> int:
    """Draw a bar at the lower right `corner`, where `pixels` are `millimetres`; return its length in mm."""
    length = bar_length(millimetres)
    right, bottom = corner[0] - 5, corner[1] - 5
    left = right - max(1, round(length / millimetres * pixels))
    draw.rectangle((left - 1, bottom - 3, right + 1, bottom + 1), fill="black")
    draw.rectangle((left, bottom - 2, right, bottom), fill=WHITE)
    return length


def write(picture: Image.Image, path: Path) -> None:
    """Write `picture` as WebP, whole or not at all, at the best of QUALITIES that needs no more than MOST.

    What lies over another picture (RGBA) keeps every pixel.
    """
    for quality in QUALITIES:
        content = io.BytesIO()
        picture.save(content, "WEBP", quality=quality, method=EFFORT, lossless=picture.mode == "RGBA")
        if content.tell() <= MOST * picture.width * picture.height:
            break
    with atomic_part(path) as partial:
        partial.write_bytes(content.getvalue())
