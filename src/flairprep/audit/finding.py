"""One item of the audit's report."""

from dataclasses import dataclass
from typing import Any, Literal

from flairprep.core import console
from flairprep.core.files import number

Verdict = Literal["clean", "shortcut", "leak", "not testable"]


@dataclass(frozen=True)
class Finding:
    """One item of reports/audit.json.

    effect: the size that `measure` names. p: raw; p_holm: corrected for all tests. cases: those concerned.
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
        """Return the finding as JSON holds it: numbers of 6 digits, null for what was not measured."""
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


def print_summary(report: dict[str, Any]) -> None:
    """Print the counts and baselines of reports/audit.json, and warn of every leak and shortcut."""
    items = report["items"]
    verdicts = [item["verdict"] for item in items]
    console.say(
        f"audit: {len(items)} items: {verdicts.count('clean')} clean, {verdicts.count('leak')} leaks, "
        f"{verdicts.count('shortcut')} shortcuts, {verdicts.count('not testable')} not testable"
    )
    for item in items:
        if item["verdict"] in ("leak", "shortcut"):
            console.warn(f"audit: {item['verdict']}: {item['name']}: {item['text']}")
    for baseline in report["baselines"]:
        console.say(f"  baseline, {baseline['name']} alone: AUC {baseline['auc']:.3f} (p {baseline['p']:.3g})")
