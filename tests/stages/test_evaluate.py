"""The verdict on planted predictions, and every number of metrics.json against scikit-learn and scipy."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binomtest
from sklearn import metrics as sk
from tables import get_json, put
from workspace import contents, write_params

from flairprep.core.errors import FlairprepError
from flairprep.evaluation import diagnosis
from flairprep.network import model_config, train_config
from flairprep.stages import evaluate

KEYS = {
    *("accuracy", "accuracy_low", "accuracy_high", "auc", "auc_low", "auc_high", "log_loss", "log_loss_prior", "brier"),
    *("nir", "p_nir", "predicted_positive", "best_accuracy", "best_epoch", "p_selection", "p_within"),
    *(
        "n",
        "verdict",
        "diagnosis",
        "declared_epochs",
        "better_than_nir",
        "p_auc",
        "leaked",
        "auc_without_leaks",
        "p_without_leaks",
    ),
    *("spread", "prevalence"),
    *(
        f"{name}{end}"
        for name in (
            *("sensitivity", "specificity", "balanced_accuracy", "mcc", "average_precision"),
            *("calibration_intercept", "calibration_slope", "ppv", "npv"),
        )
        for end in ("", "_low", "_high")
    ),
}
TEST_KEYS = {"test_accuracy", "test_auc", "test_auc_low", "test_auc_high", "test_p_nir"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def long(y_true: np.ndarray, y_prob: np.ndarray) -> pd.DataFrame:
    """The table of predictions as train writes it."""
    epochs, n = y_prob.shape
    return pd.DataFrame(
        {
            "epoch": np.repeat(np.arange(1, epochs + 1), n),
            "case_id": [f"{case:05d}" for case in range(n)] * epochs,
            "label": np.tile(y_true, epochs),
            "probability": y_prob.ravel(),
        }
    )


def history(epochs: int) -> pd.DataFrame:
    """Of a run in which nothing moves."""
    columns = {"loss": 0.6, "accuracy": 0.8, "val_loss": 0.6, "val_accuracy": 0.7, "accuracy_inference": 0.8}
    return pd.DataFrame({"epoch": range(1, epochs + 1), **columns})


def run(
    y_true: np.ndarray,
    y_prob: np.ndarray,
    test: pd.DataFrame | None = None,
    groups: list[str] | None = None,
    strata: dict[str, str] | None = None,
    leaks: list[str] | None = None,
    **changes: Any,
) -> dict[str, Any]:
    """What metrics.json holds after `main`."""
    rows = long(y_true, y_prob)
    put("data/train/val_predictions.csv", rows.sample(frac=1, random_state=0).to_csv(index=False))
    put("data/train/test_predictions.csv", (rows[:0] if test is None else test).to_csv(index=False))
    ids = rows["case_id"].unique()
    split = pd.DataFrame({"case_id": ids, "label": y_true, "group": ids if groups is None else groups, "fold": 0})
    sexes = np.where(np.arange(len(ids)) % 4 < 2, "F", "M")
    cases = pd.DataFrame({"case_id": ids, "plane": "axial", "manufacturer": "SIEMENS", "sex": sexes})
    put("data/ingest/cases.csv", cases.to_csv(index=False))
    put("data/train/history.csv", history(len(y_prob)).to_csv(index=False))
    if strata is not None or leaks is not None:
        items = [{"name": "near-duplicates", "verdict": "leak", "cases": leaks}] * (leaks is not None)
        put("reports/audit.json", json.dumps({"items": items, "baselines": [], "strata": strata or {}}))
    others = pd.DataFrame(
        {"case_id": [f"{90000 + n}" for n in range(20)], "label": [1, 0] * 10, "fold": [1, 2, 2, 1] * 5}
    )
    others["group"] = others["case_id"]
    put("data/split/split.csv", pd.concat([others, split]).sample(frac=1, random_state=1).to_csv(index=False))
    write_params(Path(), **changes | {"evaluate": {"permutations": 199} | changes.get("evaluate", {})})
    evaluate.main()
    return get_json("reports/metrics.json")


def noise(seed: int, epochs: int = 6, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.permutation(np.arange(n) % 5 < 2).astype(int), rng.uniform(size=(epochs, n)).round(6)


def planted(seed: int = 0, epochs: int = 6, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Predictions that are right in nine of ten cases."""
    y_true, y_prob = noise(seed, epochs, n)
    sure = 0.5 + np.where(np.arange(n) % 10 == 0, -0.3, 0.3) * (2 * y_true - 1)
    return y_true, (sure + 0.2 * (y_prob - 0.5)).round(6)


@pytest.mark.parametrize("epochs", [1, 2, 3, 8])
@pytest.mark.parametrize("make", [noise, planted])
def test_every_number_equals_a_direct_computation(make: Any, epochs: int) -> None:
    y_true, y_prob = make(1, epochs)
    measures = run(y_true, y_prob, train={"monitor": "val_accuracy"})
    assert set(measures) == KEYS
    assert next(iter(measures)) == "verdict"  # so that it is the first column of dvc exp show
    mean = y_prob[max(0, epochs - 3) :].mean(axis=0)
    n, correct, nir = len(y_true), int(((mean > 0.5) == y_true).sum()), 1 - y_true.mean()
    accuracies = [sk.accuracy_score(y_true, row > 0.5) for row in y_prob]
    exact = binomtest(correct, n).proportion_ci(method="exact")
    expected = {
        "accuracy": correct / n,
        "accuracy_low": exact.low,
        "accuracy_high": exact.high,
        "auc": sk.roc_auc_score(y_true, mean),
        "log_loss": sk.log_loss(y_true, mean),
        "log_loss_prior": sk.log_loss(y_true, np.full(n, y_true.mean())),
        "brier": sk.brier_score_loss(y_true, mean),
        "nir": nir,
        "p_nir": binomtest(correct, n, nir, alternative="greater").pvalue,
        "predicted_positive": (mean > 0.5).mean(),
        "sensitivity": sk.recall_score(y_true, mean > 0.5),
        "specificity": sk.recall_score(1 - y_true, mean <= 0.5),
        "balanced_accuracy": sk.balanced_accuracy_score(y_true, mean > 0.5),
        "mcc": sk.matthews_corrcoef(y_true, mean > 0.5),
        "average_precision": sk.average_precision_score(y_true, mean),
        "ppv": sk.precision_score(y_true, mean > 0.5),
        "npv": sk.precision_score(1 - y_true, mean <= 0.5),
        "prevalence": y_true.mean(),
        "spread": np.ptp(mean),
        "best_accuracy": max(accuracies),
        "best_epoch": accuracies.index(max(accuracies)) + 1,
        "n": n,
    }
    assert {key: measures[key] for key in expected} == pytest.approx(expected, abs=1e-6)
    assert measures["auc_low"] < measures["auc"] < measures["auc_high"]
    for p in ("p_selection", "p_auc"):
        assert (measures[p] * 200) % 1 == pytest.approx(0, abs=1e-3)  # (1 + b) / (1 + 199)
    assert measures["better_than_nir"] == (measures["p_nir"] < 0.05)


def test_selected_and_declared_numbers_are_kept_apart() -> None:
    y_true, y_prob = noise(0, epochs=6)
    before = run(y_true, y_prob, train={"monitor": "val_accuracy"})
    y_prob[1] = 0.2 + 0.6 * y_true  # the second epoch is perfect, the last three are noise
    after = run(y_true, y_prob, train={"monitor": "val_accuracy"})
    selected = {"best_accuracy", "best_epoch", "p_selection"}
    assert {key: after[key] for key in KEYS - selected} == {key: before[key] for key in KEYS - selected}
    assert (after["best_accuracy"], after["best_epoch"], after["p_selection"]) == (1, 2, 1 / 200)
    assert after["verdict"] == "no evidence", "a lucky epoch is no verdict"
    assert after["accuracy"] < 0.7


@pytest.mark.parametrize("seed", range(3))
def test_learned_and_no_evidence(seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    learned = run(*planted(seed))
    assert learned["verdict"] == "learned"
    assert learned["p_auc"] == 1 / 200
    assert "verdict: learned: " in capsys.readouterr().out
    nothing = run(*noise(seed))
    assert nothing["verdict"] == "no evidence"
    assert nothing["p_auc"] >= 0.05
    said = capsys.readouterr().out
    assert "verdict: no evidence: " in said
    assert "40 validation cases can show a true AUC of " in said


def test_alpha_is_the_line_between_the_two_verdicts() -> None:
    y_true, y_prob = noise(2)
    p = run(y_true, y_prob)["p_auc"]
    assert 0.01 < p < 0.49
    assert run(y_true, y_prob, evaluate={"alpha": p})["verdict"] == "no evidence"
    assert run(y_true, y_prob, evaluate={"alpha": p + 0.001})["verdict"] == "learned"


@pytest.mark.parametrize("side", [0, 1])
def test_what_ranks_on_one_side_of_the_threshold_has_learned(side: int, capsys: pytest.CaptureFixture[str]) -> None:
    y_true, y_prob = planted()
    y_prob = np.concatenate([y_prob, 0.4 * y_prob[-3:] + 0.6 * side])  # the last three epochs lie on one side
    measures = run(y_true, y_prob, train={"monitor": "val_accuracy"})
    assert (measures["verdict"], measures["predicted_positive"]) == ("learned (threshold off)", side)
    assert measures["accuracy"] == pytest.approx(y_true.mean() if side else 1 - y_true.mean())
    assert measures["auc"] > 0.8
    assert "threshold" in capsys.readouterr().out
    notes = pd.read_csv("reports/evaluate/probability.csv")["note"].unique().tolist()
    assert notes == [f"constant prediction: all {side}"]


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_without_evidence_is_a_constant_prediction(side: int) -> None:
    y_true, y_prob = noise(0)
    assert run(y_true, 0.4 * y_prob + 0.6 * side)["verdict"] == "constant prediction"


def test_probabilities_that_hardly_vary_are_a_constant_prediction_whatever_their_order() -> None:
    y_true, y_prob = planted()
    measures = run(y_true, 0.5 + 0.009 * (y_prob - 0.5))
    assert (measures["verdict"], measures["p_auc"]) == ("constant prediction", 1 / 200)


def test_a_network_can_rank_and_be_no_more_accurate_than_the_larger_class() -> None:
    """One label in five: a calibrated network calls nearly all cases 0."""
    rng = np.random.default_rng(0)
    y_true = (np.arange(100) % 5 == 0).astype(int)
    y_prob = np.clip(0.2 + 0.15 * (y_true - 0.2) + rng.normal(0, 0.12, (3, 100)).mean(axis=0), 0.01, 0.6)
    measures = run(y_true, np.tile(y_prob, (3, 1)).round(6))
    assert measures["p_auc"] < 0.05
    assert not measures["better_than_nir"]
    assert measures["verdict"] in ("learned", "learned (threshold off)")


def test_a_leak_that_makes_the_result_is_in_the_verdict(capsys: pytest.CaptureFixture[str]) -> None:
    """Half of the validation cases lie in training folds too: the network knows them by heart, and nothing else."""
    y_true, y_prob = noise(1, n=40)
    y_prob[:, :20] = 0.2 + 0.6 * y_true[:20]
    names = [f"{case:05d}" for case in range(20)]
    measures = run(y_true, y_prob, leaks=[*names, "90000"])
    assert (measures["verdict"], measures["leaked"]) == ("learned (leak)", 20)
    assert measures["p_auc"] < 0.05 <= measures["p_without_leaks"]
    declared = y_prob[-3:].mean(axis=0)
    assert measures["auc_without_leaks"] == pytest.approx(sk.roc_auc_score(y_true[20:], declared[20:]), abs=1e-6)
    assert "split.group_column" in capsys.readouterr().out
    assert run(*planted(), leaks=names)["verdict"] == "learned", "it stands without them"
    untouched = run(*planted(), leaks=["90000"])
    assert (untouched["leaked"], untouched["p_without_leaks"]) == (0, None)
    assert run(*planted(), leaks=[f"{case:05d}" for case in range(40)])["verdict"] == "learned (leak)"


@pytest.mark.parametrize(("alpha", "least"), [(0.01, 100), (0.005, 200)])
def test_permutations_that_cannot_reach_alpha_are_refused(alpha: float, least: int) -> None:
    with pytest.raises(FlairprepError, match=rf"evaluate: permutations: 99: .* {least} or more"):
        run(*planted(), evaluate={"alpha": alpha, "permutations": 99})
    assert run(*planted(), evaluate={"alpha": alpha, "permutations": least})["verdict"] == "learned"


def test_predictive_values_are_those_of_the_prevalence_given() -> None:
    here, rare = run(*planted()), run(*planted(), evaluate={"prevalence": 0.05})
    assert rare["ppv"] < here["ppv"]
    assert rare["npv"] > here["npv"]
    assert rare["sensitivity"] == here["sensitivity"]


def test_the_same_probability_for_every_case() -> None:
    measures = run(np.arange(20) % 2, np.full((4, 20), 0.5))  # exactly 0.5 predicts 0
    assert (measures["verdict"], measures["predicted_positive"]) == ("constant prediction", 0)
    assert (measures["auc"], measures["p_auc"], measures["accuracy"]) == (0.5, 1, 0.5)


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("monitor", ["val_loss", "val_accuracy"])
def test_a_fold_of_one_label_has_no_auc(label: int, monitor: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, y_prob = noise(0)
    measures = run(np.full(40, label), y_prob, train={"monitor": monitor})
    assert set(measures) == KEYS
    assert measures["auc"] is measures["auc_low"] is measures["auc_high"] is None
    assert (measures["nir"], measures["p_auc"], measures["verdict"]) == (1, 1, "no evidence")
    assert measures["log_loss_prior"] == pytest.approx(0, abs=1e-6)
    assert "no AUC (one label only)" in capsys.readouterr().out
    assert pd.read_csv("reports/evaluate/roc.csv").empty


def test_one_case_of_a_label_has_an_auc_with_a_wide_interval() -> None:
    measures = run(np.repeat([0, 1], (9, 1)), noise(0, n=10)[1])
    assert measures["auc_low"] < measures["auc"] < measures["auc_high"]
    assert measures["auc_high"] - measures["auc_low"] > 0.4


def test_scans_of_a_patient_are_one_piece_of_evidence() -> None:
    y_true = np.repeat([0, 1], 8)
    y_prob = np.tile(0.2 + 0.6 * y_true, (3, 1))
    assert run(y_true, y_prob)["verdict"] == "learned"
    measures = run(y_true, y_prob, groups=["a"] * 8 + ["b"] * 8)  # two patients: one of two permutations is as good
    assert measures["p_auc"] == pytest.approx(0.5, abs=0.15)
    assert measures["verdict"] == "no evidence"


def test_scans_of_a_patient_widen_the_intervals_of_both_folds() -> None:
    y_true, y_prob = (np.repeat(values, 2, axis=-1) for values in planted())
    test = long(y_true, y_prob[:1])
    groups = np.repeat([f"p{patient}" for patient in range(40)], 2).tolist()
    wide, narrow = run(y_true, y_prob, test=test, groups=groups), run(y_true, y_prob, test=test)
    for name in ("", "test_"):
        assert wide[f"{name}p_nir"] > narrow[f"{name}p_nir"]
        assert wide[f"{name}auc"] == narrow[f"{name}auc"]
        assert wide[f"{name}auc_high"] - wide[f"{name}auc_low"] > narrow[f"{name}auc_high"] - narrow[f"{name}auc_low"]
    assert wide["accuracy_low"] < narrow["accuracy_low"]


def test_the_monitor_chooses_the_epoch() -> None:
    y_true = np.repeat([0, 1], 5)
    ordered = np.linspace(0.6, 0.9, 10)  # AUC 1, all on one side
    barely = 0.45 + 0.1 * y_true  # accuracy 1, and no sure prediction
    sure = np.where(np.arange(10) == 4, 0.55, 0.02 + 0.96 * y_true)  # one case wrong, the smallest loss
    sure[5] = 0.5
    y_prob = np.array([ordered, barely, sure])
    best = {
        monitor: run(y_true, y_prob, train={"monitor": monitor})["best_epoch"]
        for monitor in ("val_auc", "val_accuracy", "val_loss")
    }
    assert best == {"val_auc": 1, "val_accuracy": 2, "val_loss": 3}
    for name, chosen in (("resnet3d", "val_loss"), ("tutorial_cnn", "val_accuracy")):
        assert run(y_true, y_prob, train={"monitor": None}, model={"name": name})["best_epoch"] == best[chosen]


def test_the_test_fold_adds_its_own_numbers_and_changes_no_other() -> None:
    y_true, y_prob = planted()
    alone = run(y_true, y_prob)
    test_true, test_prob = noise(4, epochs=1, n=30)
    measures = run(y_true, y_prob, test=long(test_true, test_prob))
    assert set(measures) == KEYS | TEST_KEYS
    assert {key: measures[key] for key in KEYS} == alone
    correct = int(((test_prob[0] > 0.5) == test_true).sum())
    p = binomtest(correct, 30, max(test_true.mean(), 1 - test_true.mean()), alternative="greater").pvalue
    assert measures["test_accuracy"] == pytest.approx(correct / 30, abs=1e-6)
    assert measures["test_auc"] == pytest.approx(sk.roc_auc_score(test_true, test_prob[0]), abs=1e-6)
    assert measures["test_p_nir"] == pytest.approx(p, abs=1e-6)
    assert measures["test_auc_low"] < measures["test_auc"] < measures["test_auc_high"]


def test_tables_of_the_plots_and_equal_bytes_on_a_second_run() -> None:
    y_true, y_prob = planted()
    measures = run(y_true, y_prob)
    first = contents(Path("reports"))
    tables = ("roc", "confusion", "probability", "cases", "epochs", "reliability", "groups", "decision", "baselines")
    tables = (*tables, "null")
    assert set(first) == {"metrics.json", "evaluate/diagnosis.json", *(f"evaluate/{name}.csv" for name in tables)}
    roc, confusion, histogram = (
        pd.read_csv(f"reports/evaluate/{name}.csv") for name in ("roc", "confusion", "probability")
    )
    points = roc.to_numpy()
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.trapezoid(points[:, 1], points[:, 0]) == pytest.approx(measures["auc"], abs=1e-4)
    mean = y_prob[-3:].mean(axis=0)
    assert sk.confusion_matrix(confusion["actual"], confusion["predicted"]).tolist() == (
        sk.confusion_matrix(y_true, mean > 0.5).tolist()
    )
    assert histogram["note"].isna().all()
    for label, rows in histogram.groupby("label"):
        for middle, count in zip(rows["probability"], rows["cases"], strict=True):
            assert count == (np.abs(mean[y_true == label] - middle) <= 0.025).sum()
    assert histogram["cases"].sum() == len(y_true)
    run(y_true, y_prob)
    assert contents(Path("reports")) == first


@pytest.mark.parametrize("seed", [1, 4])
def test_p_auc_can_be_counted_from_the_null_distribution(seed: int) -> None:
    measures = run(*noise(seed))
    null = pd.read_csv("reports/evaluate/null.csv")
    total, high = null["permutations"].sum(), null["as_high"].sum()
    assert 0 < high < total
    assert (1 + high) / (1 + total) == pytest.approx(measures["p_auc"], rel=1e-5)
    below = null["auc"] < measures["auc"] - 0.05
    above = null["auc"] > measures["auc"] + 0.05
    assert null.loc[below, "as_high"].eq(0).all()
    assert (null["as_high"] == null["permutations"])[above].all()
    assert np.average(null["auc"], weights=null["permutations"]) == pytest.approx(0.5, abs=0.03)


def test_probabilities_of_0_and_1_are_counted_and_cost_a_finite_loss() -> None:
    y_true = np.arange(10) % 2
    measures = run(y_true, np.tile(1.0 - y_true, (3, 1)))  # sure, and wrong in every case
    assert measures["log_loss"] == pytest.approx(-np.log(1e-7), rel=1e-5)
    assert (measures["auc"], measures["auc_low"], measures["accuracy"], measures["p_nir"]) == (0, 0, 0, 1)
    assert 0 < measures["auc_high"] < 1
    assert pd.read_csv("reports/evaluate/probability.csv")["cases"].sum() == 10


def test_the_seed_of_the_permutations_is_a_parameter() -> None:
    y_true, y_prob = noise(2)
    assert len({run(y_true, y_prob, evaluate={"seed": seed})["p_auc"] for seed in range(4)}) > 1


def by_case(y_true: np.ndarray, texts: list[str]) -> dict[str, str]:
    return {f"{case:05d}": text for case, text in zip(range(len(y_true)), texts, strict=True)}


def test_a_network_that_reads_the_manufacturer_only_has_learned_a_shortcut(capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    y_true, _ = noise(0, n=80)
    vendor = np.where(rng.uniform(size=80) < 0.85, y_true, 1 - y_true)
    y_prob = (0.2 + 0.6 * vendor + 0.05 * rng.uniform(size=(6, 80))).round(6)
    strata = by_case(y_true, [f"manufacturer={v}" for v in vendor])
    assert run(y_true, y_prob)["verdict"] == "learned"
    measures = run(y_true, y_prob, strata=strata)
    assert (measures["verdict"], measures["p_auc"]) == ("learned (shortcut)", 1 / 200)
    assert measures["p_within"] >= 0.05
    assert f"p {measures['p_within']:.3g} among cases that the shortcuts" in capsys.readouterr().out


def test_what_is_learned_within_the_strata_is_learned() -> None:
    y_true, y_prob = planted()
    strata = by_case(y_true, ["a", "b"] * 20)
    measures = run(y_true, y_prob, strata=strata)
    assert (measures["verdict"], measures["p_within"]) == ("learned", 1 / 200)
    assert run(*noise(0), strata=strata)["verdict"] == "no evidence"


def test_an_audit_that_found_no_shortcut_changes_nothing() -> None:
    alone = run(*planted())
    assert alone["p_within"] is None
    assert run(*planted(), strata={}) == alone


def test_the_diagnosis_is_a_column_and_its_command_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    y_true, y_prob = planted()
    assert run(y_true, y_prob)["diagnosis"] == "fine"
    said = get_json("reports/evaluate/diagnosis.json")
    trained = train_config.TrainConfig(
        reference_batch_size=4, precision="float32", **train_config.TRAIN_CONFIGS["resnet3d"]
    )
    given: dict[str, Any] = {"train_labels": np.array([1, 0] * 10), "ranks": True}
    given |= {"val_fold": 0, "test_fold": None, "network": model_config.NETWORKS["resnet3d"], "config": trained}
    assert said == diagnosis.diagnose(history(6), y_true, y_prob, lr=1e-4, epochs=30, folds=3, **given).as_dict()
    assert said["command"] == "dvc exp run --queue -S val_fold=1,2 && dvc queue start"
    assert said["command"] in capsys.readouterr().out
    measures = run(y_true, 0.5 * y_prob, lr=1e-3)  # all on the side of 0
    assert (measures["verdict"], measures["diagnosis"]) == ("learned (threshold off)", "threshold off")
    measures = run(y_true, np.full_like(y_prob, 0.4), lr=1e-3)
    assert (measures["verdict"], measures["diagnosis"]) == ("constant prediction", "constant")
    run(y_true, y_prob, test_fold=2)
    assert get_json("reports/evaluate/diagnosis.json")["command"].startswith("dvc exp run --queue -S val_fold=1 &&")


def test_tables_of_cases_and_groups_and_the_cases_that_are_always_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    y_true, y_prob = planted()
    run(y_true, y_prob)
    cases = pd.read_csv("reports/evaluate/cases.csv", dtype={"case_id": str})
    assert cases.columns.tolist() == ["case_id", "label", "probability", "wrong", "flips"]
    assert cases["case_id"].is_monotonic_increasing
    wrong = cases.loc[cases["wrong"] == 1, "case_id"].tolist()
    assert wrong == ["00000", "00010", "00020", "00030"]
    assert f"wrong in every epoch: {', '.join(wrong)}; see" in capsys.readouterr().out
    np.testing.assert_allclose(cases["probability"], y_prob[-3:].mean(axis=0), atol=1e-6)
    groups = pd.read_csv("reports/evaluate/groups.csv")
    assert groups["by"].tolist() == ["plane", "manufacturer", "sex", "sex"]
    assert (groups["auc"].isna() == (groups[["label_0", "label_1"]].min(axis=1) < 10)).all()
    assert groups["auc"].notna().any()
    epochs = pd.read_csv("reports/evaluate/epochs.csv")
    assert len(epochs) == y_prob.size
    assert pd.read_csv("reports/evaluate/reliability.csv")["cases"].sum() == 40


def test_a_probability_that_is_no_number_is_an_error_that_names_the_case() -> None:
    y_true, y_prob = planted()
    y_prob[2, 7] = np.nan
    with pytest.raises(FlairprepError, match="00007"):
        run(y_true, y_prob)
    assert not Path("reports/metrics.json").exists()
