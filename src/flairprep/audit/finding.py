"""What the audit says of one thing that it looked at."""

from dataclasses import dataclass
from typing import Any, Literal

from flairprep.core import console
from flairprep.core.files import number

Verdict = Literal["clean", "shortcut", "leak", "not testable"]


@dataclass(frozen=True)
class Finding:
    """One item of reports/audit.json.

    effect: of the size that `measure` names. p: by itself; p_holm: among all that were tested. cases: those concerned.
    """

    name: str
    kind: Literal["leak", "shortcut"]
    verdict: Verdict
    text: str
    measure: str | None = None
    effect: float | None = None
    p: float | None = None
    p_holm: float | None = None
    cases: tuple[str, ...] = ()

    def as_item(self) -> dict[str, Any]:
        """For JSON: numbers of 6 digits, null for what was not measured."""
        numbers = {key: getattr(self, key) for key in ("p", "p_holm", "effect")}
        return {
            "name": self.name,
            "kind": self.kind,
            "verdict": self.verdict,
            **{key: None if value is None else number(value) for key, value in numbers.items()},
            "measure": self.measure,
            "cases": list(self.cases),
            "text": self.text,
        }


def summarise(report: dict[str, Any]) -> None:
    """The counts, and every leak and shortcut in words."""
    items = report["items"]
    verdicts = [item["verdict"] for item in items]
    console.say(
        f"audit: {len(items)} items: {verdicts.count('clean')} clean, {verdicts.count('leak')} leaks, "
        f"{verdicts.count('shortcut')} shortcuts, {verdicts.count('not testable')} not testable"
    )
    for item in items:
        if item["verdict"] in ("leak", "shortcut"):
            console.warn(f"audit: {item['verdict']}: {item['name']}: {item['text']}")
    for bar in report["bars"]:
        console.say(f"  {bar['name']} alone reach an AUC of {bar['auc']:.3f} (p {bar['p']:.3g})")
