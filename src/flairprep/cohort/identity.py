"""Find the cases that share a patient, study, frame of reference or all voxels, without identifying any."""

import hmac

from flairprep.core.tables import Row

IDENTITY = ("patient", "study", "frame_of_reference", "voxels")


def pseudonymise(identity: dict[str, str], secret: bytes) -> dict[str, str]:
    """Replace each value by its HMAC-SHA256 under `secret`, in hexadecimal digits; "" stays "".

    Equal values stay equal, and no patient id leaves the worker in the clear.
    """
    plain = {key: value.encode("utf-8", "surrogatepass") for key, value in identity.items()}
    return {key: hmac.new(secret, value, "sha256").hexdigest() if value else "" for key, value in plain.items()}


def same_as(identities: dict[str, dict[str, str]]) -> list[Row]:
    """Return the rows of same_as.csv: for each case and each of IDENTITY the first case_id that shares the value.

    identities: by case id; "" matches no other case.
    """
    first: dict[tuple[str, str], str] = {}
    rows = []
    for case_id in sorted(identities):
        values = identities[case_id]
        shared = {key: first.setdefault((key, values[key]), case_id) if values[key] else case_id for key in IDENTITY}
        rows.append({"case_id": case_id, **shared})
    return rows
