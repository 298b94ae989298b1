"""Name what is wrong with a run, and the one thing to try next, from history.csv and the predictions."""

import math
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import scipy  # imports its parts when they are first used

from flairprep.evaluation import predictions
from flairprep.network.model_config import NetworkConfig
from flairprep.network.train_config import LEAST_PATIENCE, TrainConfig

# Differences of accuracy are told from chance at two standard errors, 1 / sqrt(n) at an accuracy of one half.
LAG = 0.15  # training mode above inference mode on the training cases: two standard errors of 45 cases
FITTED = 0.1  # training cases above the NIR: two standard errors of 100 cases; above an NIR of 0.8, half of the rest
MEMORISED = 0.2  # training cases above validation cases: two standard errors of 25 validation cases
ROSE = 0.02  # validation accuracy from the first third of the run to the last: means over epochs are steadier
IMPROVED = 0.01  # nats of validation loss from one fifth of the run to the next: 1.5 % of a coin's 0.69
TREND = 0.05  # one-sided level of Kendall's test that the validation loss still falls
FLIPPED = 0.2  # share of the cases that change sides from epoch to epoch; a coin has 0.5
WORSE = 0.05  # nats of training loss above that of always answering the share of label 1
LEAST_FILTERS = 2  # in every block of the smallest network to propose
DROPOUT = 0.5  # the rate to propose (Srivastava et al. 2014)
STEP, LEAP = 3, 10  # factors of the learning rate: half a decade for what works, a decade for what does not


@dataclass(frozen=True)
class Diagnosis:
    """Content of diagnosis.json: the fault or "fine", the reason, the next action, and the command that does it.

    diagnosis: batch-norm lag, constant, still improving at the end, not fitting, overconfident, memorising, unstable
    or fine.
    """

    diagnosis: str
    reason: str
    action: str
    command: str

    def as_dict(self) -> dict[str, str]:
        """Return the four texts by name."""
        return asdict(self)

    def __str__(self) -> str:
        return f"diagnosis: {self.diagnosis}: {self.reason}\n  next: {self.action}: {self.command}"


def diagnose(
    history: pd.DataFrame,
    y_true: np.ndarray,
    y_prob: np.ndarray,
    *,
    lr: float,
    epochs: int,
    folds: int,
    val_fold: int,
    test_fold: int | None,
    network: NetworkConfig,
    config: TrainConfig,
) -> Diagnosis:
    """Return the first fault of the run, in the order in which faults hide one another.

    A fault whose remedies the run already has is skipped.

    Args:
        history: one row per epoch that ran, as numbers: loss, accuracy (training mode), accuracy_inference (training
            cases in inference mode), val_loss, val_accuracy.
        y_true, y_prob: (n_cases,) and (n_epochs, n_cases), the validation cases.
        lr, epochs, folds, val_fold, test_fold: from params.yaml and split.csv, for the commands.
        network, config: the network and its training, with no null left.
    """
    last = history.tail(predictions.DECLARED_EPOCHS).mean()
    fitted = max(last["accuracy"], last["accuracy_inference"])
    numbers = predictions.declared(y_true, y_prob[-predictions.DECLARED_EPOCHS :].mean(axis=0))
    accuracy, nir = numbers["accuracy"], numbers["nir"]
    swings = predictions.flips(y_prob[len(y_prob) // 2 :])
    flipped = float(swings.mean()) if swings.size else 0.0
    slower, faster = f"lr={lr / STEP:.2g}", f"lr={lr * STEP:.2g}"
    averages = network.norm in ("after_conv", "after_pool")
    if averages and last["accuracy"] - last["accuracy_inference"] > LAG:
        return _diagnosis(
            "batch-norm lag",
            f"{last['accuracy']:.0%} of the training cases are right in training mode, "
            f"{last['accuracy_inference']:.0%} in inference mode: the moving averages lag behind",
            "normalise without moving averages",
            "model.norm=group",
        )
    if numbers["predicted_positive"] in (0, 1):
        # Balanced weights make both labels count the same, so that the best constant answer is 0.5.
        constant = math.log(2) if config.class_weight == "balanced" else numbers["log_loss_prior"]
        diverged = last["loss"] > constant + WORSE
        return _diagnosis(
            "constant",
            f"every case is predicted {numbers['predicted_positive']:.0f}, and the training loss is {last['loss']:.3f}",
            "a lower rate, since it diverged" if diverged else "a higher rate, since it has hardly moved",
            f"lr={lr / LEAP:.2g}" if diverged else faster,
        )
    if still_improves(history["val_loss"].to_numpy(float)):
        stopped = config.patience > 0 and len(history) < epochs
        return _diagnosis(
            "still improving at the end",
            f"the validation loss still falls in epoch {len(history)}",
            "more patience" if stopped else "more epochs",
            f"train.patience={2 * config.patience}" if stopped else f"epochs={2 * epochs}",
        )
    if fitted < nir + min(FITTED, (1 - nir) / 2):
        return _diagnosis(
            "not fitting",
            f"even the training cases are only {fitted:.0%} right (NIR {nir:.0%})",
            "a higher rate; reports/sanity.json says whether the network can fit two cases at all",
            faster,
        )
    stop = _stop(config, epochs)
    unsure = numbers["log_loss"] > numbers["log_loss_prior"]
    if stop and unsure and accuracy > nir and _rise(history["val_accuracy"]) > ROSE:
        return _diagnosis(
            "overconfident",
            f"the accuracy rises, but the log loss is {numbers['log_loss']:.3f}, that of the prior "
            f"{numbers['log_loss_prior']:.3f}: its probabilities are too sure",
            "stop when the validation loss turns",
            *stop,
        )
    forget = _forget(network, config)
    if forget and last["accuracy_inference"] - accuracy > MEMORISED:
        return _diagnosis(
            "memorising",
            f"{last['accuracy_inference']:.0%} of the training cases are right, {accuracy:.0%} of the validation cases",
            *forget,
        )
    if flipped > FLIPPED:
        return _diagnosis(
            "unstable", f"{flipped:.0%} of the cases change sides from epoch to epoch", "a lower rate", slower
        )
    others = ",".join(str(fold) for fold in range(folds) if fold not in (val_fold, test_fold))
    return Diagnosis(
        "fine",
        "none of the usual faults",
        "the other folds, to see whether it holds there",
        f"dvc exp run --queue -S val_fold={others} && dvc queue start",
    )


def _stop(config: TrainConfig, epochs: int) -> list[str]:
    """Return the settings that stop a run when the validation loss turns; none where the run had them."""
    patience = max(LEAST_PATIENCE, epochs // 6)
    settings = [] if config.monitor == "val_loss" else ["train.monitor=val_loss"]
    return settings if 0 < config.patience <= patience else [*settings, f"train.patience={patience}"]


def _forget(network: NetworkConfig, config: TrainConfig) -> tuple[str, str] | None:
    """Return the first remedy of memorising that the run lacked, action and setting; None where it had all."""
    halved = [filters // 2 for filters in network.filters]
    if min(halved) >= LEAST_FILTERS:
        return "a smaller network", f"model.filters=[{','.join(map(str, halved))}]"
    if config.augment != "flip_shift":
        return "more variety among the training cases", "train.augment=flip_shift"
    return ("dropout before the output", f"model.dropout={DROPOUT}") if network.dropout < DROPOUT else None


def still_improves(val_loss: np.ndarray) -> bool:
    """Return whether the loss falls through the run's second half (Kendall's test), and visibly in its last fifth."""
    half, fifth = val_loss[len(val_loss) // 2 :], max(1, len(val_loss) // 5)
    if len(half) < 4:  # the test cannot reach its level
        return False
    falls = scipy.stats.kendalltau(np.arange(len(half)), half, alternative="less").pvalue < TREND
    return bool(falls and val_loss[-2 * fifth : -fifth].mean() - val_loss[-fifth:].mean() > IMPROVED)


def _rise(values: pd.Series) -> float:
    third = max(1, len(values) // 3)
    return float(values.tail(third).mean() - values.head(third).mean())


def _diagnosis(name: str, reason: str, action: str, *overrides: str) -> Diagnosis:
    settings = " ".join(f"-S '{override}'" if "[" in override else f"-S {override}" for override in overrides)
    return Diagnosis(name, reason, action, f"dvc exp run {settings}")
