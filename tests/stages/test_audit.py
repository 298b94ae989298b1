"""The stage from its inputs to reports/audit.json, with planted shortcuts and leaks."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter
from tables import get_json, put
from workspace import contents, in_this_process, volume, write_params

from flairprep.audit import leakage
from flairprep.core.errors import FlairprepError
from flairprep.imaging import nifti
from flairprep.runner import result_cache
from flairprep.stages import audit

SHAPE = (10, 20, 20)
N = 40


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")


def brain(seed: int, noise: float = 0.0) -> np.ndarray:
    """Return a volume as select_slices writes it: an ellipsoid with a pattern of its own in -4."""
    z, y, x = np.indices(SHAPE) / (np.array(SHAPE).reshape(3, 1, 1, 1) - 1) * 2 - 1
    rng = np.random.default_rng(seed)
    own = gaussian_filter(rng.normal(size=SHAPE), 1.5)
    values = z + 2 * y + own / own.std() + (0.05 + noise) * rng.normal(size=SHAPE)
    return np.where(z**2 + y**2 + x**2 < 0.9, values, -4).astype(np.float32)


def cohort(n: int = N) -> pd.DataFrame:
    """Return fields, label, group and fold of cases; the fields are independent of the label."""
    rng = np.random.default_rng(0)
    ids = [f"{index:05d}" for index in range(n)]
    return pd.DataFrame(
        {
            "case_id": ids,
            "label": np.arange(n) % 2,
            "group": ids,
            "fold": np.arange(n) // 2 % 4,
            "status": "ok",
            "code": "",
            "message": "",
            "plane": rng.choice(["axial", "sagittal"], n),
            "manufacturer": rng.choice(["siemens", "philips", "ge"], n),
            "echo_time": rng.integers(90, 140, n).astype(str),
            "inversion_time": "",
            **dict.fromkeys(("spacing_x", "spacing_y", "spacing_z"), "1"),
            "contrast_agent": "no",
            "sex": rng.choice(["M", "F"], n),
            "age_band": rng.choice(["40-49", "50-59", "90+"], n),
        }
    )


def run(cases: pd.DataFrame, brains: list[np.ndarray] | None = None, **changes: Any) -> dict[str, Any]:
    """Return audit.json after `main`."""
    fields = cases.drop(columns=["label", "group", "fold", *set(leakage.IDENTITIES) & set(cases)])
    put("data/ingest/cases.csv", fields.to_csv(index=False))
    shared = {name: cases.get(name, cases["case_id"]) for name in leakage.IDENTITIES}
    put("data/ingest/same_as.csv", cases[["case_id"]].assign(**shared).to_csv(index=False))
    usable_rows = cases[cases["status"] == "ok"]
    split = usable_rows[["case_id", "label", "group", "fold"]]
    put("data/split/split.csv", split.sample(frac=1, random_state=0).to_csv(index=False))
    sliced = cases[["case_id", "status", "code", "message"]].copy()
    if "failed" in changes:
        sliced.loc[sliced["case_id"] == changes.pop("failed"), "status"] = "failed"
    put("data/select_slices/cases.csv", sliced.to_csv(index=False))
    usable = sliced["status"] == "ok"
    for place, case_id in enumerate(cases["case_id"]):
        values = brain(place) if brains is None else brains[place]
        if usable[place]:
            nifti.write_volume(volume(values), Path(f"data/select_slices/{case_id}.nii.gz"))
    write_params(Path(), **{**changes, "audit": {"permutations": 999, **changes.get("audit", {})}})
    audit.main()
    return get_json("reports/audit.json")


def items(report: dict[str, Any]) -> dict[str, Any]:
    return {item["name"]: item for item in report["items"]}


def test_a_clean_cohort_has_no_leak_no_shortcut_and_no_strata(capsys: pytest.CaptureFixture[str]) -> None:
    report = run(cohort())
    assert list(report) == ["items", "baselines", "strata"]
    assert report["strata"] == {}
    by_name = items(report)
    assert {item["verdict"] for item in report["items"]} == {"clean", "not testable"}
    keys = ["name", "kind", "verdict", "p", "p_holm", "effect", "measure", "cases", "text"]
    assert all(list(item) == keys for item in report["items"])
    assert [name for name, item in by_name.items() if item["kind"] == "leak"] == [
        *("patient", "study", "frame_of_reference", "voxels", "near-duplicates", "statistics across folds")
    ]
    fields = {"plane", "manufacturer", "echo_time", "sex", "age_band", "extent_x", "blur_z", "inversion_time", "code"}
    assert fields <= set(by_name)
    sources = ["header fields", "geometry", "intensity statistics", "shading"]
    assert {*sources, "geometry, plane left out"} <= set(by_name)
    assert {"status", "message", "case_id"} & set(by_name) == set()
    baselines = report["baselines"]
    assert [baseline["name"] for baseline in baselines] == sources
    assert all(0 <= baseline["auc_low"] <= baseline["auc"] <= baseline["auc_high"] <= 1 for baseline in baselines)
    printed = capsys.readouterr()
    assert "0 leaks, 0 shortcuts" in printed.out
    assert printed.err.count("warning") == 0


def test_what_is_empty_or_constant_is_not_testable() -> None:
    by_name = items(run(cohort()))
    for name in ("inversion_time", "contrast_agent", "code"):
        assert (by_name[name]["verdict"], by_name[name]["p"]) == ("not testable", None)


def test_a_planted_manufacturer_is_a_shortcut_with_strata_for_evaluate(capsys: pytest.CaptureFixture[str]) -> None:
    cases = cohort()
    own = np.random.default_rng(1).uniform(size=N) < 0.8
    cases["manufacturer"] = cases["manufacturer"].where(~own, np.where(cases["label"] == 1, "philips", "siemens"))
    report = run(cases)
    item = items(report)["manufacturer"]
    assert (item["verdict"], item["measure"]) == ("shortcut", "cramers_v")
    assert item["p_holm"] < 0.05
    assert set(cases["case_id"][own]) <= set(item["cases"])
    assert sorted(report["strata"]) == cases["case_id"].tolist()
    assert set(report["strata"].values()) >= {"manufacturer: philips", "manufacturer: siemens"}
    assert items(report)["plane"]["verdict"] == "clean"
    assert "audit: shortcut: manufacturer: " in capsys.readouterr().err


def test_noise_that_depends_on_the_label_is_found_in_the_volumes_alone() -> None:
    cases = cohort()
    report = run(cases, [brain(place, 0.6 * label) for place, label in enumerate(cases["label"])])
    by_name = items(report)
    assert by_name["blur_x"]["verdict"] == "shortcut"
    assert by_name["intensity statistics"]["kind"] == "shortcut"
    assert by_name["header fields"]["verdict"] == "clean"
    assert all("blur" in stratum for stratum in report["strata"].values())


def test_a_side_that_is_brighter_in_one_class_is_found_by_its_name() -> None:
    cases, ramp = cohort(), np.linspace(-2, 2, SHAPE[2], dtype=np.float32)
    brains = [np.where(brain(place) == -4, -4, brain(place) + place % 2 * ramp) for place in range(N)]
    by_name = items(run(cases, brains))
    assert (by_name["left_minus_right"]["verdict"], by_name["left_minus_right"]["measure"]) == ("shortcut", "auc")
    assert by_name["left_minus_right"]["effect"] > 0.8
    assert {by_name[name]["verdict"] for name in ("front_minus_back", "top_minus_bottom", "size_x")} <= {
        *("clean", "not testable")
    }


@pytest.mark.parametrize("name", ["patient", "study", "frame_of_reference", "voxels"])
def test_what_two_folds_share_is_a_leak(name: str) -> None:
    cases = cohort()
    cases[name] = cases["case_id"].where(cases["case_id"] != "00004", "00001")  # folds 2 and 0
    assert cases["fold"][4] != cases["fold"][1]
    by_name = items(run(cases))
    assert (by_name[name]["verdict"], by_name[name]["cases"]) == ("leak", ["00001", "00004"])
    others = {"patient", "study", "frame_of_reference", "voxels"} - {name}
    assert {by_name[other]["verdict"] for other in others} == {"clean"}


def test_a_mirrored_and_noisy_copy_in_another_fold_is_a_leak() -> None:
    brains = [brain(place) for place in range(N)]
    rng = np.random.default_rng(2)
    copy = np.where(brains[1] == -4, -4, brains[1] + 0.1 * rng.normal(size=SHAPE))
    brains[4] = np.flip(copy, 2).astype(np.float32)
    item = items(run(cohort(), brains))["near-duplicates"]
    assert (item["verdict"], item["cases"], item["measure"]) == ("leak", ["00001", "00004"], "correlation")
    assert item["effect"] > 0.9


def test_cases_that_failed_are_left_out() -> None:
    cases = cohort()
    cases.loc[3, "status"] = "failed"
    cases["manufacturer"] = np.where(cases["label"] == 1, "philips", "siemens")
    strata = run(cases, failed="00007")["strata"]
    assert {"00003", "00007"} & set(strata) == set()
    assert len(strata) == N - 2


@pytest.mark.slow
def test_intensities_without_normalisation_are_a_shortcut_where_the_gain_is_the_labels() -> None:
    cases = cohort()
    gain = [np.where(brain(place) == -4, -4, brain(place) * (1 + 2 * (place % 2))) for place in range(N)]
    brains = [values.astype(np.float32) for values in gain]
    assert items(run(cases, brains))["intensity statistics"]["verdict"] == "clean"  # zscore would take it away
    by_name = items(run(cases, brains, normalize={"intensity": "none"}))
    assert by_name["intensity statistics"]["verdict"] == "shortcut"


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bytes_and_another_seed_other_p() -> None:
    first = run(cohort())
    bytes_ = contents(Path("reports"))
    run(cohort())
    assert contents(Path("reports")) == bytes_
    assert items(run(cohort(), audit={"seed": 1}))["sex"]["p"] != items(first)["sex"]["p"]


def test_too_few_permutations_for_alpha_are_a_warning(capsys: pytest.CaptureFixture[str]) -> None:
    run(cohort(), audit={"permutations": 99})
    assert "audit.permutations: 99" in capsys.readouterr().err


def test_one_label_only_is_refused() -> None:
    with pytest.raises(FlairprepError, match="one label"):
        run(cohort().assign(label=1))
    assert not Path("reports/audit.json").exists()


@pytest.mark.slow
def test_a_volume_is_measured_again_only_where_it_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = run(cohort())
    measured: list[sitk.Image] = []
    extract = audit.extract_features
    monkeypatch.setattr(
        audit, "extract_features", lambda image, *given: (measured.append(image), extract(image, *given))[1]
    )
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "store"))
    assert run(cohort()) == without
    assert len(measured) == N
    assert run(cohort()) == without
    assert len(measured) == N
    others = [brain(place) for place in range(N)]
    others[3] = brain(99)
    run(cohort(), others)
    assert len(measured) == N + 1


@pytest.mark.slow
def test_a_volume_that_cannot_be_measured_ends_the_audit_and_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = cohort()
    run(cases)
    Path("data/select_slices/00007.nii.gz").write_bytes(b"no volume")
    with pytest.raises(OSError, match=r"00007\.nii\.gz: cannot be read as NIfTI"):
        audit.main()
    assert not list(Path(".dvc/tmp/flairprep").iterdir())
