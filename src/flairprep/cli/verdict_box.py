"""The verdict on a terminal: a box, with the declared intervals drawn as lines against what guessing reaches."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.padding import Padding
from rich.panel import Panel
from rich.text import Text

WIDTH = 100  # columns at most; longer lines are hard to read
FINE, PLAIN = "├─┤●▲", "|-|o^"  # of terminals with and without these characters
LABEL = 9  # columns of a line's name
NARROW = 10  # columns of an axis below which nothing is drawn


def interval_line(value: float, low: float, high: float, width: int, signs: str = FINE) -> str:
    """Draw an interval within 0 to 1 as `width` characters: its ends, the line between them, and the estimate."""
    start, end, at = (column(share, width) for share in (low, high, value))
    cells = [" "] * width
    cells[start : end + 1] = signs[1] * (end + 1 - start)
    cells[start], cells[end] = signs[0], signs[2]
    cells[at] = signs[3]
    return "".join(cells)


def mark_line(share: float, text: str, width: int, signs: str = FINE) -> str:
    """Point at `share` of 0 to 1 from below, with `text` beside: on the right where there is room."""
    at = column(share, width)
    if at + 2 + len(text) <= width or at < len(text) + 1:
        return (" " * at + f"{signs[4]} {text}").ljust(width)
    return f"{text} {signs[4]}".rjust(at + 1).ljust(width)


def column(share: float, width: int) -> int:
    """Return which of `width` characters stands for `share` of 0 to 1."""
    return round(min(1.0, max(0.0, share)) * (width - 1))


def drawing(metrics: Mapping[str, Any], width: int, signs: str = FINE) -> list[str]:
    """Draw the declared accuracy against the NIR, and the AUC against 0.5, as lines of at most `width` characters.

    metrics: of metrics.json. An AUC without an interval is not drawn.
    """
    room = width - 2 * (LABEL + 1) - 3
    lines: list[str] = []
    if room < NARROW:
        return lines
    rows: list[tuple[str, str, str, float, str]] = [
        ("accuracy", "0 %", "100 %", metrics["nir"], f"NIR {metrics['nir']:.1%}"),
        ("auc", "0", "1", 0.5, "chance 0.5"),
    ]
    for name, first, last, guess, text in rows:
        value, low, high = (metrics[key] for key in (name, f"{name}_low", f"{name}_high"))
        if value is None or low is None or high is None:
            continue
        label = name if name == "accuracy" else "AUC"
        left = f"{label}{first.rjust(LABEL + 3 - len(label))} "
        lines.append(f"{left}{interval_line(value, low, high, room, signs)} {last}")
        lines.append(" " * len(left) + mark_line(guess, text, room, signs))
    return [line.rstrip() for line in lines]


def render(lines: Sequence[str], metrics: Mapping[str, Any], console: Console) -> Panel:
    """Return the box. lines: of `verdict.verdict`, the first one with the verdict; metrics: of metrics.json."""
    signs = PLAIN if console.options.ascii_only else FINE
    width = min(console.width, WIDTH)
    colour = "green" if metrics["verdict"] == "learned" else "yellow"
    _, verdict, meaning = lines[0].split(": ", 2)
    pictured = Text("\n".join(drawing(metrics, width - 4, signs)), no_wrap=True)
    pictured.highlight_regex(f"[{''.join(signs[:4])}]+(?= )", colour)
    told = [Padding(Text(line.strip()), (0, 0, 0, len(line) - len(line.lstrip()))) for line in lines[1:]]
    title = Text(f" {verdict} ", style=f"bold {colour}")
    return Panel(Group(Text(meaning), "", pictured, "", *told), title=title, border_style=colour, width=width)
