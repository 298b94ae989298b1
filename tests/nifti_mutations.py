"""Damage NIfTI files and their sidecars: `mutate` gives the same bytes for the same generator, as `mutations` does."""

import gzip
import io
import json
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import nibabel as nib
import numpy as np
from mutations import few_bits, many_bits, spliced, truncated, zeros
from numpy.random import Generator

Mutation = Callable[[bytes, Generator, Sequence[bytes]], bytes]

HEADER = 352
FLOATS = (np.nan, np.inf, -np.inf, -1e38, 1e38, 0, -1, 1e-40, 3e9, 0.5)
LENGTHS = (-32768, -1, 0, 1, 2, 3, 4, 5, 7, 8, 300, 32767)
CODES = (-1, 0, 1, 2, 4, 5, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 32767)
FLOAT_PLACES = (*range(76, 124, 4), *range(256, 328, 4))  # pixdim, vox_offset, scaling, limits; qform and sform
CODE_PLACES = (70, 72, 252, 254)  # datatype, bitpix, qform_code, sform_code
BOMB = 2**24
LARGEST = 2**22  # bytes that a mutation inflates; it leaves what is more as it is
SIDECAR = {
    **{"Modality": "MR", "Manufacturer": "Philips", "MagneticFieldStrength": 3, "EchoTime": 0.09, "RepetitionTime": 9},
    **{"InversionTime": 2.5, "MRAcquisitionType": "2D", "ImageType": ["ORIGINAL", "PRIMARY"], "PatientAge": "063Y"},
}


def _plain(content: bytes) -> tuple[bytearray, bool]:
    """Return the bytes of a file, inflated where they are gzipped and whole, and whether they were."""
    if content[:2] == b"\x1f\x8b":
        try:
            with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
                plain = file.read(LARGEST)
                if len(plain) < LARGEST:
                    return bytearray(plain), True
        except (OSError, EOFError, zlib.error):
            pass
    return bytearray(content), False


def _again(plain: bytes | bytearray, packed: bool) -> bytes:
    return gzip.compress(bytes(plain), 1, mtime=0) if packed else bytes(plain)


def inside(mutation: Mutation) -> Mutation:
    """Return a mutation of what a gzipped file holds."""

    def mutate_inside(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
        plain, packed = _plain(content)
        return _again(mutation(bytes(plain), rng, others), packed)

    mutate_inside.__name__ = f"{mutation.__name__}_inside"
    return mutate_inside


def _fields(content: bytes, rng: Generator, form: str, places: Sequence[int], numbers: Sequence[float]) -> bytes:
    plain, packed = _plain(content)
    order = "<" if plain[:1] == b"\x5c" or rng.random() < 0.2 else ">"
    for _ in range(rng.integers(1, 4)):
        place = int(places[rng.integers(len(places))])
        if place + 4 <= len(plain):
            struct.pack_into(order + form, plain, place, numbers[rng.integers(len(numbers))])
    return _again(plain, packed)


def extreme_float(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to three of spacings, offset, scaling, quaternion and matrix extreme."""
    return _fields(content, rng, "f", FLOAT_PLACES, FLOATS)


def extreme_length(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """One to three of the axes, or their number, extreme."""
    return _fields(content, rng, "h", range(40, 56, 2), LENGTHS)


def other_code(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Another type of voxels, another coordinate system, other units or slice axis."""
    if rng.random() < 0.2:
        return _fields(content, rng, "B", (39, 123), range(256))
    return _fields(content, rng, "h", CODE_PLACES, CODES)


def swapped_bytes(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """The length of the header in the other byte order, or of another version."""
    plain, packed = _plain(content)
    plain[:4] = struct.pack(*((">i", 348), ("<i", 540), (">i", 540), ("<i", 0), ("<i", 1543569408))[rng.integers(5)])
    return _again(plain, packed)


def many_volumes(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """The volume several times, and a header that says so, more or less."""
    plain, packed = _plain(content)
    times = int(rng.integers(2, 6))
    if len(plain) > HEADER:
        struct.pack_into("<h", plain, 40, int(rng.choice([4, 4, 5])))
        struct.pack_into("<h", plain, 48, times + int(rng.choice([0, 0, -1, 1, 3000])))
        plain += plain[HEADER:] * (times - 1)
    return _again(plain, packed)


def extensions(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Extensions between header and voxels, of true or lying length."""
    plain, packed = _plain(content)
    size = int(rng.choice([8, 16, 4096, 65536]))
    stated = size if rng.random() < 0.5 else int(rng.choice([-1, 0, 7, 2**31 - 1]))
    piece = b"\1\0\0\0" + struct.pack("<2i", stated, 6) + rng.bytes(size - 8)
    if len(plain) >= HEADER:
        struct.pack_into("<f", plain, 108, 352 + size)
    return _again(plain[:348] + piece + plain[HEADER:], packed)


def gzip_members(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Several gzip members, padding, rubbish behind the end, a wrong checksum or a gzip within a gzip."""
    plain, _ = _plain(content)
    cut = int(rng.integers(len(plain) + 1))
    whole = gzip.compress(bytes(plain), 1, mtime=0)
    return (
        _again(plain[:cut], True) + _again(plain[cut:], True),
        whole + bytes(int(rng.integers(1, 5000))),
        whole + rng.bytes(int(rng.integers(1, 50))),
        whole + whole[: int(rng.integers(len(whole)))],
        whole[:-8] + rng.bytes(8),
        gzip.compress(whole, 1, mtime=0),
    )[rng.integers(6)]


@cache
def _block() -> bytes:
    return gzip.compress(bytes(BOMB), 9, mtime=0)


def gzip_bomb(content: bytes, rng: Generator, others: Sequence[bytes]) -> bytes:
    """Gigabytes of zeros behind the voxels, or before them, in few bytes."""
    plain, _ = _plain(content)
    block = _block()
    cut = len(plain) if rng.random() < 0.5 else int(rng.integers(len(plain) + 1))
    return _again(plain[:cut], True) + block * int(rng.integers(1, 256)) + _again(plain[cut:], True)


MUTATIONS: dict[Mutation, int] = {
    few_bits: 2,
    many_bits: 2,
    truncated: 2,
    zeros: 1,
    spliced: 1,
    inside(few_bits): 4,
    inside(many_bits): 1,
    inside(truncated): 3,
    inside(spliced): 1,
    extreme_float: 8,
    extreme_length: 8,
    other_code: 8,
    swapped_bytes: 2,
    many_volumes: 4,
    extensions: 3,
    gzip_members: 4,
    gzip_bomb: 1,
}


def mutate(content: bytes, rng: Generator, others: Sequence[bytes] = ()) -> tuple[bytes, tuple[str, ...]]:
    """`content` after one to three mutations, and their names."""
    weights = np.array(list(MUTATIONS.values()), float)
    chosen = rng.choice(len(MUTATIONS), int(rng.integers(1, 4)), p=weights / weights.sum())
    functions = [list(MUTATIONS)[index] for index in chosen]
    for function in functions:
        content = function(content, rng, others)
    return content, tuple(function.__name__ for function in functions)


def mutate_sidecar(content: bytes, rng: Generator) -> bytes:
    """A sidecar with a strange value, or none, or damaged bytes."""
    if rng.random() < 0.3:
        return (few_bits, many_bits, truncated, zeros)[rng.integers(4)](content, rng, [])
    fields = dict(SIDECAR)
    values = (None, True, -1, 1e308, 10**400, "x" * 100_000, "9" * 5000, [], [[]] * 1000, {}, {"a": 1}, "\ud800", "")
    for _ in range(rng.integers(1, 4)):
        fields[list(fields)[rng.integers(len(fields))]] = values[rng.integers(len(values))]  # type: ignore[assignment]
    text = json.dumps(fields)
    return (text.encode(), b"[" * 100_000 + text.encode(), text.replace("9", "NaN").encode())[rng.integers(3)]


def originals(folder: Path) -> dict[str, dict[str, bytes]]:
    """Return whole cases, name -> (name of a file -> content): of one file or a pair, both versions, many types.

    folder: for what is written on the way.
    """
    cases = {}
    names = ("x_flair.nii", "x_flair.nii.gz", "x_flair.hdr", "sub-1_FLAIR.nii.gz")
    for number, dtype in enumerate(("i2", "u1", ">f4", "u2", "f8", ">i4", "i8", "i2")):
        name = names[number % len(names)]
        values = np.pad(np.random.default_rng(number).integers(1, 99, (10, 9, 8)), 1).astype(dtype)
        kind = nib.Nifti1Pair if name.endswith("hdr") else nib.Nifti2Image if number == 5 else nib.Nifti1Image
        head = kind.header_class(endianness=">" if dtype[0] == ">" else "<")
        head.set_data_dtype(np.dtype(dtype))
        made = kind(values, np.diag([-1, -1, 2, 1]), head)
        made.header.set_slope_inter(1 + number % 2, 0)
        made.set_qform(made.affine, 1)
        made.set_sform(made.affine, number % 3)
        place = folder / str(number)
        place.mkdir()
        nib.save(made, place / name)
        (place / f"{name.split('.')[0]}.json").write_text(json.dumps(SIDECAR))
        cases[f"{name} {dtype}"] = {path.name: path.read_bytes() for path in sorted(place.iterdir())}
    return cases
