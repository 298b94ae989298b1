"""sanity: the stage as a whole on a small export: the report, the gate, and faults of tensors and of networks."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import exports
import keras
import numpy as np
import pytest
from ruamel.yaml import YAML
from workspace import write_params

from flairprep.core.errors import FlairprepError
from flairprep.core.params import load
from flairprep.dataset import tf_data
from flairprep.network import model
from flairprep.sanity import suite
from flairprep.stages import sanity

LABELS = {0: "01101", 1: "00101", 2: "10010"}  # fold -> the labels of its cases
SMALL = {"name": "resnet3d", "filters": [8, 16]}
OF_TENSORS = ["finite", "clipping", "range", "slices", "duplicates", "orientation", "border"]


def scan(rng: np.random.Generator, label: int, _: int = 0) -> np.ndarray:
    """(16, 32, 32): a ball of noise, brighter at its top and its back, among -4; label 1 has a bright box in it."""
    z, y, x = np.indices((16, 32, 32)) - np.array([7.5, 15.5, 15.5]).reshape(3, 1, 1, 1)
    image = np.where(z**2 * 4 + y**2 + x**2 < rng.uniform(12, 14) ** 2, rng.normal(size=z.shape) + z / 8 + y / 16, -4)
    if label:
        image[5:9, 12:18, 18:24] += 3
    return image


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
    write_section(tmp_path)
    return tmp_path


def verdicts(folder: Path) -> dict[str, str]:
    report = json.loads((folder / "reports/sanity.json").read_text())
    return {check["name"]: check["verdict"] for check in report["checks"]}


def test_a_sound_export_and_network_pass_and_the_report_comes_again_byte_for_byte(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exports.write_export(project, LABELS, scan)
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
    assert "error: sanity: failed: slices, duplicates" in str(caught.value)
    assert verdicts(project)["slices"] == "fail"
    assert not (project / "data/sanity/gate").exists()


@pytest.mark.usefixtures("of_tensors_alone")
def test_labels_shuffled_in_the_export_fail_against_split(project: Path) -> None:
    exports.write_export(project, LABELS, scan)
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


@pytest.mark.parametrize(
    ("fault", "failed"),
    [("frozen", {"layers"}), ("biased", {"output bias", "initial loss"}), ("unseeded", {"repeatable"})],
)
def test_a_fault_of_the_network_fails_its_check(
    project: Path, monkeypatch: pytest.MonkeyPatch, fault: str, failed: set[str]
) -> None:
    exports.write_export(project, LABELS, scan)
    monkeypatch.setattr(model, "build", planted(fault))
    found, _ = suite.of_network(sanity.EXPORT, load(model.ModelParams, "model"), 7 / 15, 0)
    assert {check.name for check in found if check.verdict == "fail"} >= failed


def test_a_momentum_that_lags_fails_where_it_was_chosen(project: Path) -> None:
    exports.write_export(project, LABELS, scan)
    write_section(project, norm_momentum=0.99)
    found, _ = suite.of_network(sanity.EXPORT, load(model.ModelParams, "model"), 7 / 15, 0)
    assert "overfit, inference" in {check.name for check in found if check.verdict == "fail"}


def test_the_questions_own_batch_norm_is_warned_of_and_what_there_is_no_time_for_too(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exports.write_export(project, LABELS, scan)
    write_section(project, name="tutorial_cnn", filters=[4, 4], dense=4)
    multiply_adds = suite.multiply_adds
    monkeypatch.setattr(suite, "multiply_adds", lambda network: 15_000 * multiply_adds(network))
    found, band = suite.of_network(sanity.EXPORT, load(model.ModelParams, "model"), 7 / 15, 0)
    by_name = {check.name: check for check in found}
    assert by_name["overfit, inference"].verdict == "warn"
    assert by_name["capacity"].text.startswith("not run: ")
    assert by_name["learning rate"].verdict == "warn"
    assert band is None
    assert not {check.name for check in found if check.verdict == "fail"}
    lenient = load(model.ModelParams, "model")
    assert suite.to_the_letter(lenient)
    assert not suite.to_the_letter(lenient.model_copy(update={"norm_momentum": 0.999}))


def test_cases_of_both_labels_are_drawn_in_turn(project: Path) -> None:
    exports.write_export(project, {0: "0111011", 1: "1111"}, scan)
    images, labels = suite.drawn(sanity.EXPORT, 0)
    assert list(labels) == [0, 1, 0, 1]
    label_of = {case["image"].tobytes(): case["label"] for case in tf_data.dataset(sanity.EXPORT).as_numpy_iterator()}
    assert [label_of[image.tobytes()] for image in images] == [0, 1, 0, 1]


def test_one_label_alone_is_refused(project: Path) -> None:
    exports.write_export(project, {0: "111"}, scan)
    with pytest.raises(FlairprepError, match="all cases in data/export have one label"):
        sanity.main()
    assert not (project / "data/sanity/gate").exists()


@pytest.mark.parametrize(("key", "value"), [("strict", 1), ("seed", -1), ("seed", 2**32)])
def test_a_wrong_value_is_refused_by_key_and_value(project: Path, key: str, value: Any) -> None:
    write_section(project, **{key: value})
    with pytest.raises(FlairprepError, match=rf"params\.yaml: sanity\.{key}: {value}: "):
        sanity.main()
