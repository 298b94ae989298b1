"""Damage DICOM files: `mutate` gives the same bytes for the same generator.

Every mutation is a function of (content, rng, others), where others are contents of other files; MUTATIONS lists them.
A mutation that does not find its element, as in a file damaged before, flips bits instead.
"""

import io
import logging
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pydicom
from numpy.random import Generator
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

Mutation = Callable[[bytes, Generator, Sequence[bytes]], bytes]

UNDEFINED = 0xFFFFFFFF
PIXELS, SYNTAX, FRAMES = 0x7FE00010, 0x00020010, 0x00280008
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG = {*(b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")}
SHORT = (b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO", b"LT", b"PN", b"SH", b"SL")
VRS = (*sorted(LONG), *SHORT, b"SS", b"ST", b"TM", b"UI", b"UL", b"US", b"??", b"\0\0", b"zz")
IMPLICIT, BIG, DEFLATED = b"1.2.840.10008.1.2", b"1.2.840.10008.1.2.2", b"1.2.840.10008.1.2.1.99"
SYNTAXES = (
    *(IMPLICIT, BIG, DEFLATED, b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.5"),
    *(b"1.2.840.10008.1.2.4." + end for end in (b"50", b"51", b"57", b"70", b"80", b"81", b"90", b"91", b"201")),
    *(b"1.2.840.10008.1.2.4.100", b"1.2.3", b"", b"MR"),
)
COUNTS = (0, 1, 2, 7, 8, 12, 16, 24, 32, 64, 255, 256, 4095, 32767, 32768, 65535)
WORDS = {  # elements whose value is one 16-bit number
    *(0x00280002, 0x00280006, 0x00280010, 0x00280011, 0x00280100, 0x00280101, 0x00280102, 0x00280103),
}
TEXTS = {  # elements whose value is numbers as text, and how many
    **{0x00200032: 3, 0x00200037: 6, 0x00280030: 2, 0x00281052: 1, 0x00281053: 1, FRAMES: 1},
    **{0x00200011: 1, 0x00200013: 1, 0x00180050: 1, 0x00180087: 1},
}
NUMBERS = (
    *("0", "-1", "1", "2", "1e308", "-1e308", "1e-320", "1e400", "nan", "-inf", "1e39", "3.4e38", "65536", "1e10"),
    *("2147483647", "2147483648", "-2147483649", "99999999999999999999", "", "x", "1\0", "0x10", "1_0", "½"),
)
BOMB = 16 << 20  # bytes that a block of a deflate bomb inflates to


@dataclass(frozen=True)
class Element:
    """An element in the bytes of a file. end: after its value, or after its header where the walk goes inside."""

    tag: int
    vr: bytes
    start: int
    value: int
    length: int
    end: int
    order: str

    @property
    def long(self) -> bool:
        """Whether the length field has 4 bytes, else 2; it ends where the value begins."""
        return not self.vr or self.vr in LONG


def elements(content: bytes) -> list[Element]:
    """List the elements of a file, those inside sequences included, until one makes no sense."""
    return list(_walk(content))


def _walk(content: bytes) -> Iterator[Element]:
    place = 132 if content[128:132] == b"DICM" else 0
    syntax, encapsulated = b"", False
    while place + 8 <= len(content):
        meta = content[place : place + 2] == b"\2\0"
        order = "<" if meta or syntax != BIG else ">"
        group, number = struct.unpack_from(f"{order}HH", content, place)
        tag = group << 16 | number
        vr = b"" if group == 0xFFFE or (not meta and syntax == IMPLICIT) else content[place + 4 : place + 6]
        if vr and not (vr.isalpha() and vr.isupper()):
            return
        value = place + (12 if vr in LONG else 8)
        if value > len(content):
            return
        form = "I" if not vr or vr in LONG else "H"
        (length,) = struct.unpack_from(order + form, content, value - struct.calcsize(form))
        if tag == PIXELS:
            encapsulated = length == UNDEFINED
        inside = length == UNDEFINED or vr == b"SQ" or (group == 0xFFFE and not encapsulated)
        end = value if inside else value + length
        yield Element(tag, vr, place, value, length, end, order)
        if tag == SYNTAX:
            syntax = content[value:end].rstrip(b" \0")
            if syntax == DEFLATED:
                return
        place = end


def _pick(content: bytes, rng: Generator, tags: set[int] | None = None) -> Element | None:
    candidates = [element for element in elements(content) if tags is None or element.tag in tags]
    return candidates[rng.integers(len(candidates))] if candidates else None


def _encoded(tag: int, vr: bytes, value: bytes, like: Element | None = None) -> bytes:
    """Encode an element with its true length, as `like` is encoded."""
    order = like.order if like else "<"
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF)
    if like and not like.vr:
        return head + struct.pack(f"{order}I", len(value)) + value
    size = struct.pack(f"{order}2xI", len(value)) if vr in LONG else struct.pack(f"{order}H", len(value) & 0xFFFF)
    return head + vr + size + value


def _put(content: bytes, element: Element, value: bytes) -> bytes:
    """Give `element` another value and its true length; the lengths of enclosing items stay."""
    return content[: element.start] + _encoded(element.tag, element.vr, value, element) + content[element.end :]


def _inserted(content: bytes, rng: Generator, piece: bytes) -> bytes:
    """Insert `piece` before an element after the file's meta group, often the pixels."""
    inside = [element for element in elements(content) if element.tag >> 16 != 2]
    if not inside:
        return content + piece
    pixels = [element for element in inside if element.tag == PIXELS]
    place = pixels[0] if pixels and rng.random() < 0.5 else inside[rng.integers(len(inside))]
    return content[: place.start] + piece + content[place.start :]


# Bytes


def few_bits(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to eight bits flipped, half of the time in the headers' first bytes."""
    changed = bytearray(content)
    reach = len(changed) if rng.random() < 0.5 else min(len(changed), 2000)
    for _ in range(rng.integers(1, 9)):
        if changed:
            changed[rng.integers(reach)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def many_bits(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """About one bit of ten thousand to one of ten, over all."""
    array = np.frombuffer(content, np.uint8)
    hit = rng.random(len(array)) < 10.0 ** -rng.uniform(1, 4)
    return (array ^ np.where(hit, 1 << rng.integers(0, 8, len(array)), 0).astype(np.uint8)).tobytes()


def noisy_pixels(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Bytes of the pixel data alone replaced, so that the headers lead to the decoder."""
    start = next((element.value for element in elements(content) if element.tag == PIXELS), len(content) // 2)
    changed = bytearray(content)
    for _ in range(2 ** int(rng.integers(0, 10))):
        if start < len(changed):
            changed[rng.integers(start, len(changed))] = rng.integers(256)
    return bytes(changed)


def truncated(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """The file's beginning."""
    return content[: rng.integers(len(content) + 1)]


def zeros(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """A stretch of zeros."""
    start, stop = sorted(rng.integers(len(content) + 1, size=2))
    return content[:start] + bytes(stop - start) + content[stop:]


def empty(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """No byte at all."""
    return b""


def random_bytes(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Random bytes behind a whole prefix, or behind a whole meta group."""
    meta = max((element.end for element in elements(content) if element.tag >> 16 == 2), default=132)
    prefix = content[:meta] if rng.random() < 0.5 else bytes(128) + b"DICM"
    return prefix + rng.bytes(int(rng.integers(1, 5000)))


def spliced(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """A stretch of another file over, or between, the file's own bytes."""
    other = others[rng.integers(len(others))] if others else content
    start, stop = sorted(rng.integers(len(other) + 1, size=2))
    piece, place = other[start : min(stop, start + 100_000)], rng.integers(len(content) + 1)
    return content[:place] + piece + content[place + (len(piece) if rng.random() < 0.5 else 0) :]


# Elements


def element_of_another_file(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to five elements of another file between the file's own."""
    other = others[rng.integers(len(others))] if others else content
    for _ in range(rng.integers(1, 6)):
        if element := _pick(other, rng):
            content = _inserted(content, rng, other[element.start : element.end])
    return content


def duplicated(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """An element twice, or often."""
    if not (element := _pick(content, rng)):
        return few_bits(content, rng, others)
    times = 1 if rng.random() < 0.7 else int(rng.integers(2, 2000))
    piece = content[element.start : element.end][:2000]
    return content[: element.start] + piece * times + content[element.start :]


def moved(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """An element elsewhere."""
    if not (element := _pick(content, rng)):
        return few_bits(content, rng, others)
    return _inserted(content[: element.start] + content[element.end :], rng, content[element.start : element.end])


def dropped(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to three elements less, half of the time of those that describe the pixels."""
    for _ in range(rng.integers(1, 4)):
        told = WORDS | set(TEXTS) | {PIXELS, SYNTAX, ITEM, ITEM_END, SEQUENCE_END}
        if element := _pick(content, rng, told if rng.random() < 0.5 else None):
            content = content[: element.start] + content[element.end :]
    return content


def lying_length(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """A length field that says too much, too little, an odd number, or "undefined"."""
    special = {PIXELS, ITEM, 0x52009229, 0x52009230, 0x00020000}
    element = _pick(content, rng, special if rng.random() < 0.3 else None)
    if not element:
        return few_bits(content, rng, others)
    far = (0, 1, element.length - 1, element.length + 1, element.length + 2, element.length // 2, element.length * 2)
    huge = (UNDEFINED, UNDEFINED - 1, 0x7FFFFFFF, 0x80000000, 0xFFFF, len(content), len(content) * 1000)
    length = (far + huge)[rng.integers(len(far) + len(huge))]
    field = struct.pack(
        f"{element.order}{'I' if element.long else 'H'}", length & (UNDEFINED if element.long else 0xFFFF)
    )
    return content[: element.value - len(field)] + field + content[element.value :]


def wrong_vr(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to five elements with another VR, their lengths where they were."""
    for _ in range(rng.integers(1, 6)):
        if (element := _pick(content, rng)) and element.vr:
            vr = VRS[rng.integers(len(VRS))]
            content = content[: element.start + 4] + vr + content[element.start + 6 :]
    return content


def nested(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Sequences in sequences, thousands deep, of undefined or defined length, closed or not."""
    like = next((element for element in reversed(elements(content)) if element.tag >> 16 not in (2, 0xFFFE)), None)
    order = like.order if like else "<"
    vr = b"" if like and not like.vr else b"SQ\0\0"
    depth = int(rng.choice([10, 100, 500, 1000, 3000, 20_000]))
    tag = (0x00081140, 0x00400275, 0x52009230)[rng.integers(3)]
    head = struct.pack(f"{order}HH", tag >> 16, tag & 0xFFFF) + vr
    item, item_end = (struct.pack(f"{order}HH", end >> 16, end & 0xFFFF) for end in (ITEM, ITEM_END))
    end = struct.pack(f"{order}HH", SEQUENCE_END >> 16, SEQUENCE_END & 0xFFFF)
    if rng.random() < 0.5:
        undefined = struct.pack(f"{order}I", UNDEFINED)
        closed = (item_end + bytes(4) + end + bytes(4)) * (depth if rng.random() < 0.7 else 0)
        return _inserted(content, rng, (head + undefined + item + undefined) * depth + closed)
    level = len(head) + 4 + len(item) + 4
    sizes = range((depth - 1) * level, -1, -level)
    deep = b"".join(
        head + struct.pack(f"{order}I", size + len(item) + 4) + item + struct.pack(f"{order}I", size) for size in sizes
    )
    return _inserted(content, rng, deep)


# Values


def extreme_count(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Rows, columns, bits, samples: one to three of them extreme, now and then with two values or none."""
    for _ in range(rng.integers(1, 4)):
        if element := _pick(content, rng, WORDS):
            times = (1, 1, 1, 0, 2)[rng.integers(5)]
            content = _put(content, element, struct.pack(f"{element.order}H", int(rng.choice(COUNTS))) * times)
    return content


def extreme_number(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Positions, directions, spacings, rescaling, frames: one to three of them extreme, or not so many values."""
    for _ in range(rng.integers(1, 4)):
        if element := _pick(content, rng, set(TEXTS)):
            parts = content[element.value : element.end].split(b"\\")
            count = TEXTS[element.tag] if rng.random() < 0.8 else int(rng.integers(0, 9))
            own = [(parts[i % len(parts)], NUMBERS[rng.integers(len(NUMBERS))].encode()) for i in range(count)]
            value = b"\\".join(new if rng.random() < 0.5 or count == 1 else old for old, new in own)
            content = _put(content, element, value + b" " * (len(value) % 2))
    return content


def strange_value(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to five elements with no value, a long one, many, random bytes, or text of no encoding."""
    values = (b"", b"A" * 65534, b"\\" * 1000, b"1\\" * 500, b"\xff\xfe\0\1", b"ISO 2022 IR 999\\x ", rng.bytes(64))
    for _ in range(rng.integers(1, 6)):
        if (element := _pick(content, rng)) and element.tag >> 16 not in (0x7FE0, 0xFFFE):
            content = _put(content, element, values[rng.integers(len(values))])
    return content


def other_syntax(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Another transfer syntax than the data set's."""
    if not (element := _pick(content, rng, {SYNTAX})):
        return few_bits(content, rng, others)
    value = SYNTAXES[rng.integers(len(SYNTAXES))]
    return _put(content, element, value + b"\0" * (len(value) % 2))


# Compressed streams


def extreme_stream(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Sizes in JPEG, JPEG-LS and JPEG 2000 streams, offsets in RLE headers; often with rows and columns alike."""
    changed = bytearray(content)
    fragments = [element.value for element in elements(content) if element.tag == ITEM and element.length > 64]
    if not fragments:
        return noisy_pixels(content, rng, others)
    start = fragments[rng.integers(len(fragments))]
    sizes = [int(value) for value in rng.choice([0, 1, 2, 255, 4096, 16384, 32768, 65535], 2)]
    stream = content[start : start + 1000]
    if stream[:4] == b"\xff\x4f\xff\x51":  # JPEG 2000: SIZ
        fields = (8, 12, 16, 20, 24, 28, 32, 36)  # image, its offset, tile, its offset
        for place in rng.choice(fields, int(rng.integers(1, 4))):
            value = int(rng.choice([0, 1, 65535, 1 << 20, (1 << 31) - 1, 1 << 31, UNDEFINED]))
            struct.pack_into(">I", changed, start + int(place), value)
        if rng.random() < 0.3:
            struct.pack_into(">H", changed, start + 40, int(rng.choice([0, 2, 255, 16384, 65535])))  # components
    elif stream[:2] == b"\xff\xd8":  # JPEG, JPEG-LS: SOFn
        kinds = (0xC0, 0xC1, 0xC2, 0xC3, 0xF7)
        for place in (place for kind in kinds if (place := stream.find(bytes([0xFF, kind]))) > 0):
            struct.pack_into(">HH", changed, start + place + 5, *sizes)
            if rng.random() < 0.3:
                changed[start + place + 4] = rng.integers(256)  # bits
            if rng.random() < 0.3:
                changed[start + place + 9] = rng.integers(256)  # components
    else:  # RLE: the number of segments and where they begin
        for place in rng.integers(0, 16, int(rng.integers(1, 4))):
            value = int(rng.choice([0, 1, 15, 63, 64, 255, 65536, 0x7FFFFFFF, UNDEFINED]))
            struct.pack_into("<I", changed, start + 4 * int(place), value)
    result = bytes(changed)
    if rng.random() < 0.5:
        for tag, size in zip((0x00280010, 0x00280011), sizes, strict=True):
            if element := _pick(result, rng, {tag}):
                result = _put(result, element, struct.pack(f"{element.order}H", size))
    return result


@cache
def _block() -> bytes:
    """Zeros as raw deflate that can be repeated: a full flush ends it on a byte and forgets the past."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    return compressor.compress(bytes(BOMB)) + compressor.flush(zlib.Z_FULL_FLUSH)


def deflate_bomb(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """A deflated data set of some kilobytes that inflates to gigabytes of pixels or of private bytes."""
    blocks = int(rng.integers(1, 256))
    size = (blocks * BOMB - 2) & 0xFFFFFFFE
    inside = [
        element for element in elements(content) if element.tag >> 16 != 2 and element.vr and element.order == "<"
    ]
    body = content[inside[0].start : min(inside[-1].end, 100_000)] if inside else b""
    tag, vr = ((PIXELS, b"OW"), (0x00091010, b"OB"), (PIXELS, b"OB"))[rng.integers(3)]
    before = next((element.start for element in inside if element.tag >= tag), inside[-1].end if inside else 0)
    body = body[: max(0, before - inside[0].start)] if inside else b""
    head = body + struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + struct.pack("<2xI", size)
    compressor = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = compressor.compress(head) + compressor.flush(zlib.Z_FULL_FLUSH) + _block() * blocks
    end = zlib.compressobj(1, zlib.DEFLATED, -15).flush() if rng.random() < 0.8 else b""
    meta = _encoded(SYNTAX, b"UI", DEFLATED)
    return bytes(128) + b"DICM" + _encoded(0x00020000, b"UL", struct.pack("<I", len(meta))) + meta + packed + end


MUTATIONS: dict[Mutation, int] = {  # and how often each is chosen: those that reach far more often
    few_bits: 4,
    many_bits: 3,
    noisy_pixels: 6,
    truncated: 3,
    zeros: 2,
    empty: 1,
    random_bytes: 1,
    spliced: 3,
    element_of_another_file: 3,
    duplicated: 3,
    moved: 3,
    dropped: 4,
    lying_length: 8,
    wrong_vr: 5,
    nested: 4,
    extreme_count: 8,
    extreme_number: 8,
    strange_value: 5,
    other_syntax: 4,
    extreme_stream: 10,
    deflate_bomb: 1,
}


def mutate(content: bytes, rng: Generator, others: Sequence[bytes] = ()) -> tuple[bytes, tuple[str, ...]]:
    """`content` after one to three mutations, and their names."""
    weights = np.array(list(MUTATIONS.values()), float)
    chosen = rng.choice(len(MUTATIONS), int(rng.integers(1, 4)), p=weights / weights.sum())
    functions = [list(MUTATIONS)[index] for index in chosen]
    for function in functions:
        content = function(content, rng, others)
    return content, tuple(function.__name__ for function in functions)


# Whole files to begin with

PYDICOM = (  # of those that pydicom itself brings, one of each syntax and kind
    *("693_J2KI", "CT_small", "J2K_pixelrep_mismatch", "JPEG-lossy", "JPEG2000", "JPGExtended"),
    *("JPEGLSNearLossless_08", "JPEGLSNearLossless_16", "MR_small", "MR_small_RLE", "MR_small_bigendian"),
    *("MR_small_implicit", "MR_small_jp2klossless", "MR_small_jpeg_ls_lossless", "MR_small_padded", "image_dfl"),
    *("liver_1frame", "rtdose", "rtdose_rle"),
    "examples_overlay",
)
CLASSIC, ENHANCED = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
VETOES = ("EchoTime", "EffectiveEchoTime", "InversionTime", "InversionTimes", "MREchoSequence", "MRModifierSequence")
FAULTS = ("ImageType", "ComplexImageComponent", "BurnedInAnnotation", "SeriesDescription", "ProtocolName")


def readable(content: bytes) -> bytes | None:
    """Make a file readable up to its pixels' decoder: an MR image with a geometry and no fault.

    None where pydicom cannot read and write it, or it has no pixels, or colours.
    """
    logging.getLogger("pydicom").disabled = True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        gray = str(dataset.get("PhotometricInterpretation")).startswith("MONOCHROME")
        if not gray or "PixelData" not in dataset or "TransferSyntaxUID" not in dataset.file_meta:
            return None
        for holder in (dataset, *dataset.get("SharedFunctionalGroupsSequence", ())):
            _strip(holder)
        for holder in dataset.get("PerFrameFunctionalGroupsSequence", ()):
            _strip(holder)
        dataset.Modality = "MR"
        dataset.SOPClassUID = ENHANCED if "PerFrameFunctionalGroupsSequence" in dataset else CLASSIC
        if dataset.SOPClassUID == CLASSIC:
            dataset.ImagePositionPatient = dataset.get("ImagePositionPatient") or [0.0, 0.0, 0.0]
            dataset.ImageOrientationPatient = dataset.get("ImageOrientationPatient") or [1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
            dataset.PixelSpacing = dataset.get("PixelSpacing") or [1.0, 1.0]
        written = io.BytesIO()
        try:
            dataset.save_as(written, enforce_file_format=True)
        except (ValueError, TypeError, AttributeError, NotImplementedError):
            return None
    return written.getvalue()


def _strip(dataset: Dataset) -> None:
    for keyword in (*VETOES, *FAULTS):
        if keyword in dataset:
            delattr(dataset, keyword)


def pydicom_files() -> dict[str, bytes]:
    """Name -> content, readable, of files that pydicom brings."""
    contents = {}
    for name in PYDICOM:
        path = get_testdata_file(f"{name}.dcm", download=False)
        if path and (content := readable(Path(str(path)).read_bytes())):
            contents[name] = content
    return contents
