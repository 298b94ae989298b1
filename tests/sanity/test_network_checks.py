"""checks: each of them passes what is sound and fails the fault that it is there for. Without a pipeline around."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from flairprep.network import model, training
from flairprep.sanity import network_checks, tensor_checks
from flairprep.sanity.check import Check
from flairprep.sanity.network_checks import Budget
from flairprep.sanity.tensor_checks import TensorSummary
from flairprep.sanity.trial import Trial

SHAPE = (16, 32, 32)


def head(seed: int, label: int = 0, radius: float = 6.0) -> np.ndarray:
    """A ball of noise, brighter at its top and its back, among -4; label 1 has a bright box in it. (16, 32, 32, 1)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.indices(SHAPE) - np.array([7.5, 15.5, 15.5]).reshape(3, 1, 1, 1)
    inside = z**2 * 4 + y**2 + x**2 < (2 * (radius + rng.uniform(0, 1))) ** 2
    image = np.where(inside, rng.normal(size=SHAPE) + z / 8 + y / 16, -4)
    if label:
        image[5:9, 12:18, 18:24] += 3
    return image[..., np.newaxis].astype(np.float16)


def cohort(n: int = 20, **changed: Any) -> list[np.ndarray]:
    return [head(index, index % 2, **changed) for index in range(n)]


def looked(images: list[np.ndarray]) -> list[TensorSummary]:
    """Labels in turn, two cases of each fold."""
    return [tensor_checks.summarise(image, n % 2, f"{n:05d}", n // 2 % 5) for n, image in enumerate(images)]


def border(cases: list[TensorSummary]) -> Check:
    return tensor_checks.border(cases, [case.case_id for case in cases], 0)


# The tensors


def test_sound_cases_pass_every_check_of_the_tensors() -> None:
    cases = looked(cohort())
    split = pd.DataFrame([{"case_id": c.case_id, "label": str(c.label), "fold": str(c.fold)} for c in cases])
    found = [
        *(check(cases) for check in (tensor_checks.finite, tensor_checks.clipping, tensor_checks.used_range)),
        *(check(cases) for check in (tensor_checks.slices, tensor_checks.duplicates, tensor_checks.orientation)),
        *(tensor_checks.labels(cases, split), border(cases)),
    ]
    assert [check.verdict for check in found] == ["pass"] * len(found)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_fails(value: float) -> None:
    images = cohort(4)
    images[2][8, 16, 16] = value
    found = tensor_checks.finite(looked(images))
    assert (found.verdict, found.value) == ("fail", 1)
    assert "00002" in found.text


def test_a_window_made_for_ct_saturates() -> None:
    """[-1000, 400] mapped to [0, 1], as the tutorial's loader does, on FLAIR values up to 1000."""
    raw = [np.where(image > -4, 400 + 150 * image.astype(float), 0) for image in cohort(6)]
    windowed = [((np.clip(image, -1000, 400) + 1000) / 1400).astype(np.float16) for image in raw]
    found = tensor_checks.clipping(looked(windowed))
    assert found.verdict == "fail"
    assert found.value == pytest.approx(np.mean([(i >= 400).sum() / (i != 0).sum() for i in raw]), abs=0.01)
    assert tensor_checks.clipping(looked([image.astype(np.float16) for image in raw])).verdict == "pass"


def test_one_case_at_its_limit_is_warned_of() -> None:
    images = cohort(20)
    images[3] = np.where(images[3] > 1, np.float16(1), images[3])
    found = tensor_checks.clipping(looked(images))
    assert found.verdict == "warn"
    assert "case 00003" in found.text


def test_an_extreme_voxel_that_stretches_the_range_is_warned_of() -> None:
    images = cohort(4)
    for image in images:
        image[8, 16, 16] = 1000
    found = tensor_checks.used_range(looked(images))
    assert found.verdict == "warn"
    assert found.value is not None
    assert found.value < 0.02


def test_zeroed_and_partly_empty_volumes_are_found() -> None:
    images = cohort(6)
    images[1] = np.zeros_like(images[1])
    found = tensor_checks.slices(looked(images))
    assert (found.verdict, found.value) == ("fail", 1)
    images = cohort(6)
    images[1][8] = -4
    found = tensor_checks.slices(looked(images))
    assert (found.verdict, found.value) == ("warn", 1)
    assert "00001" in found.text
    padded = cohort(6)
    padded[0][:3] = -4
    assert tensor_checks.slices(looked(padded)).verdict == "pass"


@pytest.mark.parametrize(("copy", "verdict"), [(1, "fail"), (3, "fail"), (10, "warn")])
def test_equal_tensors_fail_in_two_folds_or_with_two_labels(copy: int, verdict: str) -> None:
    """Case 0 lies in fold 0 with label 0; case 1 has the other label, case 10 has its fold and label."""
    images = cohort(12)
    images[copy] = images[0]
    found = tensor_checks.duplicates(looked(images))
    assert (found.verdict, found.value) == (verdict, 2)
    assert f"{copy:05d}" in found.text


@pytest.mark.parametrize(
    "turn", [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v[::-1, ::-1], lambda v: v.transpose(0, 2, 1, 3)]
)
def test_a_case_that_lies_otherwise_is_found(turn: Any) -> None:
    images = cohort()
    images[4] = np.ascontiguousarray(turn(images[4]))
    found = tensor_checks.orientation(looked(images))
    assert found.verdict == "warn"
    assert "case 00004" in found.text
    images[5:8] = [np.ascontiguousarray(turn(image)) for image in images[5:8]]
    assert tensor_checks.orientation(looked(images)).verdict == "fail"


def test_labels_and_folds_other_than_in_split_fail() -> None:
    cases = looked(cohort(6))
    rows = [{"case_id": case.case_id, "label": case.label, "fold": case.fold} for case in cases]
    shuffled = [replace(case, label=label) for case, label in zip(cases, [0, 0, 1, 1, 0, 1], strict=True)]
    assert tensor_checks.labels(cases, pd.DataFrame(rows)).verdict == "pass"
    assert tensor_checks.labels(shuffled, pd.DataFrame(rows)).value == 2
    assert tensor_checks.labels([replace(cases[0], fold=4)], pd.DataFrame(rows)).verdict == "fail"
    assert tensor_checks.labels([replace(cases[0], case_id="x")], pd.DataFrame(rows)).verdict == "fail"


def test_a_mask_that_carries_the_label_fails() -> None:
    larger = [head(index, 0, radius=6.0 + index % 2) for index in range(20)]
    assert border(looked(larger)).verdict == "fail"


def test_a_background_that_carries_the_label_fails() -> None:
    images = [np.where(image == -4, np.float16(-4 - 0.1 * (n % 2)), image) for n, image in enumerate(cohort())]
    assert border(looked(images)).verdict == "fail"


def test_the_border_is_judged_by_patients_not_by_cases() -> None:
    """Four scans of each of six patients: chance agrees with the label in 20 arrangements, of cases in thousands."""
    images = [head(index, 0, radius=6.0 + index % 2) for index in range(24)]
    cases = looked(images)
    groups = [f"patient {case.label} {n // 8}" for n, case in enumerate(cases)]
    assert border(cases).value == pytest.approx(1e-3)
    of_patients = tensor_checks.border(cases, groups, 0)
    assert of_patients.value is not None
    assert of_patients.value > 0.05


def test_chance_borders_seldom_fail() -> None:
    failed = 0
    for seed in range(20):
        cases = [tensor_checks.summarise(head(100 * seed + n), n % 2, str(n), 0) for n in range(12)]
        failed += border(cases).verdict == "fail"
    assert failed <= 2


def test_blocks_are_means_of_the_volume() -> None:
    volume = np.random.default_rng(0).normal(size=(16, 32, 48))
    expected = volume.reshape(8, 2, 16, 2, 16, 3).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(tensor_checks.shrunk(volume), expected)
    assert tensor_checks.shrunk(np.ones((5, 17, 33))).shape == (5, 16, 16)
    np.testing.assert_allclose(tensor_checks.shrunk(np.ones((5, 17, 33))), 1)


# The network


def build(**changed: Any) -> keras.Model:
    """A small residual network, compiled."""
    given = {**dict.fromkeys(model.ModelParams.model_fields), "name": "resnet3d", "filters": [8, 16], **changed}
    return training.compiled(model.ModelParams(**given), (*SHAPE, 1), prior=0.5, rate=1e-3)


def frozen() -> keras.Model:
    network = build()
    network.get_layer("conv1a").trainable = False
    return network


def biased() -> keras.Model:
    network = build()
    network.layers[-1].bias.assign([5.0])
    return network


def mixing() -> keras.Model:
    plain = build()
    mixed = keras.layers.Lambda(lambda y: keras.ops.clip(y + 0.1 * (y - keras.ops.mean(y)), 0.0, 1.0))(plain.output)
    whole = keras.Model(plain.input, mixed)
    whole.compile(keras.optimizers.Adam(1e-3), loss="binary_crossentropy", jit_compile=False)
    return whole


IMAGES = np.array(cohort(8))
LABELS = np.arange(8) % 2


def pair(make: Any = build, images: np.ndarray = IMAGES, **options: Any) -> tuple[Trial, network_checks.ShortRun]:
    trial = Trial(make, 0)
    asked: dict[str, Any] = {"least": 40, "most": 200, **options}
    run = network_checks.fit(trial, Budget(1), images[:2], LABELS[:2], **asked)
    assert run is not None
    return trial, run


@pytest.fixture(scope="module")
def sound() -> tuple[Trial, network_checks.ShortRun]:
    """Two cases learned by heart by a network without a fault."""
    return pair()


def test_a_sound_network_learns_two_cases_by_heart_in_both_modes(
    sound: tuple[Trial, network_checks.ShortRun],
) -> None:
    _, run = sound
    found = [
        network_checks.loss_falls(run),
        network_checks.overfit(run),
        network_checks.overfit_inference(run, own=False),
    ]
    assert [check.verdict for check in found] == ["pass"] * 3
    assert network_checks.initial_loss(run.y_prob[0], 0.5).verdict == "pass"


def test_every_layer_of_a_sound_network_learns_and_a_frozen_one_is_named(
    sound: tuple[Trial, network_checks.ShortRun],
) -> None:
    trial, _ = sound
    after = trial.weights()
    trial.reset()
    assert network_checks.all_layers(trial.weights(), after).verdict == "pass"

    trial = Trial(frozen, 0)
    before = trial.weights()
    network_checks.fit(trial, Budget(1), IMAGES[:2], LABELS[:2], least=3, most=3)
    found = network_checks.all_layers(before, trial.weights())
    assert (found.verdict, found.value) == ("fail", 1)
    assert "conv1a" in found.text


def test_a_bias_that_is_not_the_prior_fails_and_so_does_the_first_loss() -> None:
    trial, run = pair(biased, least=1, most=1)
    assert network_checks.initial_loss(run.y_prob[0], 0.5).verdict == "fail"
    trial.reset()
    bias = float(trial.network.layers[-1].bias.numpy()[0])
    assert network_checks.output_bias(bias, 0.5, True).verdict == "fail"
    assert network_checks.output_bias(bias, float(expit(5)), True).verdict == "pass"
    assert network_checks.output_bias(0.0, 0.9, True).verdict == "fail"
    assert network_checks.output_bias(0.0, 0.9, False).verdict == "warn"


@pytest.mark.parametrize("prior", [0.5, 0.2])
def test_the_first_loss_is_compared_with_the_entropy(prior: float) -> None:
    """By scikit-learn, over labels of which exactly the share `prior` is 1."""
    y_prob = expit(logit(prior) + np.array([-1.0, 0.0, 2.0]))
    y_true = np.arange(10) < 10 * prior
    expected = [log_loss(y_true, np.full(10, p)) - log_loss(y_true, np.full(10, prior)) for p in y_prob]
    assert network_checks.initial_loss(y_prob, prior).value == pytest.approx(np.mean(expected))


def test_a_network_that_sees_zeros_is_found(sound: tuple[Trial, network_checks.ShortRun]) -> None:
    trial, real = sound
    blind = network_checks.fit(trial, Budget(1), np.zeros_like(IMAGES[:2]), LABELS[:2], least=40, most=40)
    assert blind is not None
    assert network_checks.zeroed(real.losses, blind).verdict == "pass"
    assert network_checks.zeroed(blind.losses, blind).verdict == "fail"
    assert network_checks.overfit(blind).verdict == "fail"
    assert network_checks.loss_falls(blind).verdict == "fail"


def test_cases_that_change_each_others_output_fail(sound: tuple[Trial, network_checks.ShortRun]) -> None:
    assert network_checks.coupling(sound[0].coupling(IMAGES[:3])).verdict == "pass"
    assert network_checks.coupling(Trial(mixing, 0).coupling(IMAGES[:3])).verdict == "fail"


def test_averages_that_lag_fail_or_are_warned_of_where_they_are_the_networks_own() -> None:
    _, run = pair(lambda: build(norm_momentum=0.99))
    assert network_checks.overfit(run).verdict == "pass"
    assert network_checks.overfit_inference(run, own=False).verdict == "fail"
    assert network_checks.overfit_inference(run, own=True).verdict == "warn"


def test_a_gap_between_the_modes_fails_above_its_threshold() -> None:
    def run(wrong: int) -> network_checks.ShortRun:
        right, flipped = LABELS * 0.8 + 0.1, LABELS.copy()
        flipped[:wrong] = 1 - flipped[:wrong]
        return network_checks.ShortRun(LABELS, [0.1], (right, right), flipped * 0.8 + 0.1, cut=False)

    assert [network_checks.batch_norm(run(wrong), own=False).verdict for wrong in (0, 1, 2)] == ["pass", "pass", "fail"]
    assert network_checks.batch_norm(run(2), own=True).verdict == "warn"
    assert network_checks.batch_norm(run(2), own=False).value == 0.25


def test_capacity_is_all_cases_learned_by_heart() -> None:
    shuffled = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    large = network_checks.fit(Trial(build, 0), Budget(1), IMAGES, shuffled, least=20, most=200, goal=np.inf)
    small = network_checks.fit(Trial(build, 0), Budget(1), np.repeat(IMAGES[:1], 8, 0), shuffled, least=5, most=5)
    assert large is not None
    assert small is not None
    assert network_checks.capacity(large).verdict == "pass"
    assert network_checks.capacity(small).verdict == "fail"


def test_one_seed_gives_one_start_and_another_start_fails() -> None:
    def start(seed: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        trial = Trial(build, seed)
        losses = [trial.step(IMAGES[:2], LABELS[:2], 1e-3)[0] for _ in range(2)]
        return np.array(losses), trial.weights()

    (a, weights_a), (b, weights_b), (c, weights_c) = start(0), start(0), start(1)
    assert network_checks.repeatable((a, b), (weights_a, weights_b)).verdict == "pass"
    assert network_checks.repeatable((a, c), (weights_a, weights_c)).verdict == "fail"
    assert network_checks.repeatable((a, b), (weights_a, weights_c)).verdict == "fail"


def test_a_network_too_large_for_the_time_is_cut_and_said_so(sound: tuple[Trial, network_checks.ShortRun]) -> None:
    trial, _ = sound
    budget = Budget(10, total=100)
    run = network_checks.fit(trial, budget, IMAGES[:2], LABELS[:2], least=40, most=200)
    assert run is not None
    assert len(run.losses) == 5
    assert network_checks.fit(trial, budget, IMAGES[:2], LABELS[:2], least=1, most=1) is None
    unfinished = network_checks.ShortRun(run.labels, run.losses[:1] * 2, run.y_prob, 1 - run.labels, cut=True)
    for check in (network_checks.loss_falls, network_checks.overfit):
        assert (check(unfinished).verdict, "all that there is time for" in check(unfinished).text) == ("warn", True)
    assert network_checks.range_losses(trial, budget, IMAGES, LABELS) == []


# The range test


def curve(falls_at: float, rises_at: float) -> list[float]:
    """A loss of 0.7 that halves around one rate and explodes around another, at the rates of the range test."""
    rates = network_checks.FIRST_RATE * network_checks.GROWTH ** np.arange(network_checks.RANGE_STEPS)
    return list(0.7 - 0.5 * expit(4 * np.log(rates / falls_at)) + 3 * expit(4 * np.log(rates / rises_at)))


def test_the_usable_rates_end_where_the_loss_rises_and_begin_far_below_where_it_falls() -> None:
    band = network_checks.usable_rates(curve(1e-3, 1e-1))
    assert band is not None
    assert 1e-2 < band[1] < 1e-1
    assert 1e-6 < band[0] < 1e-4
    later = network_checks.usable_rates(curve(1e-2, 1e-1))
    assert later is not None
    assert later[0] == pytest.approx(10 * band[0], rel=0.2)
    assert network_checks.learning_rate(band).verdict == "pass"


def test_what_a_network_learns_again_after_it_diverged_does_not_count() -> None:
    """Normalisation makes a network come back from rates far too high, and then it knows the cases by heart."""
    losses = curve(1e-3, 1e-1)
    assert network_checks.usable_rates([*losses[:85], *[0.01] * 15]) == network_checks.usable_rates(losses)


@pytest.mark.parametrize(
    "losses", [[0.7] * 100, [0.7] * 5, [], curve(10, 1e-2)], ids=["flat", "ended", "none", "rises"]
)
def test_without_a_fall_there_are_no_usable_rates(losses: list[float]) -> None:
    assert network_checks.usable_rates(losses) is None
    assert network_checks.learning_rate(None).verdict == "warn"


def test_the_range_test_of_a_sound_network_finds_its_rate(sound: tuple[Trial, network_checks.ShortRun]) -> None:
    losses = network_checks.range_losses(sound[0], Budget(1), IMAGES, LABELS)
    assert len(losses) == network_checks.RANGE_STEPS
    band = network_checks.usable_rates(losses)
    assert band is not None
    assert band[0] < network_checks.RATE < band[1]
