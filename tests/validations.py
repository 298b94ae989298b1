"""External validations made by hand, without a network: two scanners, a failed case, one without a label."""

from pathlib import Path

import numpy as np

from flairprep.audit.features import CaseFeatures
from flairprep.core.outcomes import Outcome, Status
from flairprep.evaluation.measures import EvaluateParams
from flairprep.inference.predict import Prediction
from flairprep.validation.apply import Applied
from flairprep.validation.examine import Examination
from flairprep.validation.identities import Identity
from flairprep.validation.leaks import Leak, Match
from flairprep.validation.measured import Cohort
from flairprep.validation.outside import Place
from flairprep.validation.results import Validation, validate
from flairprep.validation.shift import FieldShift

SECTION = EvaluateParams(alpha=0.05, permutations=199, seed=0, prevalence=None, primary="auc")
FAILED = Outcome("c99", Status.FAILED, "NOT_DICOM", "none of the 3 files is DICOM")
LEAK = Leak("study", "leak", "1 cases have their study in common", (Match("c02", "t05"),))
CLEAN = Leak("patient", "clean", "no case")
SHIFT = FieldShift("geometry", "size_z", "shift", 0.8, 1e-9, 1e-8, "150 (140 to 160)", "90 (80 to 95)")


def applied(labels: np.ndarray, y_prob: np.ndarray) -> Applied:
    """Return cases c00, c01, ... from two scanners, one that failed, and one without a label."""
    ids = [f"c{index:02d}" for index in range(len(labels))]
    cohort = Cohort(Path())
    predictions = []
    for place, (case, probability) in enumerate(zip([*ids, "c98"], [*y_prob, 0.5], strict=True)):
        row = {"manufacturer": ("ge", "siemens")[place % 2], "plane": "axial", "sex": "F"}
        outcome = Outcome(case, Status.OK, row=row)
        predictions.append(Prediction(outcome, float(probability)))
        cohort.add(case, outcome.as_row(), CaseFeatures({}, {}, {}))
    known = dict(zip(ids, labels.tolist(), strict=True)) | {"c99": 1}
    cases = [*ids, "c98", "c99"]
    identities = {case: Identity(f"secret {case}", f"study {case}") for case in cases}
    return Applied([*predictions, Prediction(FAILED)], cohort, known, identities, {case: case for case in cases})


def found(cohort: Applied, *, clean: bool) -> Examination:
    places = {case: Place(0.5, False, "") for case in cohort.cohort.case_ids}
    if clean:
        return Examination([], places, [CLEAN])
    return Examination([SHIFT], places | {"c01": Place(0.01, True, "size_z -5.0 SD")}, [LEAK, CLEAN])


def made(labels: np.ndarray, y_prob: np.ndarray, *, clean: bool = False) -> Validation:
    cohort = applied(labels, y_prob)
    return validate(cohort, found(cohort, clean=clean), SECTION, {"auc": 0.9, "n": 30, "seed": 1}, {"t05": "3"})
