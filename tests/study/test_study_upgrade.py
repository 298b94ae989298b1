"""Bringing a study to another version: what is kept, what is new, what is refused."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from workspace import contents

from flairprep import __version__
from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.study import files, upgrade

TEMPLATES = {"pipeline.yaml": files.template("pipeline.yaml"), "params.yaml": files.template("params.yaml")}
PLOT = "  - mine:\n      x: epoch\n      y:\n        mine.csv: a\n"


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a study of this version."""
    files.write(tmp_path, files.new(TEMPLATES["params.yaml"], "study", ["dvc repro"]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def installs(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what makes the installed version one with other templates: name=(old, new) text."""

    def change(**edits: tuple[str, str]) -> None:
        texts = dict(TEMPLATES)
        for name, (old, new) in edits.items():
            assert old in texts[f"{name}.yaml"]
            texts[f"{name}.yaml"] = texts[f"{name}.yaml"].replace(old, new)
        shipped = files.template
        monkeypatch.setattr(files, "template", lambda name: texts[name] if name in texts else shipped(name))

    return change


def load(text: str) -> dict[str, Any]:
    return YAML(typ="safe", pure=True).load(text)


def test_a_study_of_this_version_needs_nothing(study: Path) -> None:
    planned = upgrade.plan(study)
    assert (planned.texts, planned.gone, planned.sources) == ({}, [], [])
    assert planned.former == __version__


def test_another_code_and_its_keys_come_and_what_the_user_wrote_stays(study: Path, installs: Any) -> None:
    own = (study / "params.yaml").read_text().replace("folds: 5", "folds: 4").replace("epochs: 30", "epochs: 7 ")
    (study / "params.yaml").write_text(own.replace("  strict: false", "  # we mind\n  strict: true"))
    (study / "dvc.yaml").write_text((study / "dvc.yaml").read_text() + PLOT)
    (study / "requirements.txt").write_text("pandas==2\nflairprep[gpu,dask]==0.0.1\n")
    (study / ".gitignore").write_text("/mine\n")
    (study / ".flairprep/audit.md5").write_text("0  audit/other.py\n")
    installs(
        params=("  folds: 5 ", "  rounds: 3  # new\n  folds: 5 "),
        pipeline=(
            "      - .flairprep/stages/split.py.md5\n",
            "      - .flairprep/stages/split.py.md5\n      - new.csv\n",
        ),
    )
    planned = upgrade.plan(study)
    before = contents(study)
    assert planned.former == "0.0.1"
    assert planned.sources == ["audit"]
    assert planned.added == {"split.rounds": 3}
    upgrade.carry_out(study, planned)
    changed = {name for name, md5 in contents(study).items() if md5 != before.get(name)}
    assert changed == {
        *("params.yaml", "dvc.yaml", "requirements.txt", ".gitignore", ".flairprep/audit.md5", ".flairprep/base.yaml"),
    }
    values = load((study / "params.yaml").read_text())
    assert (values["split"]["folds"], values["epochs"], values["sanity"]["strict"]) == (4, 7, True)
    assert "# we mind" in (study / "params.yaml").read_text()
    pipeline = load((study / "dvc.yaml").read_text())
    assert pipeline["plots"][-1] == {"mine": {"x": "epoch", "y": {"mine.csv": "a"}}}
    assert "new.csv" in pipeline["stages"]["split"]["deps"]
    assert (study / "requirements.txt").read_text() == f"pandas==2\nflairprep[gpu,dask]=={__version__}\n"
    ignored = (study / ".gitignore").read_text().splitlines()
    assert ignored[0] == "/mine"
    assert set(files.template("gitignore").splitlines()) < set(ignored)
    assert installed.fault() is None
    assert upgrade.plan(study).texts == {}


def test_a_record_that_no_stage_depends_on_goes(study: Path, installs: Any) -> None:
    installs(pipeline=("      - .flairprep/cohort.md5\n", ""))
    planned = upgrade.plan(study)
    assert planned.gone == [Path(".flairprep/cohort.md5")]
    upgrade.carry_out(study, planned)
    assert not (study / ".flairprep/cohort.md5").exists()


def test_a_param_that_is_none_any_more_is_named_with_its_value(study: Path) -> None:
    text = (study / "params.yaml").read_text()
    (study / "params.yaml").write_text(text.replace("\nsplit:\n", "\nsplit:\n  rounds: [1, 2]\n"))
    planned = upgrade.plan(study)
    assert planned.removed == {"split.rounds": [1, 2]}
    assert planned.texts == {Path("params.yaml"): text}


def test_edits_of_the_same_lines_are_refused_before_anything_is_written(study: Path, installs: Any) -> None:
    line = "    cmd: python -m flairprep.stages.train\n"
    (study / "dvc.yaml").write_text((study / "dvc.yaml").read_text().replace(line, f"    cmd: srun{line[8:]}"))
    installs(pipeline=(line, f"{line[:-1]} --new\n"))
    before = contents(study)
    with pytest.raises(FlairprepError, match=r"dvc\.yaml: .* 1 places"):
        upgrade.plan(study)
    assert contents(study) == before
    subprocess.run(["cp", ".flairprep/base.yaml", "dvc.yaml"], check=True)  # the remedy that it names
    upgrade.carry_out(study, upgrade.plan(study))
    assert "--new" in (study / "dvc.yaml").read_text()


def test_an_upgrade_that_was_ended_half_way_leaves_no_stage_that_runs(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (study / ".flairprep/core.md5").write_text("0  core/other.py\n")
    (study / ".flairprep/stats.md5").write_text("0  stats/other.py\n")
    (study / "requirements.txt").write_text("flairprep[cpu]==0.0.1\n")
    written, write = [], files.write_text

    def interrupted(path: Path, text: str) -> None:
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(path)
        write(path, text)

    planned = upgrade.plan(study)
    monkeypatch.setattr(files, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        upgrade.carry_out(study, planned)
    assert installed.fault() is not None
    monkeypatch.setattr(files, "write_text", write)
    upgrade.carry_out(study, upgrade.plan(study))
    assert installed.fault() is None


@pytest.mark.parametrize(("name", "told"), [("src/flairprep", "make setup"), ("data", "flairprep init")])
def test_a_clone_and_another_folder_are_refused(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / name).mkdir(parents=True)
    with pytest.raises(FlairprepError, match=told):
        upgrade.plan(tmp_path)


def test_a_missing_file_is_named_with_its_remedy(study: Path) -> None:
    (study / "params.yaml").unlink()
    with pytest.raises(FlairprepError, match=r"git checkout HEAD -- params\.yaml"):
        upgrade.plan(study)
