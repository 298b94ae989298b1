"""train: the values of params.yaml reach the optimizer, the best epoch is kept, and a seed gives the same run again."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.utils.class_weight import compute_class_weight
from workspace import write_params

from flairprep import recipe, tfrecord
from flairprep.errors import FlairprepError
from flairprep.params import load
from flairprep.stages import train

SHAPE = (8, 12, 12, 1)
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
    """Noise around a brain; class 1 has a ball that is brighter by `signal`."""
    out = folder / "data/export"
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    splits = []
    for fold, of_cases in labels.items():
        examples = []
        for index, label in enumerate(of_cases):
            image = np.full(SHAPE, -4.0)
            image[1:7, 2:10, 2:10] = rng.normal(size=(6, 8, 8, 1))
            image[3:5, 4:7, 4:7] += signal * int(label)
            examples.append(tfrecord.encode(image.astype(np.float16), int(label), f"{fold}{index:04d}"))
        splits.append(tfrecord.write_fold(out, fold, examples, len(examples), 3))
    tfrecord.write_info(out, splits, SHAPE)


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


def kept_epoch(predictions: pd.DataFrame, monitor: str) -> int:
    """By scikit-learn: the first epoch that is best."""
    score: Callable[..., float] = {
        "val_accuracy": lambda y, p: accuracy_score(y, p > 0.5),
        "val_loss": lambda y, p: -log_loss(y, p),
        "val_auc": roc_auc_score,
    }[monitor]
    scores = {epoch: score(rows["label"], rows["probability"]) for epoch, rows in predictions.groupby("epoch")}
    return int(max(scores, key=scores.__getitem__))


def probabilities(export: Path, model: Path, folds: list[int]) -> dict[str, float]:
    """What the saved model says of each case, one at a time."""
    network = keras.models.load_model(model)
    found = {}
    for element in tfrecord.dataset(export, folds).as_numpy_iterator():
        answer = network(element["image"][np.newaxis].astype(np.float32), training=False)
        found[element["case_id"].decode()] = float(answer[0, 0])
    return found


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an export of noise, to train in."""
    write_export(tmp_path, signal=0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def noise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run on noise, once for every monitor; only the kept epoch may differ. Fold 2 is the test."""
    folder = tmp_path_factory.mktemp("noise")
    write_export(folder, signal=0)
    for monitor in ("val_accuracy", "val_loss", "val_auc"):
        trained(folder, monitor, test_fold=2, train={"monitor": monitor})
    return folder


# What a run leaves behind


@pytest.mark.parametrize("monitor", ["val_accuracy", "val_loss", "val_auc"])
def test_the_kept_weights_and_the_test_predictions_are_of_the_first_best_epoch(noise: Path, monitor: str) -> None:
    every = table(noise / monitor / "val_predictions.csv")
    kept = kept_epoch(every, monitor)
    rows = every[every["epoch"] == kept]
    of_model = probabilities(noise / "data/export", noise / monitor / "model.keras", [0])
    assert list(rows["case_id"]) == list(of_model)
    np.testing.assert_allclose(rows["probability"], list(of_model.values()), atol=2e-6)
    for epoch in set(every["epoch"]) - {kept}:
        other = every.loc[every["epoch"] == epoch, "probability"]
        assert np.abs(other.to_numpy() - rows["probability"].to_numpy()).max() > 1e-4

    test = table(noise / monitor / "test_predictions.csv")
    of_model = probabilities(noise / "data/export", noise / monitor / "model.keras", [2])
    assert list(test.columns) == HEADER.strip().split(",")
    assert set(test["epoch"]) == {kept}
    assert list(test["case_id"]) == list(of_model)
    assert list(test["label"]) == [int(label) for label in LABELS[2]]
    np.testing.assert_allclose(test["probability"], list(of_model.values()), atol=2e-6)


def test_the_same_seed_gives_the_same_history_and_predictions(noise: Path) -> None:
    for name in ("history.csv", "val_predictions.csv"):
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
    kept = history.iloc[kept_epoch(predictions, "val_loss") - 1]
    training = probabilities(noise / "data/export", noise / "val_loss/model.keras", [1])  # neither validation nor test
    right = [(p > 0.5) == (label == "1") for p, label in zip(training.values(), LABELS[1], strict=True)]
    assert kept["accuracy_inference"] == pytest.approx(np.mean(right), rel=1e-4)


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


def test_patience_ends_a_run_that_does_not_get_better(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network = {"name": "question_cnn", "filters": [2], "norm": "none", "dense": 0}
    out = trained(project, "out", lr=1e-12, epochs=9, model=network, train={"schedule": None, "patience": 2})
    assert list(pd.read_csv(out / "history.csv")["epoch"]) == [1, 2, 3]
    assert table(out / "val_predictions.csv")["epoch"].nunique() == 3
    said = capsys.readouterr()
    assert "3 epochs, the weights of epoch 1 kept (best val_accuracy)" in said.out
    assert "the rate stays constant" in said.err


def test_a_loss_that_is_not_a_number_ends_the_run_and_names_lr(project: Path) -> None:
    write_params(project, **merged({"lr": 1e30}))
    with pytest.raises(FlairprepError, match=r"train: the loss is not a number in epoch \d+; lower lr"):
        train.main()
    assert not (project / "data/train").exists()


def test_several_devices_share_the_batches_and_every_case_is_predicted_once(project: Path) -> None:
    """The last batches of 14 training and of 7 validation cases cannot be shared evenly."""
    write_params(project, **merged({"epochs": 2}))
    script = (
        "import flairprep.backend, tensorflow as tf\n"
        "tf.config.set_visible_devices([], 'GPU')\n"
        "(cpu,) = tf.config.list_physical_devices('CPU')\n"
        "tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)\n"
        "from flairprep.stages import train\n"
        "strategy = train.devices(4, 14)\n"
        "print(type(strategy).__name__, strategy.num_replicas_in_sync)\n"
        "train.main()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("MirroredStrategy 2\n")
    out = project / "data/train"
    every = table(out / "val_predictions.csv")
    assert list(every["epoch"]) == [epoch for epoch in (1, 2) for _ in LABELS[0]]
    rows = every[every["epoch"] == kept_epoch(every, "val_loss")]
    of_model = probabilities(project / "data/export", out / "model.keras", [0])
    assert list(rows["case_id"]) == list(of_model)
    np.testing.assert_allclose(rows["probability"], list(of_model.values()), atol=2e-6)


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


# The schedules


def recipe_with(**changed: Any) -> recipe.Recipe:
    return recipe.Recipe(**{**recipe.RECIPES["resnet3d"], "reference_batch_size": 4, **changed})


@pytest.mark.parametrize("steps", [23_400, 100_000, 100_001])
def test_the_exponential_schedule_is_the_questions_and_is_warned_of_where_it_never_fires(
    steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = train.schedule(recipe_with(schedule="exponential"), 1e-4, steps)
    assert isinstance(rate, keras.optimizers.schedules.ExponentialDecay)
    expected = [1e-4, 1e-4, 0.96e-4, 0.96e-4, 0.96**2 * 1e-4]
    assert [float(rate(step)) for step in (0, 99_999, 100_000, 199_999, 200_000)] == pytest.approx(expected, rel=1e-5)
    fires = float(rate(steps - 1)) < 0.99e-4  # at the last step of the run
    assert ("the rate stays constant" in capsys.readouterr().err) == (not fires)


def test_cosine_falls_to_zero_and_constant_stays(capsys: pytest.CaptureFixture[str]) -> None:
    rate = train.schedule(recipe_with(schedule="cosine"), 1e-3, 40)
    assert [float(rate(step)) for step in (0, 20, 40)] == pytest.approx([1e-3, 0.5e-3, 0], abs=1e-9)
    assert train.schedule(recipe_with(schedule="constant"), 1e-3, 40) == 1e-3
    assert capsys.readouterr().err == ""


# Augmentation


def numbered(edge: int = 20) -> np.ndarray:
    """Every voxel has its own value; the corner's is -4."""
    volume = np.arange(edge**3, dtype=np.float32).reshape(edge, edge, edge, 1)
    volume[0, 0, 0, 0] = -4
    return volume


def drawn(kind: str, count: int) -> list[np.ndarray]:
    volume = tf.constant(numbered())
    return [train.augmented(volume, np.array([seed, 7]), kind).numpy() for seed in range(count)]


def moved(volume: np.ndarray, by: tuple[int, ...]) -> np.ndarray:
    """`volume` by as many voxels along z, y, x, with its corner's value where nothing came in."""
    found = np.full_like(volume, volume[0, 0, 0, 0])
    to = tuple(slice(max(d, 0), n + min(d, 0)) for d, n in zip(by, volume.shape, strict=False))
    source = tuple(slice(max(-d, 0), n + min(-d, 0)) for d, n in zip(by, volume.shape, strict=False))
    found[to] = volume[source]
    return found


def test_no_augmentation_leaves_the_volume() -> None:
    np.testing.assert_array_equal(drawn("none", 1)[0], numbered())


def test_a_flip_mirrors_left_and_right_alone_in_about_half_of_the_cases() -> None:
    volumes = drawn("flip", 60)
    mirrored = [bool((volume != numbered()).any()) for volume in volumes]
    for volume, flipped in zip(volumes, mirrored, strict=True):
        np.testing.assert_array_equal(volume, numbered()[:, :, ::-1] if flipped else numbered())
    np.testing.assert_array_equal(drawn("flip", 60), volumes)
    assert 15 < sum(mirrored) < 45


@pytest.mark.parametrize("kind", ["shift", "flip_shift"])
def test_a_shift_moves_by_up_to_6_voxels_each_way_and_fills_with_the_corner(kind: str) -> None:
    shifts, flips = [], []
    for volume in drawn(kind, 100):
        row = volume[10, 10, :, 0]
        flipped = bool(row[11] < row[10])
        start = numbered()[:, :, ::-1] if flipped else numbered()
        (was,) = np.argwhere(start[..., 0] == volume[10, 10, 10, 0])
        by = tuple(10 - was)
        np.testing.assert_array_equal(volume, moved(start, by))
        shifts.append(by)
        flips.append(flipped)
    for axis in range(3):
        assert {min(by[axis] for by in shifts), max(by[axis] for by in shifts)} == {-6, 6}
    assert np.abs(np.corrcoef(np.transpose(shifts)) - np.eye(3)).max() < 0.4
    assert any(flips) == (kind == "flip_shift")


# The batches


def batches(folds: list[int], seed: int, epochs: int, **changed: Any) -> list[list[tuple[np.ndarray, np.ndarray]]]:
    """`epochs` passes over the batches of a run with `seed`."""
    write_params(Path(), **merged({"seed": seed}))
    dataset = train.training_batches(folds, load(train.Run), recipe_with(**changed))
    return [list(dataset.as_numpy_iterator()) for _ in range(epochs)]


def flat(epoch: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
    return b"".join(images.tobytes() + labels.tobytes() for images, labels in epoch)


def test_an_epoch_has_every_training_case_once_with_its_label(project: Path) -> None:
    (epoch,) = batches([1, 2], 0, 1, augment="none")
    assert [len(labels) for _, labels in epoch] == [4, 4, 4, 2]
    pairs = (pair for batch in epoch for pair in zip(*batch, strict=True))
    found = sorted((image.tobytes(), int(label)) for image, label in pairs)
    expected = [
        (element["image"].astype(np.float32).tobytes(), int(element["label"]))
        for element in tfrecord.dataset(train.EXPORT, [1, 2]).as_numpy_iterator()
    ]
    assert found == sorted(expected)


def test_whole_batches_leave_other_cases_out_in_every_epoch(project: Path) -> None:
    write_params(project, **SMALL)
    dataset = train.training_batches([1, 2], load(train.Run), recipe_with(augment="none"), whole=True)
    epochs = [list(dataset.as_numpy_iterator()) for _ in range(4)]
    assert [[len(labels) for _, labels in epoch] for epoch in epochs] == [[4, 4, 4]] * 4
    assert dataset.cardinality() == 3
    assert len({frozenset(image.tobytes() for images, _ in epoch for image in images) for epoch in epochs}) > 1


@pytest.mark.parametrize("augment", ["none", "flip_shift"])
def test_batches_come_again_with_the_seed_and_differ_between_epochs_and_seeds(project: Path, augment: str) -> None:
    first = [flat(epoch) for epoch in batches([1, 2], 5, 3, augment=augment)]
    assert first == [flat(epoch) for epoch in batches([1, 2], 5, 3, augment=augment)]
    assert len({*first, *(flat(epoch) for epoch in batches([1, 2], 6, 3, augment=augment))}) == 6


def test_a_case_is_augmented_anew_in_every_epoch_and_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_export(tmp_path, signal=0, labels={0: "1"})
    monkeypatch.chdir(tmp_path)
    first = [flat(epoch) for epoch in batches([0], 0, 5, augment="shift")]
    assert len(set(first)) > 1
    assert first != [flat(epoch) for epoch in batches([0], 1, 5, augment="shift")]


# What is refused


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"val_fold": 1, "test_fold": 1}, r"params\.yaml: val_fold and test_fold are both 1"),
        ({"val_fold": 3}, r"params\.yaml: val_fold: 3: the data set has the folds 0 to 2"),
        ({"test_fold": 9}, r"params\.yaml: test_fold: 9: the data set has the folds 0 to 2"),
        ({"val_fold": -1}, r"params\.yaml: val_fold: -1: "),
        ({"lr": 0}, r"params\.yaml: lr: 0: "),
        ({"lr": "fast"}, r"params\.yaml: lr: 'fast': "),
        ({"epochs": 0}, r"params\.yaml: epochs: 0: "),
        ({"batch_size": 2.5}, r"params\.yaml: batch_size: 2\.5: "),
        ({"seed": 2**32}, r"params\.yaml: seed: 4294967296: "),
        ({"model": {"filters": [4, 8, 16, 32]}}, r"model\.filters: .*give fewer filters"),
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
        ({0: "01", 1: "10"}, {"test_fold": 1}, r"test_fold: 1: no fold is left to train on"),
        ({0: "01", 1: "11"}, {}, r"all training cases have one label"),
        (
            {0: "00", 1: "10"},
            {"train": {"monitor": "val_auc"}},
            r"train\.monitor: 'val_auc': .*one label; use val_loss",
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


@pytest.mark.parametrize(
    ("there", "batch_size", "cases", "used"),
    [(1, 4, 99, 1), (2, 4, 99, 2), (2, 3, 99, 1), (4, 6, 99, 3), (8, 4, 4, 4), (2, 4, 3, 1), (2, 1, 99, 1)],
)
def test_as_many_devices_are_used_as_share_a_batch_evenly(
    there: int, batch_size: int, cases: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them a strategy takes; the strategy itself runs in a process of its own above."""
    found = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(there)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: found if kind == "GPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    strategy = train.devices(batch_size, cases)
    single = strategy is tf.distribute.get_strategy()
    assert single == (used == 1)
    assert single or strategy == [device.name for device in found[:used]]
