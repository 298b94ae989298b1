"""Name what is wrong with a run, and the one thing to try next, from history.csv and the predictions."""

from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd
import scipy  # imports its parts when they are first used

from flairprep.evaluation import predictions, verdict
from flairprep.network.model_config import NetworkConfig
from flairprep.network.train_config import LEAST_PATIENCE, TrainConfig, inferred
from flairprep.stats import metrics

# bench/diagnosis.py plants each fault in trainings of 12 to 200 cases; its results stand in docs/metrics.md.
LAG = 0.15  # accuracy in training mode above that in inference mode, on the training cases
ONE_ANSWER = 0.001  # spread of the probabilities below which nothing is left that could improve
DIVERGED = 0.5  # nats of training loss above that of always answering the share of label 1, in any epoch
FITTED = 0.1  # accuracy of the training cases above their NIR; above an NIR of 0.8, half of the rest
UNMOVED = 0.97  # share of the loss of a constant answer that the training loss stays above
IMPROVED = 0.005  # nats of validation loss from one fifth of the run to the next
LEFT = 0.4  # share of the loss of a constant answer above which the training loss leaves something to improve
TURNED = 0.05  # nats below the prior's that the validation loss had reached before it rose above it
TREND = 0.05  # one-sided level of Kendall's test that the validation loss still falls
MEMORISED = 0.2  # accuracy of the training cases above that of the validation cases
LEVEL, POWER = 0.01, 0.8  # of Fisher's exact test of the same: few validation cases are wrong by chance
RESTLESS = 0.25  # change of a probability per epoch, in units of the spread of all: rates too low give 0.1 and less
FLIPPED = 0.25  # share of the cases that change sides from epoch to epoch; a coin has 0.5
JUMP = 0.05  # of a probability that changes sides: near 0.5, cases change sides without any effect
LEAST_FILTERS = 2  # in every block of the smallest network to propose
DROPOUT = 0.5  # the rate to propose (Srivastava et al. 2014)
STEP, LEAP = 3, 10  # factors of the learning rate: half a decade for what works, a decade for what does not


@dataclass(frozen=True)
class Diagnosis:
    """Content of diagnosis.json: the fault or "fine", the reason, the next action, and the command that does it.

    diagnosis: batch-norm lag, constant, still improving at the end, not fitting, threshold off, overconfident,
    memorising, unstable, too few cases to tell or fine.
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
    train_labels: np.ndarray,
    ranks: bool,
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
        history: one row per epoch that ran, as numbers: loss, accuracy (training mode), accuracy_inference (a
            part of the training cases in inference mode, see input_pipeline.dealt), val_loss.
        y_true, y_prob: (n_cases,) and (n_epochs, n_cases), the validation cases.
        train_labels: (n_training_cases,), 0 or 1.
        ranks: whether the declared predictions rank the validation cases better than chance: p_auc below alpha.
        lr, epochs, folds, val_fold, test_fold: from params.yaml and split.csv, for the commands.
        network, config: the network and its training, with no null left.
    """
    last = history.tail(predictions.DECLARED_EPOCHS).mean()
    fitted = max(last["accuracy"], last["accuracy_inference"])
    declared = y_prob[-predictions.DECLARED_EPOCHS :].mean(axis=0)
    accuracy, log_loss = metrics.accuracy(y_true, declared), metrics.log_loss(y_true, declared)
    train_nir = metrics.no_information_rate(train_labels)
    constant = _constant_loss(train_labels, config)
    bar = train_nir + min(FITTED, (1 - train_nir) / 2)
    unfitted = fitted < bar or last["loss"] > UNMOVED * constant
    positive = float(np.mean(declared > 0.5))
    slower, faster = f"lr={lr / STEP:.2g}", f"lr={lr * STEP:.2g}"
    averages = network.norm in ("after_conv", "after_pool")
    if averages and last["accuracy"] >= bar and last["accuracy"] - last["accuracy_inference"] > LAG:
        return _diagnosis(
            "batch-norm lag",
            f"{last['accuracy']:.0%} of the training cases are right in training mode, "
            f"{last['accuracy_inference']:.0%} in inference mode: the moving averages lag behind",
            "normalise without moving averages",
            "model.norm=group",
        )
    spread = float(np.ptp(declared))
    left = spread >= ONE_ANSWER and last["loss"] > LEFT * constant
    if left and still_improves(history["val_loss"].to_numpy(float)):
        stopped = config.patience > 0 and len(history) < epochs
        return _diagnosis(
            "still improving at the end",
            f"the validation loss still falls in epoch {len(history)}",
            "more patience" if stopped else "more epochs",
            f"train.patience={2 * config.patience}" if stopped else f"epochs={2 * epochs}",
        )
    ruined = unfitted and _ruined(history["loss"], y_prob, constant)
    if unfitted and (spread < verdict.HARDLY_VARIES or (positive in (0, 1) and not ranks)):
        return _diagnosis(
            "constant",
            f"the probabilities are {declared.min():.3f} to {declared.max():.3f}, the training loss is "
            f"{last['loss']:.3f}, that of always answering the share of label 1 is {constant:.3f}",
            "a lower rate, since it ruined the network" if ruined else "a higher rate, since it has hardly moved",
            f"lr={lr / LEAP:.2g}" if ruined else faster,
        )
    flipped = _flipped(y_prob)
    jumps = f"{flipped:.0%} of the cases jump to the other side of 0.5 from epoch to epoch"
    restless = "its answers change from epoch to epoch as much as they differ between cases, and it learns nothing"
    unstable = _diagnosis("unstable", restless if ruined else jumps, "a lower rate", slower)
    if unfitted and (ruined or flipped > FLIPPED):
        return unstable
    if unfitted:
        return _diagnosis(
            "not fitting",
            f"even the training cases are only {fitted:.0%} right (NIR {train_nir:.0%})",
            "a higher rate; reports/sanity.json says whether the network can fit two cases at all",
            faster,
        )
    if positive in (0, 1) and ranks:
        return Diagnosis(
            "threshold off",
            f"every case is predicted {positive:.0f}, yet cases of label 1 get the higher probabilities",
            "recalibrate it, or choose another threshold than 0.5; see the plots reliability and probability",
            "dvc plots show",
        )
    n, n_training = len(y_true), inferred(len(train_labels))
    by_chance = int(scipy.stats.binom.ppf(POWER, n, metrics.no_information_rate(y_true)))
    enough = _worse(by_chance, n, n_training, n_training)  # whether a network that guesses would show
    if spread < verdict.HARDLY_VARIES and enough:
        return Diagnosis(
            "constant",
            f"the probabilities are {declared.min():.3f} to {declared.max():.3f}, though {fitted:.0%} of the training "
            "cases are right: to the network, the validation cases are all alike",
            "compare validation and training cases in reports/index.html",
            "dvc repro",
        )
    stop, log_loss_prior = _stop(config, epochs), metrics.log_loss(y_true, np.full(len(y_true), np.mean(y_true)))
    best = float(history["val_loss"].rolling(predictions.DECLARED_EPOCHS, min_periods=1).mean().min())
    if stop and enough and best < log_loss_prior - TURNED and log_loss > log_loss_prior:
        return _diagnosis(
            "overconfident",
            f"the validation loss fell to {best:.3f} and rose to {log_loss:.3f}, above that of the prior, "
            f"{log_loss_prior:.3f}: its probabilities are too sure",
            "stop when the validation loss turns",
            *stop,
        )
    forget, known = _forget(network, config), last["accuracy_inference"]
    worse = _worse(round(accuracy * n), n, round(known * n_training), n_training)
    if forget and worse and known - accuracy > MEMORISED:
        return _diagnosis(
            "memorising",
            f"{known:.0%} of the training cases are right, {accuracy:.0%} of the validation cases",
            *forget,
        )
    if flipped > FLIPPED:
        return unstable
    others = ",".join(str(fold) for fold in range(folds) if fold not in (val_fold, test_fold))
    command = f"dvc exp run --queue -S val_fold={others} && dvc queue start"
    if not ranks and not enough:
        return Diagnosis(
            "too few cases to tell",
            f"with {n} validation cases a network that knows only its training cases looks like one that has learned",
            "the other folds, whose cases flairprep compare pools",
            command,
        )
    return Diagnosis("fine", "none of the usual faults", "the other folds, to see whether it holds there", command)


def _constant_loss(train_labels: np.ndarray, config: TrainConfig) -> float:
    """Return the training loss of the best constant answer, the entropy of the training labels.

    With balanced weights both labels count the same, so the best constant answer is 0.5.
    """
    share = 0.5 if config.class_weight == "balanced" else np.mean(train_labels)
    return metrics.log_loss(train_labels, np.full(len(train_labels), share))


def _ruined(losses: pd.Series, y_prob: np.ndarray, constant: float) -> bool:
    """Return whether the rate was too high for a network that learned nothing: its loss exploded, or it is restless.

    A ruined network comes back to the loss of a constant answer, so the last loss does not tell. But what is left of it
    moves by the rate in each step: its answers change from epoch to epoch as much as they differ between cases.
    """
    half = y_prob[len(y_prob) // 2 :]
    changes = np.abs(np.diff(half, axis=0)).mean(axis=1)
    restless = bool(changes.size and np.median(changes) > RESTLESS * np.median(np.ptp(half, axis=1)))
    return restless or bool(losses.max() > constant + DIVERGED)


def _flipped(y_prob: np.ndarray) -> float:
    """Return the share of the cases that jump to the other side from epoch to epoch, in the run's second half."""
    half = y_prob[len(y_prob) // 2 :]
    jumps = predictions.flips(half) & (np.abs(np.diff(half, axis=0)) > JUMP)
    return float(jumps.mean()) if jumps.size else 0.0


def _worse(right: int, n: int, of_training: int, n_training: int) -> bool:
    """Return whether fewer of n validation cases are right than of the training cases: Fisher's exact test, LEVEL."""
    table = [[right, n - right], [of_training, n_training - of_training]]
    return bool(scipy.stats.fisher_exact(table, alternative="less").pvalue < LEVEL)


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


def _diagnosis(name: str, reason: str, action: str, *overrides: str) -> Diagnosis:
    settings = " ".join(f"-S '{override}'" if "[" in override else f"-S {override}" for override in overrides)
    return Diagnosis(name, reason, action, f"dvc exp run --temp {settings}")  # which leaves params.yaml alone
