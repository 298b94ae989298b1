"""Put counts, ranges, intervals and lists into words: the same form in every part of the cards."""

from collections import Counter
from collections.abc import Iterable, Mapping
from statistics import median
from typing import Any

UNKNOWN = "not recorded"


def share(part: int, whole: int) -> str:
    """Format "13 of 25 (52.0 %)"; "0 of 0" has no share."""
    return f"{part} of {whole}" + (f" ({100 * part / whole:.1f} %)" if whole else "")


def counted(values: Iterable[str]) -> dict[str, int]:
    """Count the values, empty ones as not recorded: the most frequent first, equal ones by name."""
    counts = Counter(value or UNKNOWN for value in values)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def listed(counts: Mapping[str, int], nothing: str = "none") -> str:
    """Format counts as "ge 12, siemens 4", `nothing` where there are none."""
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or nothing


def spread(values: Iterable[Any], unit: str = "") -> str:
    """Format numbers as "5 (4 to 6) mm", median and range, or as one number where all are equal.

    Empty cells are left out.
    """
    numbers = [float(value) for value in values if value != ""]
    if not numbers:
        return UNKNOWN
    low, middle, high = (_short(value) for value in (min(numbers), median(numbers), max(numbers)))
    return f"{middle}{unit and ' '}{unit}" if low == high else f"{middle} ({low} to {high}){unit and ' '}{unit}"


def _short(value: float) -> str:
    """Format three significant digits, without an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def number(value: float | None, digits: int = 3) -> str:
    """Format a number with a fixed number of decimals, "not computable" without one."""
    return "not computable" if value is None else f"{value:.{digits}f}"


def interval(numbers: Mapping[str, Any], key: str, digits: int = 3) -> str:
    """Format a measure of metrics.json with its 95 % interval: "0.667 (95 % CI 0.213 to 0.934)"."""
    low, high = numbers.get(f"{key}_low"), numbers.get(f"{key}_high")
    text = number(numbers.get(key), digits)
    return text if low is None or high is None else f"{text} (95 % CI {low:.{digits}f} to {high:.{digits}f})"


def p_value(value: float | None) -> str:
    """Format "p = 0.0319", "p < 0.0001" below that, and "no p-value" without one."""
    if value is None:
        return "no p-value"
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.3g}"


def plural(count: int, one: str, many: str = "") -> str:
    """Format "1 case", "2 cases"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def joined(parts: Iterable[str]) -> str:
    """Join words as "a, b and c"."""
    words = list(parts)
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
