"""Leaks into the training cohort: studies, patient ids that may be running numbers, and copies."""

from pathlib import Path

import numpy as np
import pytest

from flairprep.audit.near_duplicates import CELLS, MIN_CORRELATION
from flairprep.validation.identities import Identity, is_serial
from flairprep.validation.leaks import Match, alike, correlate, near_duplicates, shared_patients, shared_studies

TRAINING = [f"t{index:02d}" for index in range(30)]
NEW = [f"n{index:02d}" for index in range(12)]
PLACES = (NEW, TRAINING)


def identities(ids: list[str], first: int = 0, serial: bool = False) -> dict[str, Identity]:
    """One patient and study per case, numbered from `first`."""
    return {case: Identity(f"p{first + at}", f"s{first + at}", serial) for at, case in enumerate(ids)}


def correlation(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.3, 0.5, (len(NEW), len(TRAINING)))


def test_a_shared_study_is_a_leak() -> None:
    new = identities(NEW, 100) | {"n03": Identity("other", "s7")}
    leak = shared_studies(new, identities(TRAINING))
    assert (leak.verdict, leak.matches) == ("leak", (Match("n03", "t07"),))
    assert shared_studies(identities(NEW, 100), identities(TRAINING)).verdict == "clean"


def test_a_shared_patient_id_of_a_hospital_is_a_leak() -> None:
    new = identities(NEW, 100) | {"n03": Identity("p7", "s900")}
    leak = shared_patients(new, identities(TRAINING), correlation(), PLACES)
    assert (leak.verdict, leak.matches) == ("leak", (Match("n03", "t07"),))


def test_equal_running_numbers_are_no_leak_where_the_scans_differ() -> None:
    new = {case: Identity(f"p{at}", f"s{100 + at}", True) for at, case in enumerate(NEW)}
    training = identities(TRAINING, serial=True)
    assert shared_patients(new, training, correlation(), PLACES).verdict == "clean"
    assert shared_patients(new, training, None, PLACES).verdict == "not testable"


def test_equal_running_numbers_are_a_leak_where_the_scans_are_alike() -> None:
    new = {case: Identity(f"p{at}", f"s{100 + at}", True) for at, case in enumerate(NEW)}
    table = correlation()
    table[np.arange(12), np.arange(12)] += 0.6
    leak = shared_patients(new, identities(TRAINING, serial=True), table, PLACES)
    assert leak.verdict == "leak"
    assert {match.case_id for match in leak.matches} == set(NEW)


def test_the_p_of_alike_is_uniform_by_chance() -> None:
    matches = [Match(new, training) for new, training in zip(NEW, TRAINING, strict=False)]
    ps = np.array([alike(correlation(seed), matches, PLACES) for seed in range(150)], float)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(ps < level) == pytest.approx(level, abs=0.1)


def test_an_id_of_half_of_a_cohort_names_nobody() -> None:
    new = {case: Identity("ANONYMOUS", f"s{100 + at}") for at, case in enumerate(NEW)}
    training = {case: Identity("ANONYMOUS", f"s{at}") for at, case in enumerate(TRAINING)}
    assert shared_patients(new, training, correlation(), PLACES).verdict == "clean"


def test_without_the_training_files_or_ids_it_is_not_testable() -> None:
    assert shared_studies(identities(NEW), None).verdict == "not testable"
    assert shared_patients(identities(NEW), None, correlation(), PLACES).verdict == "not testable"
    nameless = {case: Identity() for case in TRAINING}
    assert shared_studies(identities(NEW), nameless).verdict == "not testable"


@pytest.mark.parametrize(
    ("patient", "expected"),
    [
        *[("00002", True), ("sub-07", True), ("Patient 3", True), ("BraTS-00012", True), ("12345", True)],
        *[("", False), ("1234567", False), ("TCGA-06-0119", False), ("MRN0098765432", False), ("Mueller^Anna", True)],
    ],
)
def test_short_numbers_may_be_running_ones(patient: str, expected: bool) -> None:
    assert is_serial(patient) is expected


def fingerprints(n: int) -> np.ndarray:
    """Heads with a common pattern and their own, (n, 2, z, y, x)."""
    rng = np.random.default_rng(0)
    common = rng.normal(size=CELLS)
    means = common + rng.normal(size=(n, *CELLS))
    return np.stack([means, np.ones_like(means)], axis=1).astype(np.float32)


def test_copies_are_found_whatever_side_of_a_block_they_lie_on(tmp_path: Path) -> None:
    training, new = 140, 12  # more than a block of cases
    prints = fingerprints(training + new)
    prints[training + 2] = prints[5] + np.random.default_rng(1).normal(0, 0.05, prints[5].shape)
    prints[training + 2, 1] = 1
    prints[training + 9] = np.flip(prints[133], axis=3)
    table = correlate(lambda block: prints[block], training, new, tmp_path)
    assert table is not None
    assert table.shape == (new, training)
    assert {(int(a), int(b)) for a, b in np.argwhere(table >= MIN_CORRELATION)} == {(2, 5), (9, 133)}
    ids = [f"t{index}" for index in range(training)]
    leak = near_duplicates(table, NEW, ids)
    assert leak.verdict == "leak"
    assert [(match.case_id, match.training_case) for match in leak.matches] == [("n02", "t5"), ("n09", "t133")]
    assert leak.as_item({"t5": "2"})["matches"][0]["fold"] == "2"


def test_like_cohorts_without_copies_are_clean_and_a_handful_is_not_testable(tmp_path: Path) -> None:
    prints = fingerprints(42)
    table = correlate(lambda block: prints[block], 30, 12, tmp_path)
    assert near_duplicates(table, NEW, TRAINING).verdict == "clean"
    assert correlate(lambda block: prints[block], 5, 4, tmp_path) is None
    assert near_duplicates(None, NEW, TRAINING).verdict == "not testable"
