"""Damage zip and tar archives: `mutate` gives the same bytes for the same generator, as `mutations` does.

Every mutation takes the archive's ending and its members beside its bytes, so that it can write it anew.
"""

import gzip
import io
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import cache

import mutations
import numpy as np
from backports import zstd
from numpy.random import Generator

Members = Sequence[tuple[str, bytes]]
Mutation = Callable[[bytes, str, Members, Generator], bytes]

KINDS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.zst")
DIRECTORY, LOCAL, END = b"PK\1\2", b"PK\3\4", b"PK\5\6"
SIZES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
NAMES = (
    *("../x", "/etc/x", "a/../../x", "C:\\x", "\\\\host\\x", "", ".", "..", "./", "a//b", "x\0y", "FLAIR/", "FLAIR"),
    *("é" * 200, "x" * 5000, "a/" * 500, "\u202ex", "__MACOSX/x", ".x", "FLAIR/x.zip", "con", "a\nb", "\udcff"),
)
BOMB = 2**24
LARGEST = 2**25  # bytes that a mutation inflates; it leaves what is more as it is


def pack(members: Members, kind: str) -> bytes:
    """Return the archive of a kind that holds members; equal bytes for equal members."""
    buffer = io.BytesIO()
    if kind == ".zip":
        with (
            warnings.catch_warnings(action="ignore"),  # of a name that is there twice
            zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        ):
            for name, content in members:
                archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return shell(buffer.getvalue(), kind)


def shell(content: bytes, kind: str) -> bytes:
    """Compress a tar as its ending says."""
    if kind == ".tar.zst":
        return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})
    return content if kind == ".tar" else gzip.compress(content, 1, mtime=0)


def _inner(content: bytes, kind: str) -> bytearray | None:
    """Return the tar inside, None for a zip or where it cannot be unpacked."""
    try:
        if kind in (".tar", ".zip"):
            return bytearray(content) if kind == ".tar" else None
        packed = io.BytesIO(content)
        with zstd.ZstdFile(packed) if kind == ".tar.zst" else gzip.GzipFile(fileobj=packed) as file:
            inner = file.read(LARGEST)
        return bytearray(inner) if len(inner) < LARGEST else None
    except Exception:  # damaged before
        return None


def bytes_anywhere(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Bits, stretches or the end of the archive's own bytes damaged."""
    damage = (mutations.few_bits, mutations.many_bits, mutations.truncated, mutations.zeros, mutations.spliced)
    return damage[rng.integers(len(damage))](content, rng, [content])


def bytes_inside(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Bits, stretches or the end of the tar inside damaged, its shell sound."""
    inner = _inner(content, kind)
    if inner is None:
        return bytes_anywhere(content, kind, members, rng)
    damage = (mutations.few_bits, mutations.many_bits, mutations.truncated, mutations.zeros, mutations.spliced)
    return shell(damage[rng.integers(len(damage))](bytes(inner), rng, [bytes(inner)]), kind)


def field(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """A field of a zip's records, or of a tar's headers with its checksum made right, with an extreme value."""
    if kind == ".zip":
        return _zip_field(content, rng)
    inner = _inner(content, kind)
    if inner is None or len(inner) < tarfile.BLOCKSIZE:
        return bytes_anywhere(content, kind, members, rng)
    heads = [place for place in range(0, len(inner) - 511, 512) if inner[place + 257 : place + 262] == b"ustar"] or [0]
    place = heads[rng.integers(len(heads))]
    start, length = ((0, 100), (100, 8), (124, 12), (124, 12), (156, 1), (156, 1), (157, 100), (257, 8), (345, 155))[
        rng.integers(9)
    ]
    values = (
        *(b"\xff" * length, bytes(length), b"7" * length, b"../" * 60, b"00000000000", b"-1", b"\x80" + b"\xff" * 11),
        *(b"5", b"2", b"1", b"L", b"K", b"x", b"g", b"S", b"6", b"77777777777", b"\x80" + bytes(4) + b"\xff" * 7),
    )
    inner[place + start : place + start + length] = values[rng.integers(len(values))][:length].ljust(length, b"\0")
    inner[place + 148 : place + 156] = b" " * 8
    inner[place + 148 : place + 156] = b"%06o\0 " % sum(inner[place : place + 512])
    return shell(bytes(inner), kind)


def _zip_field(content: bytes, rng: Generator) -> bytes:
    changed = bytearray(content)
    mark, fields = (
        (DIRECTORY, ((8, "H"), (10, "H"), (16, "I"), (20, "I"), (24, "I"), (28, "H"), (30, "H"), (32, "H"), (42, "I"))),
        (LOCAL, ((6, "H"), (8, "H"), (14, "I"), (18, "I"), (22, "I"), (26, "H"), (28, "H"))),
        (END, ((4, "H"), (8, "H"), (10, "H"), (12, "I"), (16, "I"), (20, "H"))),
        (DIRECTORY, ((38, "I"),)),  # the mode: a link, a device
    )[rng.integers(4)]
    places = [place for place in range(len(content) - 46) if content.startswith(mark, place)]
    if not places and mark != END:
        return content
    start = places[rng.integers(len(places))] if places else max(0, content.rfind(END))
    place, form = fields[rng.integers(len(fields))]
    value = int(rng.choice((*SIZES, 8, 9, 12, 14, 93, 0xA1ED0000, 0x61B60000, len(content))))
    if start + place + 4 <= len(changed):
        struct.pack_into(f"<{form}", changed, start + place, value & (0xFFFF if form == "H" else 0xFFFFFFFF))
    return bytes(changed)


def strange_names(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Members of names that lead out, stand there twice, are none, or are long."""
    renamed = list(members)
    for _ in range(rng.integers(1, 3)):
        index = int(rng.integers(len(renamed)))
        renamed.insert(index, (NAMES[rng.integers(len(NAMES))].replace("\udcff", "?"), renamed[index][1][:1000]))
    return pack(renamed, kind)


def links(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """A link, a device or a sparse file among the members of a tar; a link in a zip."""
    buffer = io.BytesIO()
    if kind == ".zip":
        with zipfile.ZipFile(io.BytesIO(pack(members, kind))) as old, zipfile.ZipFile(buffer, "w") as new:
            for info in old.infolist():
                new.writestr(info, old.read(info))
            link = zipfile.ZipInfo("link")
            link.external_attr = int(rng.choice([0o120777, 0o020666, 0o140777])) << 16
            new.writestr(link, "/etc/hostname")
        return buffer.getvalue()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        link = tarfile.TarInfo("FLAIR/link")
        types = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE)
        link.type, link.linkname = types[rng.integers(len(types))], "/etc/hostname"
        tar.addfile(link)
    return shell(buffer.getvalue() + (_inner(pack(members, kind), kind) or b""), kind)


def wrong_kind(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """An archive of another kind under this name, one inside another, or one behind another."""
    other = pack(members, KINDS[rng.integers(len(KINDS))])
    return (other, pack([("x.zip", content), *members], kind), content + other, other + content, b"")[rng.integers(5)]


def long_pax(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Extended headers of a tar with strange records, or a long comment of a zip."""
    if kind == ".zip":
        return content[:-2] + struct.pack("<H", 60000) + b"PK\5\6" * 15000 if rng.random() < 0.5 else content + b"x" * 9
    records = (b"11 size=-1\n", b"99 path=x\n", b"20 size=99999999999\n", b"0 \n", b"x", b"13 path=../x\n", b"9" * 3000)
    record = records[rng.integers(len(records))] * int(rng.integers(1, 50))
    head = tarfile.TarInfo("pax")
    head.type, head.size = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME)[rng.integers(3)], len(record)
    block = head.tobuf(tarfile.USTAR_FORMAT) + record.ljust(-(-len(record) // 512) * 512, b"\0")
    return shell(block + bytes(_inner(pack(members, kind), kind) or b""), kind)


@cache
def _block(kind: str) -> bytes:
    return shell(bytes(BOMB), kind)


def bomb(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Gigabytes of zeros in one member, or many members, in few bytes."""
    blocks = int(rng.integers(1, 256))
    if kind == ".zip":
        packed = pack([*members, *((f"z{n}", bytes(BOMB)) for n in range(1 + blocks % 3))], kind)
        lies = bytearray(packed)
        if rng.random() < 0.5 and (place := packed.rfind(DIRECTORY)) > 0:
            struct.pack_into("<I", lies, place + 24, int(rng.choice([1, 2**31 - 1, 2**32 - 2])))
        return bytes(lies)
    info = tarfile.TarInfo("FLAIR/zeros" if rng.random() < 0.5 else "zeros")
    info.size = blocks * BOMB
    head = info.tobuf(tarfile.GNU_FORMAT)
    if kind == ".tar":
        return head + bytes(1000)
    block = _block(kind)
    return shell(head, kind) + block * blocks + shell(bytes(_inner(pack(members, kind), kind) or b""), kind)


def many_members(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """Thousands of empty members before the others, in folders thousands deep or none."""
    many = int(rng.choice([1000, 5000]))
    deep = "d/" * int(rng.choice([0, 1, 100]))
    return pack([*((f"{deep}{n}", b"") for n in range(many)), *members], kind)


def damaged_member(content: bytes, kind: str, members: Members, rng: Generator) -> bytes:
    """One of the members damaged as a file is, the archive sound."""
    changed = list(members)
    index = int(rng.integers(len(changed)))
    name, inner = changed[index]
    changed[index] = name, mutations.mutate(inner, rng, [one for _, one in members])[0]
    return pack(changed, kind)


MUTATIONS: dict[Mutation, int] = {
    bytes_anywhere: 5,
    bytes_inside: 4,
    field: 8,
    strange_names: 4,
    links: 2,
    wrong_kind: 2,
    long_pax: 3,
    bomb: 1,
    many_members: 1,
    damaged_member: 4,
}


def mutate(members: Members, kind: str, rng: Generator) -> tuple[bytes, tuple[str, ...]]:
    """Return the archive of members after one or two mutations, and their names; later ones may undo the first."""
    weights = np.array(list(MUTATIONS.values()), float)
    chosen = rng.choice(len(MUTATIONS), int(rng.integers(1, 3)), p=weights / weights.sum())
    functions = sorted((list(MUTATIONS)[index] for index in chosen), key=lambda one: one in (bytes_anywhere, field))
    content = pack(members, kind)
    for function in functions:
        content = function(content, kind, members, rng)
    return content, tuple(function.__name__ for function in functions)
