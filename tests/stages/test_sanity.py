"""sanity: the stage as a whole on a small export: the report, the gate, and faults of tensors."""

import json
from pathlib import Path
from typing import Any

import exports
import numpy as np
import pytest
from heads import draw
from ruamel.yaml import YAML
from workspace import write_params

from flairprep.core.errors import FlairprepError
from flairprep.sanity import suite
from flairprep.stages import sanity

LABELS = {0: "01101", 1: "00101", 2: "10010"}  # fold -> the labels of its cases
SMALL = {"name": "resnet3d", "filters": [8, 16]}
OF_TENSORS = ["finite", "clipping", "range", "slices", "duplicates", "orientation", "border"]


def write_section(folder: Path, strict: bool = False, seed: int = 0, **network: Any) -> None:
    """params.yaml with the sections sanity and model."""
    write_params(folder, model={**SMALL, **network})
    yaml = YAML()
    values = yaml.load(folder / "params.yaml")
    values["sanity"] = {"strict": strict, "seed": seed}
    yaml.dump(values, folder / "params.yaml")


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suite, "set_up_tensorflow", lambda: None)  # tensorflow has begun in this process
    write_section(tmp_path)
    return tmp_path


def verdicts(folder: Path) -> dict[str, str]:
    report = json.loads((folder / "reports/sanity.json").read_text())
    return {check["name"]: check["verdict"] for check in report["checks"]}


@pytest.mark.slow
def test_a_sound_export_and_network_pass_and_the_report_comes_again_byte_for_byte(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exports.write_export(project, LABELS, draw)
    sanity.main()
    said = capsys.readouterr().out.splitlines()
    text = (project / "reports/sanity.json").read_text()
    report = json.loads(text)
    assert list(report) == ["checks", "learning_rate"]
    assert [list(check) for check in report["checks"]] == [["name", "verdict", "value", "threshold", "text"]] * 19
    assert set(verdicts(project).values()) == {"pass"}
    assert said == [f"sanity: pass: {check['name']}: {check['text']}" for check in report["checks"]]
    assert 0 < report["learning_rate"]["low"] < 1e-3 < report["learning_rate"]["high"]
    assert (project / "data/sanity/gate").read_bytes() == b"sanity\n"

    write_section(project, strict=True)
    sanity.main()
    assert (project / "reports/sanity.json").read_text() == text
    assert (project / "data/sanity/gate").read_bytes() == b"sanity\n"


@pytest.fixture
def of_tensors_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the runs of the network, which take most of the time."""
    monkeypatch.setattr(suite, "of_network", lambda *_: ([], None))


@pytest.mark.usefixtures("of_tensors_alone")
def test_zeroed_inputs_fail_and_strict_withholds_the_gate(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exports.write_export(project, LABELS, lambda rng, label, _: np.zeros((16, 32, 32)))
    sanity.main()
    assert verdicts(project)["slices"] == "fail"
    assert (project / "data/sanity/gate").exists()

    write_section(project, strict=True)
    with pytest.raises(SystemExit) as caught:
        sanity.main()
    assert "slices, duplicates" in str(caught.value)
    assert verdicts(project)["slices"] == "fail"
    assert not (project / "data/sanity/gate").exists()


@pytest.mark.usefixtures("of_tensors_alone")
def test_labels_shuffled_in_the_export_fail_against_split(project: Path) -> None:
    exports.write_export(project, LABELS, draw)
    sanity.main()
    assert list(verdicts(project)) == OF_TENSORS
    split = project / "data/split/split.csv"
    split.parent.mkdir()
    rows = [
        f"{fold}{n:04d},{label},{fold}{n:04d},{fold}\n" for fold, of in LABELS.items() for n, label in enumerate(of)
    ]
    split.write_text("case_id,label,group,fold\n" + "".join(rows))
    sanity.main()
    assert verdicts(project)["labels"] == "pass"
    split.write_text("case_id,label,group,fold\n" + "".join(rows).replace("00000,0", "00000,1"))
    sanity.main()
    assert verdicts(project)["labels"] == "fail"


def test_one_label_alone_is_refused(project: Path) -> None:
    exports.write_export(project, {0: "111"}, draw)
    with pytest.raises(FlairprepError, match="data/export"):
        sanity.main()
    assert not (project / "data/sanity/gate").exists()


@pytest.mark.slow
def test_a_network_that_no_memory_holds_names_what_to_lower(project: Path) -> None:
    exports.write_export(project, LABELS, draw)
    write_section(project, dense=10**13)
    with pytest.raises(FlairprepError, match=r"model\.filters or select_slices.size"):
        sanity.main()
    assert not (project / "data/sanity/gate").exists()


@pytest.mark.parametrize(("key", "value"), [("strict", 1), ("seed", -1), ("seed", 2**32)])
def test_a_wrong_value_is_refused_by_key_and_value(project: Path, key: str, value: Any) -> None:
    write_section(project, **{key: value})
    with pytest.raises(FlairprepError, match=rf"params\.yaml: sanity\.{key}: {value}: "):
        sanity.main()
