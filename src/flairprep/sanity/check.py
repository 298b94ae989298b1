"""Define the outcome of a check: one row of reports/sanity.json."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["pass", "warn", "fail"]


@dataclass(frozen=True)
class Check:
    """One row of reports/sanity.json. value, threshold: None where nothing could be measured; text: result, remedy."""

    name: str
    verdict: Verdict
    value: float | None
    threshold: float | None
    text: str
