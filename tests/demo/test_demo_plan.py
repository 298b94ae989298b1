"""plan: which case is what, and which fault, copy or shortcut it carries."""

from dataclasses import replace

import numpy as np
import pytest
from demo_series import CASES, SEED

from flairprep.demo import phantom, plan
from flairprep.demo.plan import Copy, Fault

PINNED_LABELS, PINNED_MANUFACTURERS = "001111001001010", "PGTPGSSTSPTGSSP"
PINNED_DRAWS = [0.915122986, 0.995419539]


@pytest.mark.parametrize("seed", range(5))
def test_sound_cases_alone_have_some_of_each_kind(seed: int) -> None:
    sound = plan.plan(CASES, seed)[:CASES]
    assert {case.plane for case in sound} == set(phantom.PLANES)
    assert {case.manufacturer for case in sound} == set(plan.MANUFACTURERS)
    for kind in ("volumetric", "stripped", "rescaled", "label"):
        assert {getattr(case, kind) for case in sound} == {False, True}


def test_prevalence_is_near_52_percent() -> None:
    assert sum(case.label for case in plan.plan(80, 0)[:80]) == 42


def test_without_plants_the_cohort_is_what_it_was() -> None:
    planned = plan.plan(CASES, SEED)
    assert planned == plan.plan(CASES, SEED, 0.0, 0)
    assert "".join(str(case.label) for case in planned) == PINNED_LABELS
    assert "".join(case.manufacturer[0] for case in planned) == PINNED_MANUFACTURERS
    drawn = [float(planned[3].rng(purpose).uniform()) for purpose in (plan.ANATOMY, plan.FILES)]
    assert drawn == pytest.approx(PINNED_DRAWS)


@pytest.mark.parametrize("share", [0.5, 0.8, 1.0])
def test_a_shortcut_is_the_share_of_cases_whose_manufacturer_is_the_labels_own(share: float) -> None:
    planned, plain = plan.plan(1000, SEED, share), plan.plan(1000, SEED)
    own = [case.manufacturer == plan.MANUFACTURERS[case.label] for case in planned]
    assert np.mean(own) == pytest.approx(share + (1 - share) / 4, abs=0.04)
    others = [case.manufacturer for case, is_own in zip(planned, own, strict=True) if not is_own]
    assert set(others) == (set(plan.MANUFACTURERS) if share < 1 else set())
    for case, other in zip(planned, plain, strict=True):
        assert replace(case, manufacturer=other.manufacturer) == other  # nothing else changes


def test_duplicates_follow_the_others_and_every_second_one_is_exact() -> None:
    planned, plain = plan.plan(20, SEED, 0.0, 8), plan.plan(20, SEED)
    copies = planned[len(plain) :]
    assert planned[: len(plain)] == plain
    assert [case.copy for case in copies] == [*(Copy.EXACT, Copy.NOISY, Copy.EXACT, Copy.MIRRORED)] * 2
    assert len({case.source for case in copies}) == 8
    for case in copies:
        assert case.source is not None
        source = plain[case.source]
        assert source.fault is Fault.NONE
        assert replace(case, index=source.index, copy=None, source=None) == source
