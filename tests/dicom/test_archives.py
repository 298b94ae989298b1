"""Archives as raw input: the same cases, volumes and rows as from folders; damage, links and bombs become codes."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from archived import KINDS, SHELLS, gzipped, of_folder, replace_folder, tar, write, write_zip
from raw_folder import OUT, RAW, export, ingested, make_project, pseudonym, put, put_key
from workspace import contents

from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archive_entries, archives, discovery, reading
from flairprep.dicom.archive_entries import entries


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return make_project(tmp_path, monkeypatch)


def outs() -> dict[str, str]:
    return contents(OUT)


def three_cases() -> None:
    """A case of a FLAIR folder with a foreign file, one with other sequences, one without any folder."""
    put(RAW / "a/FLAIR", "p1", 1)
    (RAW / "a/FLAIR/readme.txt").write_text("an export")
    put(RAW / "b/FLAIR/deep", "p2", 2, SeriesDescription="no name")
    put(RAW / "b/T1w", "p2", 22, StudyInstanceUID="1.2.2", SeriesDescription="t1", EchoTime=3, InversionTime=900)
    put(RAW / "c/1/DICOM", "p3", 3)
    put(RAW / "c/2/DICOM", "p3", 33, StudyInstanceUID="1.2.3", SeriesDescription="t1", EchoTime=3, InversionTime=900)


@pytest.mark.parametrize(
    ("kind", "inside"),
    [(".tgz", "wrapped/"), *(pytest.param(kind, "", marks=pytest.mark.slow) for kind in KINDS)],
)
def test_archive_of_a_case_gives_the_same_outs_as_its_folder(kind: str, inside: str) -> None:
    three_cases()
    assert ingested() == {"a": "NOT_DICOM", "b": "ok", "c": "ok"}
    of_folders = outs()
    for case in "abc":
        replace_folder(RAW / case, kind, inside)
    assert ingested() == {"a": "NOT_DICOM", "b": "ok", "c": "ok"}
    assert outs() == of_folders


@pytest.mark.slow
@pytest.mark.parametrize("kind", [".zip", ".tgz"])
def test_archive_inside_a_case_gives_the_same_outs_as_its_folder(kind: str) -> None:
    three_cases()
    ingested()
    of_folders = outs()
    (RAW / "a/FLAIR").rename(RAW / "a/inside")
    replace_folder(RAW / "a/inside", kind).rename(RAW / f"a/scan{kind}")
    replace_folder(RAW / "b/FLAIR", kind)
    replace_folder(RAW / "b/T1w", kind)
    replace_folder(RAW / "c/1/DICOM", kind)
    ingested()
    assert outs() == of_folders


def test_archive_in_a_folder_flair_and_files_beside_it_are_one_series() -> None:
    paths = put(RAW / "a/FLAIR", "p1", 1)
    ingested()
    volumes = contents(OUT / "volumes")
    write(RAW / "a/FLAIR/rest.tar", [(path.name, path.read_bytes()) for path in paths[:2]])
    for path in paths[:2]:
        path.unlink()
    assert ingested() == {"a": "ok"}
    assert contents(OUT / "volumes") == volumes


@pytest.mark.parametrize("kind", [".zip", *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
def test_archive_of_several_patients_is_grouped_as_their_folders_are(kind: str) -> None:
    patients = export()
    put_key()
    (RAW / "x").mkdir(exist_ok=True)
    before = ingested()
    assert before == {pseudonym(patient): "ok" for patient in sorted(patients, key=pseudonym)}
    of_folders = outs()
    for folder in ("DICOM", "x", "y", "z"):  # one archive of all
        (RAW / "all").mkdir(exist_ok=True)
        (RAW / folder).rename(RAW / "all" / folder)
    replace_folder(RAW / "all", kind)
    assert ingested() == before
    assert outs() == of_folders
    [*files] = (file for case in discovery.find_cases(RAW, "FLAIR") for file in case.files)
    assert all(Path(file).name[1:].isdecimal() for file in files)  # no name of a member


def test_damaged_member_belongs_to_the_patient_in_whose_folder_it_lies() -> None:
    put(RAW / "one/p1", "p1", 1)
    put(RAW / "one/p2", "p2", 2)
    put_key()
    members = of_folder(RAW / "one")
    path = replace_folder(RAW / "one")
    spoil(path, members[0][1])  # of p2: the last name comes first
    assert ingested() == {pseudonym("p1"): "ok", pseudonym("p2"): "DAMAGED_ARCHIVE"}


def test_damaged_archive_of_an_export_is_counted_and_skipped(capfd: pytest.CaptureFixture[str]) -> None:
    put(RAW / "p1", "p1", 1)
    put_key()
    (RAW / "q.zip").write_bytes(b"PK\3\4 no archive")
    assert ingested() == {pseudonym("p1"): "ok"}
    assert "DAMAGED_ARCHIVE: 1 of 7 files" in capfd.readouterr().err


def test_changed_archive_is_read_again() -> None:
    put(RAW / "a/FLAIR", "p1", 1)
    replace_folder(RAW / "a")
    assert ingested() == {"a": "ok"}
    before = outs()
    put(RAW / "a/FLAIR", "p1", 2)
    (RAW / "a.zip").unlink()
    replace_folder(RAW / "a")
    assert ingested() == {"a": "ok"}
    assert outs() != before


@pytest.mark.parametrize("twin", ["a.tar", "a/FLAIR/x"])
def test_two_of_one_case_are_refused(twin: str) -> None:
    put(RAW / "a/FLAIR", "p1", 1)
    replace_folder(RAW / "a")
    (RAW / twin).parent.mkdir(parents=True, exist_ok=True)
    (RAW / twin).write_bytes(b"")
    with pytest.raises(FlairprepError, match="keep one"):
        discovery.find_cases(RAW, "FLAIR")


@pytest.mark.parametrize("packed", [False, True])
def test_gzipped_dicom_is_read_as_dicom(packed: bool) -> None:
    put(RAW / "a/FLAIR", "p1", 1)
    ingested()
    before = outs()
    for path in list((RAW / "a/FLAIR").iterdir()):
        path.with_name(f"{path.name}.dcm.gz").write_bytes(gzip.compress(path.read_bytes()))
        path.unlink()
    if packed:
        replace_folder(RAW / "a")
    assert ingested() == {"a": "ok"}
    assert outs() == before


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda content: content[:-9], Code.DECODE_FAILED),
        (lambda content: content[:-8] + bytes(4) + content[-4:], Code.DECODE_FAILED),  # its checksum
        (lambda content: gzip.compress(gzip.decompress(content) + bytes(reading.MAX_INFLATED)), Code.TOO_LARGE),
        (lambda content: gzip.compress(b"no DICOM" + bytes(reading.MAX_INFLATED)), None),
    ],
)
def test_damaged_gzipped_dicom_is_refused(change: Callable[[bytes], bytes], code: Code | None, tmp_path: Path) -> None:
    [path, *_] = put(tmp_path / "x", "p1", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAX_INFLATED", 2**20)
        path.write_bytes(change(gzip.compress(path.read_bytes())))
        if code is None:
            assert reading.read_dataset(path, pixels=False) is None
            return
        with pytest.raises(CaseError) as caught:
            reading.read_dataset(path, pixels=False)
    assert caught.value.code is code


def spoil(path: Path, content: bytes) -> None:
    """Change the checksum of the member with that content, in both places of a zip."""
    crc = struct.pack("<I", zipfile.crc32(content))  # type: ignore[attr-defined]
    whole = path.read_bytes()
    assert whole.count(crc) == 2
    path.write_bytes(whole.replace(crc, bytes(4)))


def linked(kind: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        info = tarfile.TarInfo("CANARY")
        info.type, info.linkname = kind, "/etc/passwd"
        archive.addfile(info)
    return buffer.getvalue()


def zipped(*members: tuple[str, bytes], mode: int = 0, encrypted: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            archive.writestr(info, content)
    whole = buffer.getvalue()
    if encrypted:
        for mark, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            place = whole.index(mark) + flags
            whole = whole[:place] + b"\1" + whole[place + 1 :]
    return whole


def longer_name(size: int) -> bytes:
    """A tar whose first member claims a name of `size` bytes."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, size
    return info.tobuf(tarfile.GNU_FORMAT) + bytes(1024)


TWO = [("CANARY/1", b"1" * 3000), ("CANARY/2", b"2" * 3000)]
DAMAGED: dict[str, tuple[str, Callable[[], bytes], Code]] = {
    "no zip": (".zip", lambda: b"no zip", Code.DAMAGED_ARCHIVE),
    "empty file": (".zip", bytes, Code.DAMAGED_ARCHIVE),
    "empty tar": (".tar", bytes, Code.DAMAGED_ARCHIVE),
    "cut zip": (".zip", lambda: zipped(*TWO)[:-30], Code.DAMAGED_ARCHIVE),
    "cut in a member": (".tar", lambda: tar(TWO)[:2000], Code.DAMAGED_ARCHIVE),
    "cut between members": (".tar", lambda: tar(TWO)[: 512 + 3072], Code.DAMAGED_ARCHIVE),
    "cut in a header": (".tar", lambda: tar(TWO)[: 512 + 3072 + 100], Code.DAMAGED_ARCHIVE),
    "damaged header": (".tar", lambda: tar(TWO).replace(b"CANARY/2", b"CANARY/3"), Code.DAMAGED_ARCHIVE),
    "cut gzip": (".tar.gz", lambda: gzipped(tar(TWO))[:-4], Code.DAMAGED_ARCHIVE),
    "gzip checksum": (".tgz", lambda: gzipped(tar(TWO))[:-8] + bytes(8), Code.DAMAGED_ARCHIVE),
    "cut zstd": (".tar.zst", lambda: SHELLS[".tar.zst"](tar(TWO))[:-2], Code.DAMAGED_ARCHIVE),
    "zstd checksum": (".tar.zst", lambda: SHELLS[".tar.zst"](tar(TWO))[:-4] + bytes(4), Code.DAMAGED_ARCHIVE),
    "no gzip": (".tar.gz", lambda: tar(TWO), Code.DAMAGED_ARCHIVE),
    "names up": (".zip", lambda: zipped(("../CANARY", b"1")), Code.LINK_OUTSIDE),
    "names up inside": (".tar", lambda: tar([("a/../../CANARY", b"1")]), Code.LINK_OUTSIDE),
    "names of windows": (".zip", lambda: zipped(("..\\CANARY", b"1")), Code.LINK_OUTSIDE),
    "drive": (".zip", lambda: zipped(("C:\\CANARY", b"1")), Code.LINK_OUTSIDE),
    "absolute zip": (".zip", lambda: zipped(("/CANARY", b"1")), Code.LINK_OUTSIDE),
    "absolute tar": (".tar", lambda: tar([("/CANARY", b"1")]), Code.LINK_OUTSIDE),
    "symbolic link": (".tar", lambda: linked(tarfile.SYMTYPE), Code.LINK_OUTSIDE),
    "hard link": (".tar", lambda: linked(tarfile.LNKTYPE), Code.LINK_OUTSIDE),
    "device": (".tar", lambda: linked(tarfile.CHRTYPE), Code.LINK_OUTSIDE),
    "link in zip": (".zip", lambda: zipped(("CANARY", b"/etc"), mode=stat.S_IFLNK | 0o777), Code.LINK_OUTSIDE),
    "twice": (".tar", lambda: tar([TWO[0], TWO[0]]), Code.DAMAGED_ARCHIVE),
    "many": (".zip", lambda: zipped(*((f"{number}", b"") for number in range(101))), Code.TOO_LARGE),
    "long name": (".tar", lambda: longer_name(2**33 - 1), Code.TOO_LARGE),
    "zip bomb": (".zip", lambda: bomb(".zip"), Code.TOO_LARGE),
    "gzip bomb": (".tgz", lambda: bomb(".tgz"), Code.TOO_LARGE),
    "zstd bomb": (".tar.zst", lambda: bomb(".tar.zst"), Code.TOO_LARGE),
}
OF_A_MEMBER: dict[str, tuple[str, Callable[[], bytes], Code]] = {
    "encrypted": (".zip", lambda: zipped(("CANARY", b"1"), encrypted=True), Code.ENCRYPTED),
    "checksum": (
        ".zip",
        lambda: zipped(("CANARY", b"12345678")).replace(b"12345678", b"12345679"),
        Code.DAMAGED_ARCHIVE,
    ),
    "large in zip": (".zip", lambda: zipped(("CANARY", bytes(2**21 + 1))), Code.TOO_LARGE),
    "large in tar": (".tar", lambda: tar([("CANARY", bytes(2**21 + 1))]), Code.TOO_LARGE),
}


def bomb(kind: str) -> bytes:
    """Members that are small each and together many times the archive."""
    path = write(Path(f"bomb{kind}"), [(f"{number}", bytes(2**20)) for number in range(9)])
    return path.read_bytes()


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive_entries, "MAX_FILE", 2**21)
    monkeypatch.setattr(archive_entries, "MAX_MEMBERS", 100)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("name", DAMAGED)
def test_archive_that_cannot_be_trusted_is_refused_with_a_code(name: str) -> None:
    kind, make, code = DAMAGED[name]
    path = Path(f"x{kind}")
    path.write_bytes(make())
    with pytest.raises(CaseError) as caught:
        list(entries(path))
    assert (caught.value.code, "CANARY" in caught.value.message) == (code, False)


@pytest.mark.usefixtures("small_limits")
@pytest.mark.parametrize("name", OF_A_MEMBER)
def test_member_that_cannot_be_read_fails_alone(name: str) -> None:
    kind, make, code = OF_A_MEMBER[name]
    path = Path(f"x{kind}")
    path.write_bytes(make())
    [entry] = entries(path)
    assert isinstance(entry.content, CaseError)
    assert (entry.content.code, "CANARY" in entry.content.message) == (code, False)


@pytest.mark.slow
@pytest.mark.parametrize("name", DAMAGED | OF_A_MEMBER)
def test_case_of_an_archive_that_cannot_be_read_has_its_code(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (archive_entries, archives, reading):
        monkeypatch.setattr(module, "MAX_FILE", 2**21)
    monkeypatch.setattr(archive_entries, "MAX_MEMBERS", 100)
    kind, make, code = (DAMAGED | OF_A_MEMBER)[name]
    (RAW / f"a{kind}").write_bytes(make())
    assert ingested() == {"a": code.value}


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
def test_header_over_which_a_search_would_take_hours_is_refused(kind: bytes, tmp_path: Path) -> None:
    head = tarfile.TarInfo("pax")
    head.type, head.size = kind, 2**22
    (tmp_path / "a.tar").write_bytes(head.tobuf() + b"9" * 2**22 + tar([("a", b"a")]))
    with pytest.raises(CaseError) as caught:
        list(entries(tmp_path / "a.tar"))
    assert caught.value.code is Code.TOO_LARGE


def test_directory_that_lies_before_the_beginning_of_a_zip_is_damage_not_a_fault_of_the_machine(tmp_path: Path) -> None:
    content = bytearray(zipped(("a", b"a")))
    struct.pack_into("<I", content, content.rindex(b"PK\5\6") + 16, 2**31)  # where the directory should begin
    (tmp_path / "a.zip").write_bytes(content)
    (entry,) = entries(tmp_path / "a.zip")
    assert isinstance(entry.content, CaseError)
    assert entry.content.code is Code.DAMAGED_ARCHIVE


def test_hidden_members_and_those_of_systems_are_skipped() -> None:
    put(RAW / "a/FLAIR", "p1", 1)
    members = of_folder(RAW / "a")
    replace_folder(RAW / "a").unlink()
    others = [("__MACOSX/FLAIR/._IM1", b"x"), (".DS_Store", b"x"), ("FLAIR/.hidden/x", b"x"), ("FLAIR/", b"")]
    write_zip(RAW / "a.zip", [*others, *members])
    assert ingested() == {"a": "ok"}


def test_link_to_an_archive_outside_is_not_followed(tmp_path: Path) -> None:
    put(RAW / "a/FLAIR", "p1", 1)
    replace_folder(RAW / "a").rename(tmp_path / "a.zip")
    (RAW / "a.zip").symlink_to(tmp_path / "a.zip")
    assert ingested() == {"a": "LINK_OUTSIDE"}


@pytest.mark.parametrize("kind", KINDS)
def test_series_is_held_alone_and_only_while_it_is_read(kind: str) -> None:
    path = write(Path(f"x{kind}"), TWO)
    walked = []
    for member in archives.walk([path]):
        walked.append(member)
        assert len(archives._held) == 1
    assert not archives._held
    with archives.loaded(walked[:1]), archives.open_raw(walked[0]) as file:
        assert file.read() == TWO[0][1]
        assert len(archives._held) == 1
    assert not archives._held
    with archives.open_raw(walked[1]) as file:
        assert file.read() == TWO[1][1]
    with pytest.raises(NotADirectoryError):
        archives.open_raw(path / "no member")
