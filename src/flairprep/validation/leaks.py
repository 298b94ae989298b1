"""Find the cases of a new cohort that the training cohort holds already: equal study, patient, or scan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import scipy  # its submodules load on first use

from flairprep.audit.near_duplicates import MIN_CASES, MIN_CORRELATION, Array, Fingerprints, correlations
from flairprep.core import console
from flairprep.core.files import number
from flairprep.validation.identities import Identity, naming_nobody

ALPHA = 0.01  # of the test whether cases of one running number are alike
REMEDY = "leave them out of LABELS"


@dataclass(frozen=True)
class Match:
    """A new case and the training case that it has something in common with; correlation: of their scans."""

    case_id: str
    training_case: str
    correlation: float | None = None


@dataclass(frozen=True)
class Leak:
    """One kind of leak and the cases that it touches."""

    name: Literal["study", "patient", "near-duplicates"]
    verdict: Literal["leak", "clean", "not testable"]
    text: str
    matches: tuple[Match, ...] = ()

    def as_item(self, fold_of: Mapping[str, str]) -> dict[str, Any]:
        """Return the finding as JSON holds it, with the fold of each training case."""
        matches = [
            {
                "case_id": match.case_id,
                "training_case": match.training_case,
                "fold": fold_of.get(match.training_case),
                "correlation": None if match.correlation is None else number(match.correlation),
            }
            for match in self.matches
        ]
        return {"name": self.name, "verdict": self.verdict, "text": self.text, "matches": matches}


def correlate(fingerprints: Fingerprints, n_training: int, n_new: int, scratch: Path) -> Array | None:
    """Correlate each new case with each training case, (n_new, n_training), see `near_duplicates.correlations`.

    Args:
        fingerprints: of the training cases, then of the new ones.
        scratch: a folder for temporary files.

    Returns:
        None with fewer than MIN_CASES cases, whose common pattern is not known.
    """
    if n_training + n_new < MIN_CASES:
        return None
    table = np.full((n_new, n_training), -1.0, np.float32)
    for row, column, block in correlations(fingerprints, n_training + n_new, scratch):
        rows, columns = row + np.arange(block.shape[0]), column + np.arange(block.shape[1])
        known, others = rows < n_training, columns >= n_training
        table[np.ix_(columns[others] - n_training, rows[known])] = block[np.ix_(known, others)].T
    return table


def near_duplicates(correlation: Array | None, new: Sequence[str], training: Sequence[str]) -> Leak:
    """Find the new cases that are almost equal to a training case; correlation: of `correlate`."""
    if correlation is None:
        return Leak("near-duplicates", "not testable", f"fewer than {MIN_CASES} cases do not show what all share")
    best = correlation.argmax(axis=1)
    highest = correlation[np.arange(len(best)), best]
    matches = tuple(
        Match(new[row], training[best[row]], float(highest[row]))
        for row in np.flatnonzero(highest >= MIN_CORRELATION).tolist()
    )
    if matches:
        text = f"{console.plural(len(matches), 'scan')} almost equal to one of the training cohort; {REMEDY}"
        return Leak("near-duplicates", "leak", text, matches)
    text = f"no scan is like one of the training cohort: they correlate by {highest.max():.2f} at most"
    return Leak("near-duplicates", "clean", f"{text}, not {MIN_CORRELATION}")


def shared_studies(new: Mapping[str, Identity], training: Mapping[str, Identity] | None) -> Leak:
    """Find the new cases whose study the training cohort has; its UID is unique in the world."""
    return _shared("study", _matches(new, training, "study"), training)


def shared_patients(
    new: Mapping[str, Identity],
    training: Mapping[str, Identity] | None,
    correlation: Array | None,
    places: tuple[Sequence[str], Sequence[str]],
) -> Leak:
    """Find the new cases whose patient id the training cohort has.

    Every study numbers its patients, so equal running numbers (00002) say nothing by themselves. They count where the
    scans agree: where those of equal number are more alike than others, see `alike`.

    Args:
        new, training: identities by case id; training: None where the raw files are not here.
        correlation: of `correlate`, None: not known.
        places: the case ids of its rows and of its columns.
    """
    matches = _matches(new, training, "patient")
    serial = [match for match in matches if new[match.case_id].serial]
    sure = [match for match in matches if not new[match.case_id].serial]
    if serial:
        p = alike(correlation, serial, places)
        if p is not None and p < ALPHA:
            sure = matches
        elif not sure:
            text = (
                f"{console.plural(len(serial), 'patient id')} of the training cohort, but they may be running numbers"
            )
            if p is None:
                return Leak("patient", "not testable", f"{text}, as every study gives them")
            return Leak(
                "patient", "clean", f"{text}, and cases of equal number are no more alike than others (p {p:.2g})"
            )
    return _shared("patient", sure, training)


def alike(
    correlation: Array | None, matches: Sequence[Match], places: tuple[Sequence[str], Sequence[str]]
) -> float | None:
    """Test whether matched cases correlate more than a new case with any training case: one-sided p.

    By chance the match's rank among all training cases is uniform, so the sum of the ranks' shares has the
    distribution of Irwin and Hall.
    """
    if correlation is None:
        return None
    rows, columns = ({case: place for place, case in enumerate(cases)} for cases in places)
    shares = []
    for match in matches:
        if match.case_id in rows and match.training_case in columns:
            of_case = correlation[rows[match.case_id]]
            own = of_case[columns[match.training_case]]
            shares.append(float((np.sum(of_case > own) + 0.5 * np.sum(of_case == own)) / len(of_case)))
    if not shares:
        return None
    return float(scipy.stats.irwinhall(len(shares)).cdf(sum(shares)))


def _matches(
    new: Mapping[str, Identity], training: Mapping[str, Identity] | None, name: Literal["patient", "study"]
) -> list[Match]:
    """Return the new cases with a training case of equal value; a value that half of a cohort has names nobody."""
    first: dict[str, str] = {}
    for case_id, identity in (training or {}).items():
        first.setdefault(getattr(identity, name), case_id)
    cohorts = [[getattr(identity, name) for identity in cohort.values()] for cohort in (new, training or {})]
    common = naming_nobody(cohorts[0]) | naming_nobody(cohorts[1])
    values = {case_id: getattr(identity, name) for case_id, identity in new.items()}
    return [Match(case, first[value]) for case, value in values.items() if value in first and value not in common]


def _shared(
    name: Literal["patient", "study"], matches: Sequence[Match], training: Mapping[str, Identity] | None
) -> Leak:
    if training is None:
        return Leak(name, "not testable", "the raw files of the training cohort are not here: dvc pull brings them")
    if not any(getattr(identity, name) for identity in training.values()):
        return Leak(name, "not testable", f"the training cohort's files name no {name}")
    if not matches:
        return Leak(name, "clean", f"no case has its {name} in common with the training cohort")
    text = f"{console.plural(len(matches), 'case')} with a {name} that the training cohort has; {REMEDY}"
    return Leak(name, "leak", text, tuple(matches))
