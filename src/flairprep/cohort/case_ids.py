"""Make case ids that are safe to write anywhere: checked folder names, or pseudonyms of patient ids.

A pseudonym is the HMAC-SHA256 (RFC 2104, FIPS 198-1) of a patient id: without the key nobody can try out ids.
"""

import hmac
import secrets
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from flairprep.core.errors import FlairprepError
from flairprep.core.files import atomic_file

KEY = "flairprep.key"  # in the raw folder, so that DVC moves it with the raw files and nowhere else
LENGTH = 16  # hexadecimal digits of a pseudonym: 64 bits, one collision in 10^10 for 60,000 patients
LONGEST = 100  # bytes of an id; file systems allow 255 for names, temporary ones included


def make_key(dicom_dir: Path) -> Path:
    """Write a new key of 256 random bits into the raw folder, readable by its owner alone; return its path.

    Raises:
        FlairprepError: no such folder, or it has a key, since another one would change every case id.
    """
    path = dicom_dir / KEY
    if not dicom_dir.is_dir():
        raise FlairprepError(f"params.yaml: ingest.dicom_dir: {str(dicom_dir)!r} is not a folder; put the scans there")
    if path.exists() or path.is_symlink():
        raise FlairprepError(f"{path}: exists, and another key would change every case id; restore it: dvc checkout")
    with atomic_file(path) as partial:
        partial.touch(mode=0o600)
        partial.write_text(secrets.token_hex(32) + "\n")
    return path


def read_key(dicom_dir: Path) -> bytes | None:
    """Read the key of the raw folder, None without one.

    Raises:
        FlairprepError: the file does not hold 64 hexadecimal digits.
    """
    path = dicom_dir / KEY
    if not path.exists() and not path.is_symlink():
        return None
    try:
        key = bytes.fromhex(path.read_text())
    except (OSError, ValueError):  # a broken link; not hexadecimal digits, or not text
        key = b""
    if len(key) != 32:
        raise FlairprepError(f"{path}: not a key of 64 hexadecimal digits; restore it: dvc checkout {dicom_dir}")
    return key


def pseudonym(patient: str, key: bytes) -> str:
    """Return the case id for a patient id: the first 64 bits of its HMAC-SHA256, in hexadecimal digits."""
    plain = patient.replace("\0", "").strip().encode("utf-8", "surrogatepass")  # as elements.patient_id strips it
    return hmac.new(key, plain, "sha256").hexdigest()[:LENGTH]


def fault(case_id: str) -> str | None:
    """Return why a name cannot be a case id, None where it can: ids become file names and cells of tables."""
    if not case_id:
        return "is empty"
    if any(unicodedata.category(char)[0] == "C" for char in case_id):
        return "holds a control character"
    if bad := sorted(set(case_id) & set('/\\:*?"<>|')):
        return f"holds {bad[0]}"
    if case_id != case_id.strip() or case_id[0] in ".=+-@'" or case_id[-1] == ".":
        return f"begins or ends with {case_id[0] if case_id[0] in '.=+-@' else 'a space, a dot or an apostrophe'}"
    if len(case_id.encode()) > LONGEST:
        return f"is longer than {LONGEST} bytes"
    return None


def check(case_ids: Iterable[str], where: str, remedy: str) -> None:
    """Refuse names that cannot be case ids, and those that differ only in case or in Unicode form.

    Args:
        case_ids: the names.
        where: the file or folder that holds them, for the message.
        remedy: how to fix it, for the message.

    Raises:
        FlairprepError: with `where`, the escaped name and the remedy.
    """
    first: dict[str, str] = {}
    for case_id in sorted(case_ids):
        if reason := fault(case_id):
            raise FlairprepError(f"{where}: the case id {case_id!r} {reason}; {remedy}")
        other = first.setdefault(unicodedata.normalize("NFKC", case_id).casefold(), case_id)
        if other != case_id:
            raise FlairprepError(
                f"{where}: the case ids {other!a} and {case_id!a} differ only in case or Unicode form; {remedy}"
            )
