"""Case ids: what a key makes of patient ids, by another implementation too; and names that are no safe ids."""

import hashlib
import re
import string
import subprocess
from pathlib import Path

import pytest

from flairprep.cohort import case_ids
from flairprep.cohort.case_ids import check, fault, make_key, pseudonym, read_key
from flairprep.core.errors import FlairprepError

KEY = bytes(range(32))


def by_rfc_2104(patient: str, key: bytes) -> str:
    """HMAC-SHA256 written out: hash((key ^ opad) + hash((key ^ ipad) + text)), the key padded to a block of 64."""
    block = key.ljust(64, b"\0")
    inner = hashlib.sha256(bytes(byte ^ 0x36 for byte in block) + patient.encode()).digest()
    return hashlib.sha256(bytes(byte ^ 0x5C for byte in block) + inner).hexdigest()


@pytest.mark.parametrize(
    "patient", ["1", "p 1", "Müller^Jürgen", "../../etc/passwd", "x" * 400, "=1+1", "a\\b", "\u202e"]
)
def test_case_id_is_the_first_half_of_the_mac_of_the_patient_id(patient: str) -> None:
    case_id = pseudonym(patient, KEY)
    assert case_id == by_rfc_2104(patient, KEY)[:16]
    assert re.fullmatch("[0-9a-f]{16}", case_id)
    assert fault(case_id) is None


def test_openssl_makes_the_same_case_ids() -> None:
    command = ["openssl", "dgst", "-sha256", "-mac", "HMAC", "-macopt", f"hexkey:{KEY.hex()}"]
    try:
        done = subprocess.run(command, input="Müller 007".encode(), capture_output=True, check=True)
    except FileNotFoundError:
        pytest.skip("no openssl here")
    assert done.stdout.decode().split()[-1][:16] == pseudonym("Müller 007", KEY)


def test_case_id_of_rfc_4231() -> None:
    """Test case 2 has a key of 4 bytes, which HMAC pads with zeros: the same as one of 32 that ends with them."""
    assert pseudonym("what do ya want for nothing?", b"Jefe".ljust(32, b"\0")) == "5bdcc146bf60754e"


def test_padding_is_no_part_of_a_patient_id_and_another_key_gives_other_ids() -> None:
    assert pseudonym(" 007 ", KEY) == pseudonym("007", KEY)
    assert pseudonym("0 07", KEY) != pseudonym("007", KEY)
    assert pseudonym("7", KEY) != pseudonym("007", KEY)
    assert pseudonym("007", KEY) != pseudonym("007", KEY[::-1])


def test_key_is_random_hexadecimal_and_its_owners_alone(tmp_path: Path) -> None:
    keys = set()
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path = make_key(tmp_path / name)
        assert path == tmp_path / name / "flairprep.key"
        assert path.stat().st_mode & 0o777 == 0o600
        text = path.read_text().removesuffix("\n")
        assert len(text) == 64
        assert set(text) <= set(string.hexdigits.lower())
        assert read_key(tmp_path / name) == bytes.fromhex(text)
        assert [child.name for child in (tmp_path / name).iterdir()] == ["flairprep.key"]
        keys.add(text)
    assert len(keys) == 2


def test_key_is_never_replaced(tmp_path: Path) -> None:
    path = make_key(tmp_path)
    content = path.read_bytes()
    with pytest.raises(FlairprepError, match=re.escape(str(path))):
        make_key(tmp_path)
    assert path.read_bytes() == content


def test_key_whose_file_is_only_missing_from_the_cache_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "flairprep.key"
    path.symlink_to(tmp_path / "cache/files/md5/ab" / ("0" * 30))  # as DVC links it, the cache gone
    with pytest.raises(FlairprepError):
        make_key(tmp_path)
    assert path.is_symlink()


def test_key_needs_a_folder_of_scans(tmp_path: Path) -> None:
    with pytest.raises(FlairprepError, match=r"ingest\.dicom_dir: '.*absent' "):
        make_key(tmp_path / "absent")
    assert list(tmp_path.iterdir()) == []


def test_no_key_is_none(tmp_path: Path) -> None:
    assert read_key(tmp_path) is None
    assert read_key(tmp_path / "absent") is None


@pytest.mark.parametrize(
    "content",
    [b"", b"\n", b"00" * 31, b"00" * 33, b"0" * 63, b"zz" * 32, b"\xff\xfe" * 32, bytes(32), b"0x" + b"00" * 31],
)
def test_damaged_key_is_refused_with_the_way_back_and_not_quoted(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "flairprep.key"
    path.write_bytes(content)
    with pytest.raises(FlairprepError) as caught:
        read_key(tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.endswith(f"dvc checkout {tmp_path}")
    assert not content.strip() or content.decode("latin-1").strip() not in text


GOOD = [
    "00002",
    "a",
    "A-1_2.b",
    "sub-01",
    "Müller",
    "é",
    "患者1",
    "x" * 100,
    "é" * 50,
    "a b",
    "1e5",
    "a'b",
    "a=b",
    "a..b",
]
BAD = {
    "": "is empty",
    **dict.fromkeys(["a\nb", "a\rb", "a\tb", "a\0", "\x1b[2J", "a\x7f", "a\x85b", "a\u202eb", "\u200b"], "a control"),
    **{"a\udcff": "a control"},  # a byte that is no UTF-8, as Python shows it in a file's name
    **{"/abs": "holds /", "../../etc/passwd": "holds /", "a\\b": "holds \\", "C:x": "holds :", "a*": "holds *"},
    **{'a"b': 'holds "', "a<b": "holds <", "a|b": "holds |", "a?": "holds ?"},
    **dict.fromkeys(
        ["..", ".", ".a", "...", "=1+1", "+1", "-1", "@SUM(A1)", "'a", "a.", "a..", "a ", " a", "a\u00a0"], "begins"
    ),
    **dict.fromkeys(["x" * 101, "é" * 51, "x" * 255], "is longer than 100 bytes"),
}


@pytest.mark.parametrize("name", GOOD)
def test_name_that_is_safe_is_an_id(name: str) -> None:
    assert fault(name) is None
    check([name], "here", "rename it")


@pytest.mark.parametrize("name", BAD, ids=ascii)
def test_name_that_is_not_safe_is_refused_in_one_line_that_shows_it_escaped(name: str) -> None:
    assert BAD[name] in (fault(name) or "")
    with pytest.raises(FlairprepError) as caught:
        check([*GOOD, name], "here", "rename it")
    text = str(caught.value)
    assert text.startswith("here: the case id ")
    assert text.endswith("; rename it")
    assert text.isprintable()  # in one line, and nothing of it moves the cursor or hides
    assert len(text) < 400  # the name is shown, which file systems keep short


@pytest.mark.parametrize(
    "pair",
    [
        ("A1", "a1"),
        ("é", "e\u0301"),
        ("É", "é"),
        ("straße", "STRASSE"),
        ("\ufb01", "fi"),
        ("\uff11", "1"),
        ("K", "\u212a"),
    ],
)
def test_names_that_look_alike_are_refused_together(pair: tuple[str, str]) -> None:
    check([pair[0], "other"], "here", "rename it")
    check([pair[1], "other"], "here", "rename it")
    with pytest.raises(FlairprepError, match="differ only in case or Unicode form; rename it") as caught:
        check(["other", *pair], "here", "rename it")
    for name in pair:
        assert ascii(name) in str(caught.value)


def test_what_a_mac_makes_is_long_enough() -> None:
    assert case_ids.LENGTH * 4 == 64  # bits
    assert len({pseudonym(str(number), KEY) for number in range(20_000)}) == 20_000
