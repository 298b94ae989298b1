"""Runs from dvc.lock and from git."""

import json
from pathlib import Path

import pytest
from dvc_project import project, shell
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.experiments import runs


class NoFiles:
    """Files of a revision that has tables but no reports."""

    def read_text(self, path: str) -> str:
        if path.startswith("reports"):
            raise FileNotFoundError(path)
        return "case_id,label,group,fold\n"


def test_an_interrupted_run_is_found_by_its_hashes() -> None:
    stages = {
        "split": {"outs": [{"path": "data/split", "md5": "new"}]},
        "train": {"deps": [{"path": "data/split", "md5": "old"}]},
    }
    assert runs.find_stale(stages) == "train"
    stages["train"]["deps"][0]["md5"] = "new"
    assert runs.find_stale(stages) is None


def test_a_null_of_model_and_train_is_the_setting_that_it_stands_for() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    setting = runs.setting_of(flat)
    assert setting["train.monitor"] == "val_loss"
    assert runs.setting_of(flat | {"model.skip": True, "model.dropout": 0.0}) == setting
    assert runs.setting_of(flat | {"model.filters": [8, 16, 32, 64]}) == setting
    assert runs.setting_of(flat | {"model.skip": False}) != setting
    assert runs.setting_of(flat | {"train.monitor": "val_loss"}) == setting
    former, now = ({"model.name": name} for name in ("question_cnn", "tutorial_cnn"))
    assert runs.setting_of(flat | former) == runs.setting_of(flat | now)
    assert not set(setting) & {"seed", "val_fold", "split.seed", "evaluate.seed", "split.folds"}
    cohort = runs.cohort_of(flat, {"data/ingest": "x"})
    assert cohort["data/ingest"] == "x"
    assert "split.folds" in cohort
    assert "split.seed" not in cohort


def test_runs_of_earlier_versions_have_what_these_did() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    former = {key: value for key, value in flat.items() if key != "train.precision"}
    assert runs.setting_of(former) == runs.setting_of(flat | {"train.precision": "float32"})
    assert runs.setting_of(former) != runs.setting_of(flat | {"train.precision": "mixed_float16"})


def test_a_whole_number_is_the_same_value_with_and_without_a_point() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    with_point = flat | {"normalize.clip": 6.0, "ingest.min_slices": 8.0, "ingest.x": [8.0, 16], "export.x": [8.0, 16]}
    without = flat | {"normalize.clip": 6, "ingest.min_slices": 8, "ingest.x": [8, 16], "export.x": [8, 16]}
    assert json.dumps(runs.setting_of(with_point)) == json.dumps(runs.setting_of(without))
    assert runs.cohort_of(with_point, {}) == runs.cohort_of(without, {})


def test_params_and_locks_of_another_version_are_named() -> None:
    flat = params.flatten(YAML(typ="safe", pure=True).load(PARAMS))
    for wrong, fault in (
        ({"train.momentum": 0.9}, "unknown key 'train.momentum'"),
        ({"model.name": "vgg"}, "model.name: 'vgg'"),
        ({"train.monitor": "val_f1"}, "train.monitor: 'val_f1'"),
    ):
        with pytest.raises(FlairprepError, match=fault) as raised:
            runs.setting_of(flat | wrong)
        assert "http" not in str(raised.value)
    with pytest.raises(FlairprepError, match=r"dvc\.lock: .*'data/ingest'"):
        runs._read_run("old", {"train": {"params": {"params.yaml": flat}}}, NoFiles())
    for lock in ("<<<<<<< HEAD\nschema: '2.0'\n=======\nstages: {}\n>>>>>>> b\n", "", "schema: '2.0'\n"):
        with pytest.raises(FlairprepError, match=r"git checkout --ours dvc\.lock"):
            runs.parse_lock(lock)


def test_before_a_commit_and_where_git_lacks_the_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project(tmp_path)
    monkeypatch.chdir(root)
    shell(root, "dvc repro -q")
    assert [run.name for run in runs.read_runs().runs] == ["workspace"], "DVC lists nothing before a commit"
    shell(root, "git add -A")
    shell(root, "git rm -q --cached reports/audit.json")
    shell(root, "git commit -q -m first")
    known = runs.read_runs()
    assert ([run.name for run in known.runs], known.same_as) == (["main"], {"workspace": "main"})
    assert known.skipped == {}, "the workspace has what git lacks"
    without_audit = runs.read_runs(["main"])
    assert without_audit.runs == []
    assert without_audit.skipped["main"].startswith("reports/audit.json: ")
    lock = root / "dvc.lock"
    lock.write_text(f"<<<<<<< HEAD\n{lock.read_text()}=======\n>>>>>>> other\n")
    assert runs.read_runs().skipped["workspace"].startswith("dvc.lock: ")
