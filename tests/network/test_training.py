"""training: schedules, devices and inference are as asked for."""

import keras
import pytest
import tensorflow as tf

from flairprep.network import training


@pytest.mark.parametrize("steps", [23_400, 100_000, 100_001])
def test_the_exponential_schedule_is_the_tutorials_and_is_warned_of_where_it_never_fires(
    steps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    rate = training.schedule("exponential", 1e-4, steps)
    assert isinstance(rate, keras.optimizers.schedules.ExponentialDecay)
    expected = [1e-4, 1e-4, 0.96e-4, 0.96e-4, 0.96**2 * 1e-4]
    assert [float(rate(step)) for step in (0, 99_999, 100_000, 199_999, 200_000)] == pytest.approx(expected, rel=1e-5)
    fires = float(rate(steps - 1)) < 0.99e-4  # at the last step of the run
    assert ("train.schedule" in capsys.readouterr().err) == (not fires)


def test_cosine_falls_to_zero_and_constant_stays(capsys: pytest.CaptureFixture[str]) -> None:
    rate = training.schedule("cosine", 1e-3, 40)
    assert [float(rate(step)) for step in (0, 20, 40)] == pytest.approx([1e-3, 0.5e-3, 0], abs=1e-9)
    assert training.schedule("constant", 1e-3, 40) == 1e-3
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("there", "batch_size", "cases", "used"),
    [(1, 4, 99, 1), (2, 4, 99, 2), (2, 3, 99, 1), (4, 6, 99, 3), (8, 4, 4, 4), (2, 4, 3, 1), (2, 1, 99, 1)],
)
def test_as_many_devices_are_used_as_share_a_batch_evenly(
    there: int, batch_size: int, cases: int, used: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which of them a strategy takes; the strategy itself runs in a process of its own above."""
    available = [tf.config.LogicalDevice(f"/device:GPU:{index}", "GPU") for index in range(there)]
    monkeypatch.setattr(tf.config, "list_logical_devices", lambda kind: available if kind == "GPU" else [])
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    strategy = training.devices(batch_size, cases)
    single = strategy is tf.distribute.get_strategy()
    assert single == (used == 1)
    assert single or strategy == [device.name for device in available[:used]]
