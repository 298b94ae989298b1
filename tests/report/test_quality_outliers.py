"""Outliers in quality: both directions, and none where there is nothing to compare with."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flairprep.imaging.quality import Quality
from flairprep.report import quality, ratings


def cohort(snrs: list[float], **others: list[float]) -> dict[str, Quality]:
    """Cases 00, 01, ... with these values."""
    return {
        f"{index:02d}": Quality(snr=snr, **{name: values[index] for name, values in others.items()})
        for index, snr in enumerate(snrs)
    }


def test_z_is_the_distance_in_robust_deviations() -> None:
    values = [float(value) for value in range(1, 22)]  # median 11, absolute deviations 0, 1, 1, ... 10, 10: median 5
    assert quality.robust_z(values) == pytest.approx([0.6745 * (value - 11) / 5 for value in values])


def test_a_planted_outlier_is_found_on_either_side() -> None:
    steady = np.random.default_rng(0).normal(20, 1, 40).tolist()
    low, high = [*steady, 5.0], [*steady, 35.0]
    for snrs, text in ((low, "SNR low (worse"), (high, "SNR high (better")):
        (found,) = quality.compare(cohort(snrs))["40"].outliers
        assert found.measure == "snr"
        assert found.text.startswith(text)
    assert sum(bool(case.outliers) for case in quality.compare(cohort(low)).values()) == 1


def test_of_the_entropy_low_is_better() -> None:
    steady = np.random.default_rng(0).normal(0.5, 0.01, 20).tolist()
    compared = quality.compare(cohort([20.0] * 22, efc=[*steady, 0.3, 0.7]))
    assert [compared[case].outliers[0].text.split(",")[0] for case in ("20", "21")] == [
        "EFC low (better",
        "EFC high (worse",
    ]


@pytest.mark.parametrize("snrs", [[1.0] * 8 + [99.0], [1.0] * 30 + [99.0], []])
def test_too_few_or_equal_values_have_no_outlier(snrs: list[float]) -> None:
    assert not any(case.outliers for case in quality.compare(cohort(snrs)).values())


def test_a_measure_that_is_undefined_takes_no_part(tmp_path: Path) -> None:
    measured = cohort([20.0, 21.0, 19.0] * 5) | {"15": Quality(), "16": Quality(snr=1.0, cnr=2.0)}
    compared = quality.compare(measured)
    assert compared["15"].shown == {}
    quality.write(compared, tmp_path)
    table = pd.read_csv(tmp_path / "quality.csv", dtype=str, keep_default_na=False)
    assert table.columns.tolist() == ["case_id", "snr", "snrd", "cnr", "fber", "efc", "outliers"]
    assert table.loc[15].tolist() == ["15", "", "", "", "", "", ""]
    assert table.loc[16].tolist() == ["16", "1.0", "", "2.0", "", "", "snr -12.82"]  # 0.6745 * -19 / 1


def test_ratings_belong_to_the_scans_whatever_became_of_them() -> None:
    raw, later = [("data/raw/train", "a")], [("data/raw/train", "a"), ("data/ingest", "b")]
    key = ratings.key("cohort", ["1", "2"], raw)
    assert key == ratings.key("cohort", ["2", "1"], later)
    others = [
        ("other", ["1", "2"], raw),
        ("cohort", ["1", "3"], raw),
        ("cohort", ["1", "2"], [("data/raw/train", "c")]),
    ]
    assert key not in {ratings.key(*one) for one in others}
