"""suite: on a small export, a fault of the network fails its check, and nothing else does."""

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import exports
import keras
import numpy as np
import pytest
from heads import draw

from flairprep.core.errors import FlairprepError
from flairprep.dataset import tf_data
from flairprep.dataset.shards import read_info
from flairprep.network import input_pipeline, model
from flairprep.network.model_config import ModelParams
from flairprep.sanity import rate_checks, suite, tensor_summary
from flairprep.sanity.check import Check
from flairprep.sanity.network_checks import Budget
from flairprep.sanity.trial import Trial

LABELS = {0: "01101", 1: "00101", 2: "10010"}  # fold -> the labels of its cases
PRIOR = 7 / 15


def export(folder: Path, labels: dict[int, str] = LABELS) -> Path:
    """A small data/export in `folder`."""
    exports.write_export(folder, labels, draw)
    return folder / "data/export"


def section(**changed: Any) -> ModelParams:
    return ModelParams(**{**dict.fromkeys(ModelParams.model_fields), "name": "resnet3d", "filters": [8, 16], **changed})


def by_verdict(checks: list[Check], verdict: str) -> set[str]:
    return {check.name for check in checks if check.verdict == verdict}


def planted(fault: str) -> Callable[..., keras.Model]:
    """model.build with a fault."""
    sound = model.build

    def build(*arguments: Any, **options: Any) -> keras.Model:
        network = sound(*arguments, **options)
        match fault:
            case "frozen":
                network.get_layer("conv2b").trainable = False
            case "biased":
                network.layers[-1].bias.assign([5.0])
            case "unseeded":
                network.layers[-1].bias.assign_add(np.random.default_rng().normal(scale=0.01, size=1))
        return network

    return build


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "failed"),
    [("frozen", {"layers"}), ("biased", {"output bias", "initial loss"}), ("unseeded", {"repeatable"})],
)
def test_a_fault_of_the_network_fails_its_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, failed: set[str]
) -> None:
    monkeypatch.setattr(model, "build", planted(fault))
    checks, _ = suite.of_network(export(tmp_path), section(), PRIOR, 0)
    assert by_verdict(checks, "fail") >= failed


def test_batches_that_differ_between_two_starts_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound, seeds = input_pipeline.training_batches, iter(range(100))

    def unseeded(*arguments: Any, **options: Any) -> Callable[[Any], Any]:
        return sound(*arguments, **{**options, "seed": next(seeds)})

    monkeypatch.setattr(input_pipeline, "training_batches", unseeded)
    checks, _ = suite.of_network(export(tmp_path), section(), PRIOR, 0)
    assert "repeatable" in by_verdict(checks, "fail")


@pytest.mark.slow
def test_a_momentum_that_lags_fails_where_it_was_chosen(tmp_path: Path) -> None:
    checks, _ = suite.of_network(export(tmp_path), section(norm_momentum=0.99), PRIOR, 0)
    assert "overfit, inference" in by_verdict(checks, "fail")


def test_the_tutorials_own_batch_norm_and_checks_without_time_are_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    multiply_adds = suite.multiply_adds
    monkeypatch.setattr(suite, "multiply_adds", lambda network: 180_000 * multiply_adds(network))
    tutorial = section(name="tutorial_cnn", filters=[4, 4], dense=4)
    checks, band = suite.of_network(export(tmp_path), tutorial, PRIOR, 0)
    assert by_verdict(checks, "warn") >= {"overfit, inference", "capacity", "learning rate"}
    assert not by_verdict(checks, "fail")
    capacity = next(check for check in checks if check.name == "capacity")
    assert (capacity.value, capacity.threshold) == (None, None)  # not run
    assert band is None


def test_a_batch_norm_of_ones_own_is_not_to_the_letter() -> None:
    assert suite.to_the_letter(section(name="tutorial_cnn"))
    assert suite.to_the_letter(section(name="tutorial_cnn", norm="after_pool", norm_momentum=0.99))
    assert not suite.to_the_letter(section(name="tutorial_cnn", norm_momentum=0.999))
    assert not suite.to_the_letter(section(name="tutorial_cnn", norm="after_conv"))
    assert not suite.to_the_letter(section(name="resnet3d", norm="after_pool", norm_momentum=0.99))


def test_cases_of_both_labels_are_drawn_in_turn(tmp_path: Path) -> None:
    directory = export(tmp_path, {0: "0111011", 1: "1111"})
    images, labels = suite.drawn(directory, 0, np.asarray)
    assert list(labels) == [0, 1, 0, 1]
    stored = tf_data.dataset(directory).as_numpy_iterator()
    label_of = {case["image"].astype(np.float32).tobytes(): case["label"] for case in stored}
    assert [label_of[image.tobytes()] for image in images] == [0, 1, 0, 1]
    assert images.shape[1:] == read_info(directory).image_shape


def test_one_label_alone_is_refused_with_the_folder(tmp_path: Path) -> None:
    directory = export(tmp_path, {0: "111"})
    with pytest.raises(FlairprepError, match=str(directory)):
        suite.of_network(directory, section(), 1.0, 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, rate_checks.OverBudgetError])
def test_what_ends_one_network_ends_the_runs_of_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    left: list[int] = []

    def goes_on(trial: Trial, budget: Budget, *_: Any) -> None:
        end = time.monotonic() + 60
        while budget.left and time.monotonic() < end:
            time.sleep(0.01)
        left.append(budget.left)

    def ended(*_: Any) -> Any:
        raise error

    monkeypatch.setattr(rate_checks, "fresh_runs", goes_on)
    monkeypatch.setattr(rate_checks, "range_test", ended)
    with suppress(KeyboardInterrupt):
        _, band = suite.of_network(export(tmp_path), section(), PRIOR, 0)
        assert error is rate_checks.OverBudgetError
        assert band is None
    assert left == [0]


@pytest.mark.parametrize("count", [1, 2, 100])
def test_every_case_is_summarised_once_with_its_label_and_fold(tmp_path: Path, count: int) -> None:
    directory = export(tmp_path)
    parts = tensor_summary.parts(directory, count)
    assert len(parts) <= count
    assert all(parts)
    cases = [case for part in parts for case in tensor_summary.summaries(part, directory=directory)]
    assert [(case.case_id, case.label, case.fold) for case in cases] == [
        (f"{fold}{index:04d}", int(label), fold)
        for fold, labels in LABELS.items()
        for index, label in enumerate(labels)
    ]
