"""Tell which cohort the ratings in a browser belong to."""

import hashlib
import json
from collections.abc import Iterable

RAW = "data/raw"


def key(cohort: str, case_ids: Iterable[str], hashes: Iterable[tuple[str, str]]) -> str:
    """Return a short name of the scans that a page shows, under which the browser keeps their ratings.

    A later run with the same scans has the same one, so that ratings survive what is excluded by them.

    Args:
        cohort: its name.
        hashes: (path, md5) of the data; those below data/raw count.
    """
    raw = [pair for pair in hashes if pair[0].startswith(RAW)]
    return hashlib.sha256(json.dumps([cohort, sorted(case_ids), raw]).encode()).hexdigest()[:16]
