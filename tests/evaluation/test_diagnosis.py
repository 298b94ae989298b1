"""diagnosis: each fault planted alone is named, and the next step is a command that dvc takes."""

import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.evaluation import diagnosis
from flairprep.evaluation.diagnosis import Diagnosis
from flairprep.network import model_config, train_config

EPOCHS, N = 30, 40
Y_TRUE = np.arange(N) % 2


def probabilities(right: float = 0.7, confidence: float = 0.2, flipping: float = 0.0) -> np.ndarray:
    """(EPOCHS, N): the first `right` of the cases right, so far from 0.5; the last `flipping` change sides by turns."""
    correct = np.arange(N) < right * N
    rows = np.tile(0.5 + confidence * np.where(correct, 1, -1) * (2 * Y_TRUE - 1), (EPOCHS, 1))
    swinging = np.arange(N) >= (1 - flipping) * N
    rows[::2, swinging] = 1 - rows[::2, swinging]
    return rows


def history(**columns: float | np.ndarray) -> pd.DataFrame:
    """A run without a fault, with columns changed."""
    sound = {"loss": 0.5, "accuracy": 0.75, "accuracy_inference": 0.75, "val_loss": 0.6, "val_accuracy": 0.7}
    return pd.DataFrame({"epoch": range(1, EPOCHS + 1), **sound, **columns})


NETWORK = model_config.NETWORKS["resnet3d"]
CONFIG = train_config.TrainConfig(reference_batch_size=4, precision="float32", **train_config.TRAIN_CONFIGS["resnet3d"])
GIVEN: dict[str, Any] = {
    **{"train_labels": np.arange(160) % 2, "ranks": True},
    **{"lr": 1e-4, "epochs": 30, "folds": 5, "val_fold": 0, "test_fold": None},
    **{"network": NETWORK, "config": CONFIG.model_copy(update={"monitor": "val_accuracy"})},
}


def diagnose(
    table: pd.DataFrame | None = None, y_prob: np.ndarray | None = None, y_true: np.ndarray = Y_TRUE, **changes: Any
) -> Diagnosis:
    y_prob = probabilities() if y_prob is None else y_prob
    return diagnosis.diagnose(history() if table is None else table, y_true, y_prob, **GIVEN | changes)


SWINGING = probabilities(1.0, 0.2, flipping=0.4)
FALLING = np.linspace(0.7, 0.4, EPOCHS)
OTHERS = "dvc exp run --queue -S val_fold=1,2,3,4 && dvc queue start"
CASES: dict[str, tuple[pd.DataFrame | None, np.ndarray | None, str]] = {
    "fine": (None, None, OTHERS),
    "threshold off": (None, 0.4 * probabilities(), "dvc plots show"),
    "batch-norm lag": (history(accuracy=0.98, accuracy_inference=0.5), None, "dvc exp run --temp -S model.norm=group"),
    "constant": (history(loss=0.69), np.full((EPOCHS, N), 0.6), "dvc exp run --temp -S lr=0.0003"),
    "still improving at the end": (history(val_loss=FALLING), None, "dvc exp run --temp -S epochs=60"),
    "not fitting": (history(accuracy=0.55, accuracy_inference=0.52), None, "dvc exp run --temp -S lr=0.0003"),
    "overconfident": (
        history(val_loss=np.r_[np.linspace(0.69, 0.4, 10), np.linspace(0.5, 1.3, EPOCHS - 10)]),
        probabilities(0.7, 0.49),
        "dvc exp run --temp -S train.monitor=val_loss -S train.patience=5",
    ),
    "memorising": (
        history(accuracy=0.99, accuracy_inference=0.99),
        probabilities(0.55, 0.02),
        "dvc exp run --temp -S 'model.filters=[4,8,16,32]'",
    ),
    "unstable": (
        history(val_loss=0.6 + 0.2 * (-1.0) ** np.arange(EPOCHS)),
        SWINGING,
        "dvc exp run --temp -S lr=3.3e-05",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_planted_fault_is_found(name: str) -> None:
    table, y_prob, command = CASES[name]
    outcome = diagnose(table, y_prob)
    assert (outcome.diagnosis, outcome.command) == (name, command)
    assert outcome.reason
    assert str(outcome) == f"diagnosis: {name}: {outcome.reason}\n  next: {outcome.action}: {command}"


@pytest.mark.parametrize("name", CASES)
def test_the_next_command_sets_keys_that_exist(name: str) -> None:
    words = shlex.split(diagnose(*CASES[name][:2]).command)
    values = YAML(typ="safe").load(PARAMS)
    for override in (word for word, flag in zip(words[1:], words, strict=False) if flag == "-S"):
        node = values
        for part in override.partition("=")[0].split("."):
            assert part in node
            node = node[part]


# How a rate that is too high ends: the loss explodes, or the network's last weights jump with each step.
EXPLODED = history(loss=np.r_[36.0, np.full(EPOCHS - 1, 0.7)], accuracy=0.5, accuracy_inference=0.5)
UNMOVED = history(loss=0.7, accuracy=0.5, accuracy_inference=0.5)
JUMPING = np.tile(0.5 + 0.05 * (-1.0) ** np.arange(EPOCHS)[:, None], (1, N))


@pytest.mark.parametrize(
    ("table", "y_prob", "command"),
    [
        (EXPLODED, np.zeros((EPOCHS, N)), "dvc exp run --temp -S lr=1e-05"),
        (EXPLODED, np.full((EPOCHS, N), 0.49), "dvc exp run --temp -S lr=1e-05"),
        (UNMOVED, JUMPING, "dvc exp run --temp -S lr=1e-05"),
        (UNMOVED, np.full((EPOCHS, N), 0.49), "dvc exp run --temp -S lr=0.0003"),
        (UNMOVED, 0.4 + np.tile(np.linspace(0, 0.02, N), (EPOCHS, 1)), "dvc exp run --temp -S lr=0.0003"),
    ],
    ids=["stuck", "back at the prior", "jumps", "one answer", "no rank"],
)
def test_a_constant_answer_asks_for_the_rate_that_its_training_shows(
    table: pd.DataFrame, y_prob: np.ndarray, command: str
) -> None:
    outcome = diagnose(table, y_prob, ranks=False)
    assert (outcome.diagnosis, outcome.command) == ("constant", command)


def test_three_validation_cases_do_not_say_what_the_training_cases_would_cost() -> None:
    """A training loss of 0.70 has hardly moved, though two of three validation cases would cost only 0.64."""
    y_prob = np.tile([0.51, 0.52, 0.53], (EPOCHS, 1))
    few = {"train_labels": np.arange(9) % 2, "ranks": False}
    outcome = diagnose(UNMOVED, y_prob, np.array([1, 1, 0]), **few)
    assert (outcome.diagnosis, outcome.command) == ("constant", "dvc exp run --temp -S lr=0.0003")


def test_one_side_that_ranks_is_a_threshold_and_no_rate() -> None:
    one_side = 0.5 + 0.4 * probabilities()
    assert diagnose(y_prob=one_side, ranks=True).diagnosis == "threshold off"
    assert diagnose(UNMOVED, one_side, ranks=True).diagnosis == "not fitting", "what ranks by luck has to learn first"
    assert diagnose(UNMOVED, one_side, ranks=False).diagnosis == "constant"


def test_too_few_cases_are_not_called_fine() -> None:
    known = history(accuracy=1.0, accuracy_inference=1.0)
    y_prob, y_true = np.tile([0.3, 0.4, 0.6], (EPOCHS, 1)), np.array([0, 1, 1])
    few = {"train_labels": np.arange(9) % 2, "ranks": False}
    assert diagnose(known, y_prob, y_true, **few).diagnosis == "too few cases to tell"
    assert diagnose(known, y_prob, y_true, **few).command == OTHERS
    assert diagnose(ranks=False).diagnosis == "fine"


def test_memorising_needs_more_wrong_cases_than_chance_gives() -> None:
    """One of two cases wrong is what luck gives a sound network; half of forty is not."""
    known = history(accuracy=1.0, accuracy_inference=1.0, val_loss=0.7)
    two = np.tile([0.3, 0.4], (EPOCHS, 1)), np.array([0, 1])
    assert diagnose(known, *two, train_labels=np.arange(8) % 2, ranks=False).diagnosis != "memorising"
    assert diagnose(known, probabilities(0.55, 0.1), ranks=False).diagnosis == "memorising"


def test_lagging_averages_explain_a_constant_answer() -> None:
    outcome = diagnose(history(accuracy=0.98, accuracy_inference=0.5), np.zeros((EPOCHS, N)))
    assert outcome.diagnosis == "batch-norm lag"


def test_a_network_that_is_sure_and_never_knew_anything_memorises() -> None:
    """Stopping early helps only where the validation loss once was below that of the prior."""
    columns, sure = {"accuracy": 0.99, "accuracy_inference": 0.99}, probabilities(0.7, 0.49)
    rose = np.linspace(0.69, 1.3, EPOCHS)
    assert diagnose(history(val_loss=rose, **columns), sure).diagnosis == "memorising"
    turned = np.r_[np.linspace(0.69, 0.4, 10), rose[10:]]
    assert diagnose(history(val_loss=turned, **columns), sure).diagnosis == "overconfident"


def test_cases_that_change_sides_beside_the_middle_are_not_unstable() -> None:
    """Where all probabilities are 0.5, cases change sides and nothing else does."""
    beside = 0.5 + 0.1 * (SWINGING - 0.5)
    assert ((beside[1:] > 0.5) != (beside[:-1] > 0.5)).mean() > diagnosis.FLIPPED
    assert diagnose(history(), beside).diagnosis == "fine"


def test_an_unstable_run_that_does_not_fit_is_not_asked_for_a_higher_rate() -> None:
    swings = history(val_loss=0.7 + 0.2 * (-1.0) ** np.arange(EPOCHS), accuracy=0.55, accuracy_inference=0.55)
    assert diagnose(swings, SWINGING).diagnosis == "unstable"


def test_a_rate_that_ruins_slowly_is_not_told_from_its_loss_but_from_its_restless_answers() -> None:
    """The loss is that of a constant answer throughout; the answers change as much as they differ between cases."""
    rng = np.random.default_rng(0)
    table = history(loss=0.69, accuracy=0.52, accuracy_inference=0.52)
    restless = 0.5 + 0.03 * rng.standard_normal((EPOCHS, N))
    outcome = diagnose(table, restless, ranks=False)
    assert (outcome.diagnosis, outcome.command) == ("unstable", "dvc exp run --temp -S lr=3.3e-05")
    calm = np.tile(restless[0], (EPOCHS, 1)) + 0.001 * rng.standard_normal((EPOCHS, N))
    outcome = diagnose(table, calm, ranks=False)
    assert (outcome.diagnosis, outcome.command) == ("not fitting", "dvc exp run --temp -S lr=0.0003")


def test_a_run_that_has_learned_its_training_cases_has_little_left_to_improve() -> None:
    learned = history(val_loss=np.linspace(0.3, 0.1, EPOCHS), loss=0.05)
    assert diagnose(learned).diagnosis == "fine"


@pytest.mark.parametrize("epochs", [1, 2, 3, 5])
def test_a_short_run_has_a_diagnosis_too(epochs: int) -> None:
    assert diagnose(history().head(epochs), probabilities()[:epochs]).diagnosis == "fine"
    assert not diagnosis.still_improves(FALLING[:epochs])


def test_a_fold_of_one_label_has_a_diagnosis() -> None:
    ones = np.ones(N, int)
    assert diagnose(y_true=ones, ranks=False).diagnosis == "memorising"  # half of them are predicted 0
    assert diagnose(y_prob=np.tile(np.linspace(0.7, 0.9, N), (EPOCHS, 1)), y_true=ones, ranks=False).command == OTHERS


def test_noise_around_a_level_does_not_improve() -> None:
    rng = np.random.default_rng(0)
    improves = [diagnosis.still_improves(0.69 + 0.03 * rng.standard_normal(60)) for _ in range(400)]
    assert np.mean(improves) < 0.08  # Kendall's test is at 0.05
    assert diagnosis.still_improves(FALLING + 0.01 * rng.standard_normal(EPOCHS))
    assert not diagnosis.still_improves(np.linspace(0.601, 0.6, 60)), "falls, but not visibly"


def test_the_other_folds_leave_out_the_test_fold_and_the_one_just_run() -> None:
    outcome = diagnose(val_fold=2, test_fold=4)
    assert outcome.command == "dvc exp run --queue -S val_fold=0,1,3 && dvc queue start"


def test_a_run_that_is_right_about_all_training_cases_fits_however_large_the_nir() -> None:
    y_true = (np.arange(N) < 2).astype(int)  # an NIR of 95 %
    y_prob = np.tile(0.05 + 0.9 * y_true, (EPOCHS, 1))
    perfect = history(loss=0.05, accuracy=1.0, accuracy_inference=1.0, val_accuracy=1.0)
    labels = np.tile(y_true, 4)
    assert diagnose(perfect, y_prob, y_true, train_labels=labels).diagnosis == "fine"
    half = history(accuracy=0.96, accuracy_inference=0.96)
    assert diagnose(half, y_prob, y_true, train_labels=labels).diagnosis == "not fitting"


def test_balanced_weights_have_the_loss_of_a_coin() -> None:
    """The entropy of a tenth of ones is 0.33: without weights, a training loss of 0.9 is that of a ruined network."""
    labels = (np.arange(160) < 16).astype(int)
    table = history(loss=0.9, accuracy=0.9, accuracy_inference=0.9)
    given: dict[str, Any] = {"table": table, "y_prob": np.full((EPOCHS, N), 0.4), "train_labels": labels}
    balanced = CONFIG.model_copy(update={"class_weight": "balanced"})
    assert diagnose(**given, config=balanced).command == "dvc exp run --temp -S lr=0.0003"
    assert diagnose(**given).command == "dvc exp run --temp -S lr=1e-05"


@pytest.mark.parametrize(
    ("filters", "augment", "dropout", "expected"),
    [
        ((8, 16, 32, 64), "flip_shift", 0.0, "dvc exp run --temp -S 'model.filters=[4,8,16,32]'"),
        ((4, 8, 16, 32), "flip_shift", 0.0, "dvc exp run --temp -S 'model.filters=[2,4,8,16]'"),
        ((2, 4, 8, 16), "none", 0.0, "dvc exp run --temp -S train.augment=flip_shift"),
        ((2, 4, 8, 16), "flip_shift", 0.3, "dvc exp run --temp -S model.dropout=0.5"),
        ((2, 4, 8, 16), "flip_shift", 0.5, "dvc exp run --queue -S val_fold=1,2,3,4 && dvc queue start"),
    ],
)
def test_memorising_asks_for_what_the_run_did_not_have(
    filters: tuple[int, ...], augment: str, dropout: float, expected: str
) -> None:
    network = replace(NETWORK, filters=filters, dropout=dropout)
    trained = CONFIG.model_copy(update={"augment": augment})
    assert diagnose(*CASES["memorising"][:2], network=network, config=trained).command == expected


@pytest.mark.parametrize(
    ("monitor", "patience", "settings"),
    [
        ("val_accuracy", 4, "-S train.monitor=val_loss"),
        ("val_loss", 0, "-S train.patience=5"),
        ("val_loss", 20, "-S train.patience=5"),
    ],
)
def test_overconfidence_asks_for_what_the_run_did_not_have(monitor: str, patience: int, settings: str) -> None:
    trained = CONFIG.model_copy(update={"monitor": monitor, "patience": patience})
    assert diagnose(*CASES["overconfident"][:2], config=trained).command == f"dvc exp run --temp {settings}"


def test_advice_that_changes_nothing_is_skipped() -> None:
    stops = CONFIG.model_copy(update={"monitor": "val_loss", "patience": 4})
    assert diagnose(*CASES["overconfident"][:2], config=stops).diagnosis == "fine"
    grouped = replace(NETWORK, norm="group")  # it has no moving averages
    assert diagnose(*CASES["batch-norm lag"][:2], network=grouped).diagnosis == "fine"


def test_a_run_that_was_stopped_while_it_improved_needs_patience() -> None:
    stops = CONFIG.model_copy(update={"patience": 4})
    assert (
        diagnose(history(val_loss=FALLING), config=stops, epochs=60).command == "dvc exp run --temp -S train.patience=8"
    )
    assert diagnose(history(val_loss=FALLING), config=stops, epochs=30).command == "dvc exp run --temp -S epochs=60"
