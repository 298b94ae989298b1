"""network_checks: each passes a sound network and fails the fault that it is there for."""

from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pytest
from heads import SHAPE, cohort, halved
from scipy.special import expit, logit
from sklearn.metrics import log_loss

from flairprep.network import model, training
from flairprep.sanity import network_checks
from flairprep.sanity.network_checks import Budget
from flairprep.sanity.trial import Trial


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


IMAGES = halved(np.array(cohort(8)))  # as the network begins, see Trial.prepared


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
    checks = [
        network_checks.loss_falls(run),
        network_checks.overfit(run),
        network_checks.overfit_inference(run, own=False),
    ]
    assert [check.verdict for check in checks] == ["pass"] * 3
    assert network_checks.initial_loss(run.y_prob[0], 0.5).verdict == "pass"


@pytest.mark.slow
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
    check = network_checks.all_layers(before, trial.weights())
    assert (check.verdict, check.value) == ("fail", 1)
    assert "conv1a" in check.text


@pytest.mark.slow
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
    assert network_checks.zeroed(real, blind).verdict == "pass"
    assert network_checks.zeroed(blind, blind).verdict == "fail"
    assert network_checks.zeroed(replace(blind, cut=True), blind).verdict == "warn"
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


@pytest.mark.slow
def test_capacity_is_all_cases_learned_by_heart() -> None:
    shuffled = np.array([0, 1, 1, 0, 0, 1, 1, 0])
    large = network_checks.fit(Trial(build, 0), Budget(1), IMAGES, shuffled, least=20, most=200, goal=np.inf)
    small = network_checks.fit(Trial(build, 0), Budget(1), np.repeat(IMAGES[:1], 8, 0), shuffled, least=5, most=5)
    assert large is not None
    assert small is not None
    assert network_checks.capacity(large).verdict == "pass"
    assert network_checks.capacity(small).verdict == "fail"


@pytest.mark.slow
def test_one_seed_gives_one_start_and_another_start_fails() -> None:
    def start(seed: int) -> network_checks.Start:
        trial = Trial(build, seed)
        losses = [trial.step(IMAGES[:2], LABELS[:2], 1e-3)[0] for _ in range(2)]
        return network_checks.Start(np.array(losses), trial.weights())

    one, same, other = start(0), start(0), start(1)
    assert network_checks.repeatable(one, same).verdict == "pass"
    assert network_checks.repeatable(one, one._replace(losses=other.losses)).verdict == "fail"
    assert network_checks.repeatable(one, one._replace(weights=other.weights)).verdict == "fail"


def test_nan_twice_is_repeatable_and_once_is_not() -> None:
    nan = network_checks.Start(np.array([0.7, np.nan]), {"kernel": np.array([np.nan, 1.0])})
    assert network_checks.repeatable(nan, nan).verdict == "pass"
    assert network_checks.repeatable(nan, nan._replace(losses=np.array([0.7, 0.6]))).verdict == "fail"


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
