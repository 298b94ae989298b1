"""train: params.yaml reaches the optimizer, the declared network is kept, and a seed gives the same run again."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exports
import keras
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from workspace import write_params

from flairprep.core.errors import FlairprepError
from flairprep.dataset import tf_data
from flairprep.stages import train

LABELS = {0: "0110100", 1: "00101011", 2: "100010"}  # fold -> the labels of its cases
SMALL: dict[str, Any] = {
    "lr": 1e-2,
    "batch_size": 4,
    "epochs": 4,
    "model": {"filters": [4]},
    "train": {"schedule": "constant", "augment": "none"},
}
HEADER = "epoch,case_id,label,probability\n"


def write_export(folder: Path, signal: float, labels: dict[int, str] = LABELS) -> None:
    """Noise in a brain; class 1 has a box that is brighter by `signal`."""
    exports.write_export(folder, labels, lambda rng, label, _: exports.brain(rng, label, signal))


def merged(changed: dict[str, Any]) -> dict[str, Any]:
    both = {**SMALL, **changed}
    return {key: {**SMALL.get(key, {}), **value} if isinstance(value, dict) else value for key, value in both.items()}


def trained(folder: Path, name: str, **changed: Any) -> Path:
    """What main() makes of the export in `folder`, moved to folder/name."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        write_params(folder, **merged(changed))
        train.main()
        return (folder / "data/train").rename(folder / name)


def table(path: Path) -> pd.DataFrame:
    return pd.read_csv(path, dtype={"case_id": str})


def probabilities(export: Path, model: Path | keras.Model, folds: list[int]) -> dict[str, float]:
    """What the model, or the one saved there, says of each case, one at a time."""
    network = keras.models.load_model(model) if isinstance(model, Path) else model
    answers = {}
    for element in tf_data.dataset(export, folds).as_numpy_iterator():
        answer = network(element["image"][np.newaxis].astype(np.float32), training=False)
        answers[element["case_id"].decode()] = float(answer[0, 0])
    return answers


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export of noise, to train in."""
    write_export(tmp_path, signal=0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on noise, once for every monitor. Fold 2 is the test."""
    folder = tmp_path_factory.mktemp("noise")
    write_export(folder, signal=0)
    for monitor in ("val_accuracy", "val_loss", "val_auc"):
        trained(folder, monitor, test_fold=2, train={"monitor": monitor})
    return folder


# What a run leaves behind


@pytest.mark.slow
def test_the_kept_network_gives_the_declared_predictions_of_validation_and_test_cases(noise: Path) -> None:
    every = table(noise / "val_loss/val_predictions.csv")
    declared = every[every["epoch"] > every["epoch"].max() - 3].groupby("case_id")["probability"].mean()
    of_model = probabilities(noise / "data/export", noise / "val_loss/model.keras", [0])
    assert list(declared.index) == sorted(of_model)
    np.testing.assert_allclose(declared, [of_model[case] for case in declared.index], atol=1e-6)
    for _, rows in every.groupby("epoch"):  # no single epoch's
        assert np.abs(rows.set_index("case_id")["probability"] - declared).max() > 1e-4

    test = table(noise / "val_loss/test_predictions.csv")
    of_model = probabilities(noise / "data/export", noise / "val_loss/model.keras", [2])
    assert list(test.columns) == HEADER.strip().split(",")
    assert set(test["epoch"]) == {every["epoch"].max()}
    assert list(test["case_id"]) == list(of_model)
    assert list(test["label"]) == [int(label) for label in LABELS[2]]
    np.testing.assert_allclose(test["probability"], list(of_model.values()), atol=1e-6)


def test_each_network_of_the_mean_is_that_of_its_epoch(noise: Path) -> None:
    every = table(noise / "val_loss/val_predictions.csv")
    mean = keras.models.load_model(noise / "val_loss/model.keras")
    for epoch in (2, 3, 4):
        of_epoch = probabilities(noise / "data/export", mean.get_layer(f"epoch_{epoch}"), [0])
        rows = every[every["epoch"] == epoch]
        np.testing.assert_allclose(rows["probability"], [of_epoch[case] for case in rows["case_id"]], atol=1e-6)


@pytest.mark.parametrize("epochs", [1, 2])
@pytest.mark.slow
def test_fewer_epochs_than_three_are_all_in_the_mean(project: Path, epochs: int) -> None:
    out = trained(project, "out", epochs=epochs)
    declared = table(out / "val_predictions.csv").groupby("case_id")["probability"].mean()
    of_model = probabilities(project / "data/export", out / "model.keras", [0])
    np.testing.assert_allclose(declared, [of_model[case] for case in declared.index], atol=1e-6)


def test_the_same_seed_gives_the_same_bytes_whatever_is_monitored(noise: Path) -> None:
    for name in ("history.csv", "val_predictions.csv", "test_predictions.csv", "model.keras"):
        first, *others = [(noise / monitor / name).read_bytes() for monitor in ("val_accuracy", "val_loss", "val_auc")]
        assert others == [first, first]


def test_history_has_the_epochs_scores(noise: Path) -> None:
    history = pd.read_csv(noise / "val_loss/history.csv")
    assert ",".join(history.columns) == (
        "epoch,accuracy,loss,val_loss,val_accuracy,val_auc,accuracy_inference,learning_rate,nir"
    )
    predictions = table(noise / "val_loss/val_predictions.csv")
    assert list(history["epoch"]) == [1, 2, 3, 4]
    for _, row in history.iterrows():
        rows = predictions[predictions["epoch"] == row["epoch"]]
        assert list(rows["label"]) == [int(label) for label in LABELS[0]]
        labels, p = rows["label"], rows["probability"]
        scores = [log_loss(labels, p), accuracy_score(labels, p > 0.5), roc_auc_score(labels, p), 0.01, 4 / 7]
        columns = ["val_loss", "val_accuracy", "val_auc", "learning_rate", "nir"]
        assert list(row[columns]) == pytest.approx(scores, rel=1e-4)
    last = keras.models.load_model(noise / "val_loss/model.keras").get_layer("epoch_4")
    training = probabilities(noise / "data/export", last, [1])  # neither validation nor test
    right = [(p > 0.5) == (label == "1") for p, label in zip(training.values(), LABELS[1], strict=True)]
    assert history.iloc[3]["accuracy_inference"] == pytest.approx(np.mean(right), rel=1e-4)


@pytest.mark.slow
def test_a_planted_signal_is_fitted_while_the_cosine_goes_to_zero(tmp_path: Path) -> None:
    write_export(tmp_path, signal=8)
    out = trained(tmp_path, "out", epochs=12, seed=2**32 - 1, train={"schedule": "cosine"})
    last = pd.read_csv(out / "history.csv").iloc[-1]
    assert (last["accuracy"], last["accuracy_inference"]) == (1, 1)
    assert last["learning_rate"] == pytest.approx(0, abs=1e-9)
    assert (out / "test_predictions.csv").read_text() == HEADER
    assert sorted(path.name for path in out.iterdir()) == [
        "history.csv",
        "model.keras",
        "test_predictions.csv",
        "val_predictions.csv",
    ]


@pytest.mark.slow
def test_patience_ends_a_run_that_does_not_get_better(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = {"name": "tutorial_cnn", "filters": [2], "norm": "none", "dense": 0}
    out = trained(project, "out", lr=1e-12, epochs=9, model=network, train={"schedule": None, "patience": 3})
    assert list(pd.read_csv(out / "history.csv")["epoch"]) == [1, 2, 3, 4]
    assert table(out / "val_predictions.csv")["epoch"].nunique() == 4
    said = capsys.readouterr()
    assert "4 epochs" in said.out
    assert "train.schedule" in said.err


@pytest.mark.slow
def test_a_loss_that_is_not_a_number_ends_the_run_and_names_lr(project: Path) -> None:
    write_params(project, **merged({"lr": 1e30}))
    with pytest.raises(FlairprepError, match=r"epoch \d+; .*\blr\b.*params\.yaml"):
        train.main()
    assert not (project / "data/train").exists()


@pytest.mark.slow
def test_a_network_that_no_memory_holds_ends_the_run_and_names_what_to_lower(project: Path) -> None:
    write_params(project, **merged({"model": {"dense": 10**13}}))
    with pytest.raises(FlairprepError, match=r"batch_size, model\.filters or select_slices.size"):
        train.main()
    assert not (project / "data/train").exists()


def on_two_devices() -> subprocess.CompletedProcess[str]:
    """The stage in a process that has two logical devices."""
    script = (
        "import flairprep.dataset.tf_setup, tensorflow as tf\n"
        "tf.config.set_visible_devices([], 'GPU')\n"
        "(cpu,) = tf.config.list_physical_devices('CPU')\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from flairprep.network import training\n"
        "from flairprep.stages import train\n"
        "strategy = training.devices(4, 14)\n"
        "print(type(strategy).__name__, strategy.num_replicas_in_sync)\n"
        "train.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.slow
def test_several_devices_train_what_one_does(project: Path) -> None:
    """Batch normalisation, too, is over all of a batch, here of all cases: several devices have another order."""
    network = {"name": "resnet3d", "filters": [4], "norm": "after_conv"}
    changed = {"epochs": 4, "batch_size": 14, "lr": 1e-2, "model": network, "train": {"augment": "none"}}
    alone = table(trained(project, "alone", **changed) / "val_predictions.csv")
    write_params(project, **merged(changed))
    on_two_devices()
    shared = table(project / "data/train/val_predictions.csv")
    assert list(alone["case_id"]) == list(shared["case_id"])
    np.testing.assert_allclose(shared["probability"], alone["probability"], atol=1e-4)
    assert alone["probability"].std() > 1e-3


@pytest.mark.slow
def test_several_devices_share_the_batches_and_every_case_is_predicted_once(project: Path) -> None:
    """The last batches of 14 training and of 7 validation cases cannot be shared evenly."""
    write_params(project, **merged({"epochs": 2}))
    done = on_two_devices()
    assert done.stdout.startswith("MirroredStrategy 2\n")
    out = project / "data/train"
    every = table(out / "val_predictions.csv")
    assert list(every["epoch"]) == [epoch for epoch in (1, 2) for _ in LABELS[0]]
    declared = every.groupby("case_id")["probability"].mean()
    of_model = probabilities(project / "data/export", out / "model.keras", [0])
    assert list(declared.index) == sorted(of_model)
    np.testing.assert_allclose(declared, [of_model[case] for case in declared.index], atol=2e-6)


# What reaches Keras


class ReachedError(Exception):
    """Training was about to begin."""


@pytest.fixture
def reaching(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[keras.Model, dict[str, Any]]]:
    """Runs main() up to the call of fit and gives its model and options; text replaces lines of params.yaml."""
    calls: list[tuple[keras.Model, dict[str, Any]]] = []

    def fit(self: keras.Model, _: Any, **options: Any) -> None:
        calls.append((self, options))
        raise ReachedError

    monkeypatch.setattr(keras.Model, "fit", fit)

    def run(*lines: str, **changed: Any) -> tuple[keras.Model, dict[str, Any]]:
        write_params(project, **merged(changed))
        path = project / "params.yaml"
        for line in lines:
            key = line.partition(":")[0]
            path.write_text(re.sub(rf"^{key}:.*$", line, path.read_text(), count=1, flags=re.MULTILINE))
        with pytest.raises(ReachedError):
            train.main()
        return calls[-1]

    return run


@pytest.mark.parametrize("text", ["1e-05", "3e-4", "1e-4", "0.0001", "1.0e-4", "1E-5", "1"])
def test_the_rate_as_written_arrives_in_the_optimizer(reaching: Callable[..., Any], text: str) -> None:
    network, _ = reaching(f"lr: {text}")
    assert isinstance(network.optimizer, keras.optimizers.Adam)
    assert float(network.optimizer.learning_rate) == pytest.approx(float(text), rel=1e-6)


def test_the_rate_scaled_with_the_batch_size_arrives_in_the_optimizer(reaching: Callable[..., Any]) -> None:
    network, _ = reaching(lr=1e-3, batch_size=16, train={"scale_lr": "sqrt", "reference_batch_size": 4})
    assert float(network.optimizer.learning_rate) == pytest.approx(2e-3, rel=1e-6)


@pytest.mark.parametrize("kind", ["none", "balanced"])
def test_class_weights_are_inverse_to_the_training_cases(reaching: Callable[..., Any], kind: str) -> None:
    _, options = reaching(val_fold=1, train={"class_weight": kind})
    labels = [int(label) for label in LABELS[0] + LABELS[2]]
    expected = dict(enumerate(compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)))
    assert options["class_weight"] == (None if kind == "none" else pytest.approx(expected))
    assert options["epochs"] == SMALL["epochs"]


def test_the_network_starts_at_the_share_of_the_training_cases(reaching: Callable[..., Any]) -> None:
    network, _ = reaching(val_fold=0, test_fold=1)
    share = LABELS[2].count("1") / len(LABELS[2])
    assert network.get_layer("output").bias.numpy() == pytest.approx([np.log(share / (1 - share))], abs=1e-6)


# What is warned of


@pytest.fixture
def band(project: Path) -> Path:
    """What sanity's range test gave."""
    path = project / "reports/sanity.json"
    path.parent.mkdir()
    path.write_text('{"checks": [], "learning_rate": {"low": 1e-05, "high": 0.01}}')
    return path


@pytest.mark.parametrize(
    ("lr", "warned"),
    [(9e-6, "9e-06 is below"), (1e-5, ""), (1e-3, ""), (1e-2, ""), (0.011, "0.011 is above")],
)
def test_a_rate_outside_the_usable_ones_is_warned_of(
    reaching: Callable[..., Any], band: Path, capsys: pytest.CaptureFixture[str], lr: float, warned: str
) -> None:
    reaching(lr=lr)
    said = capsys.readouterr().err
    assert warned in said
    assert ("reports/sanity.json" in said) == bool(warned)


@pytest.mark.parametrize("report", [None, '{"checks": [], "learning_rate": null}'])
def test_without_usable_rates_nothing_is_warned_of(
    reaching: Callable[..., Any], band: Path, capsys: pytest.CaptureFixture[str], report: str | None
) -> None:
    band.unlink() if report is None else band.write_text(report)
    reaching(lr=1e9)
    assert "reports/sanity.json" not in capsys.readouterr().err


def test_the_scaled_rate_is_what_has_to_be_usable(
    reaching: Callable[..., Any], band: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reaching(lr=8e-3, batch_size=8, train={"scale_lr": "linear", "reference_batch_size": 4})
    assert "0.016 is above" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("batch_size", "scale_lr", "warned"), [(4, "none", False), (8, "none", True), (8, "sqrt", False)]
)
def test_a_rate_that_is_meant_for_other_batches_is_warned_of(
    reaching: Callable[..., Any], capsys: pytest.CaptureFixture[str], batch_size: int, scale_lr: str, warned: bool
) -> None:
    reaching(batch_size=batch_size, train={"scale_lr": scale_lr, "reference_batch_size": 4})
    assert ("train.scale_lr" in capsys.readouterr().err) == warned


@pytest.mark.parametrize(("schedule", "warned"), [("exponential", True), ("cosine", False), ("constant", False)])
def test_a_schedule_that_never_fires_is_warned_of(
    reaching: Callable[..., Any], capsys: pytest.CaptureFixture[str], schedule: str, warned: bool
) -> None:
    reaching(train={"schedule": schedule})
    assert ("train.schedule" in capsys.readouterr().err) == warned


# What is refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_fold": 1, "test_fold": 1}, r"params\.yaml: val_fold.* test_fold.* 1"),
        ({"val_fold": 3}, r"params\.yaml: val_fold: 3: .* 0 to 2"),
        ({"test_fold": 9}, r"params\.yaml: test_fold: 9: .* 0 to 2"),
        ({"val_fold": -1}, r"params\.yaml: val_fold: -1: "),
        ({"lr": 0}, r"params\.yaml: lr: 0: "),
        ({"lr": "fast"}, r"params\.yaml: lr: 'fast': "),
        ({"epochs": 0}, r"params\.yaml: epochs: 0: "),
        ({"batch_size": 2.5}, r"params\.yaml: batch_size: 2\.5: "),
        ({"seed": 2**32}, r"params\.yaml: seed: 4294967296: "),
        ({"model": {"filters": [4, 8, 16, 32]}}, r"model\.filters: \[4, 8, 16, 32\]: "),
    ],
)
def test_a_wrong_value_is_refused_by_key_and_value(project: Path, changed: dict[str, Any], message: str) -> None:
    write_params(project, **merged(changed))
    with pytest.raises(FlairprepError, match=message):
        train.main()
    assert not (project / "data/train").exists()


@pytest.mark.parametrize(
    ("labels", "changed", "message"),
    [
        ({0: "01", 1: "10"}, {"test_fold": 1}, r"params\.yaml: test_fold: 1: .*split\.folds"),
        ({0: "01", 1: "11"}, {}, r"training cases .*data/split/split\.csv"),
        (
            {0: "00", 1: "10"},
            {"train": {"monitor": "val_auc"}},
            r"train\.monitor: 'val_auc': .*val_loss",
        ),
    ],
)
def test_folds_that_cannot_be_trained_or_judged_on_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: dict[int, str], changed: dict[str, Any], message: str
) -> None:
    write_export(tmp_path, signal=0, labels=labels)
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, **merged(changed))
    with pytest.raises(FlairprepError, match=message):
        train.main()
