"""params.yaml is read as YAML 1.2, and refused with the file, the key and the value where it is not as expected."""

from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import Field
from workspace import PARAMS

from flairprep.core import params
from flairprep.core.errors import FlairprepError


class Swept(params.Section):
    lr: float = Field(gt=0)
    batch_size: int = Field(ge=1)
    epochs: int
    seed: int
    val_fold: int
    test_fold: int | None


class Split(params.Section):
    seed: int
    folds: int = Field(ge=2)
    group_column: str | None
    stratify_by: list[str]


class Sample(params.Section):
    share: float = Field(ge=0, le=1)
    count: int = Field(ge=1)
    method: Literal["centre", "uniform"]
    strict: bool


SAMPLE: dict[str, Any] = {"share": 0.5, "count": 3, "method": "centre", "strict": True}


def edited(folder: Path, old: str, new: str) -> Path:
    """The shipped params.yaml with `new` instead of `old`."""
    text = PARAMS.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path = folder / "params.yaml"
    path.write_text(text.replace(old, new), encoding="utf-8")
    return path


def refused(call: Any, *arguments: Any) -> str:
    with pytest.raises(FlairprepError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize(
    ("written", "value"),
    [("1e-05", 1e-5), ("1.0e-4", 1e-4), ("1e-5", 1e-5), ("5E-5", 5e-5), ("1", 1.0), ("0.00002", 2e-5)],
)
def test_learning_rate_is_a_number_however_it_is_written(written: str, value: float, tmp_path: Path) -> None:
    swept = params.load(Swept, None, edited(tmp_path, "lr: 1.0e-4", f"lr: {written}"))
    assert swept.lr == value
    assert swept.test_fold is None


@pytest.mark.parametrize("written", ["'1e-5'", "1e-5x", "yes", "true", "null", "[1e-5]", "0", "-1e-4", ".nan"])
def test_learning_rate_that_is_no_positive_number_is_refused(written: str, tmp_path: Path) -> None:
    path = edited(tmp_path, "lr: 1.0e-4", f"lr: {written}")
    assert refused(params.load, Swept, None, path).startswith(f"{path}: lr: ")


def test_yaml_1_2_words_stay_words(tmp_path: Path) -> None:
    path = edited(tmp_path, "exclude: {}", "exclude: {no: off, '00109': completely dark}")
    assert params.read_params(path)["ingest"]["exclude"] == {"no": "off", "00109": "completely dark"}


def test_section_is_frozen(tmp_path: Path) -> None:
    section = params.load(Split, "split", PARAMS)
    with pytest.raises(ValueError, match="frozen"):
        section.folds = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"share": 1.5}, "s.share: 1.5: input should be less than or equal to 1"),
        ({"count": 0}, "s.count: 0: input should be greater than or equal to 1"),
        ({"count": "3"}, "s.count: '3': input should be a valid integer"),
        ({"count": 3.0}, "s.count: 3.0: input should be a valid integer"),
        ({"count": True}, "s.count: True: input should be a valid integer"),
        ({"strict": "true"}, "s.strict: 'true': input should be a valid boolean"),
        ({"strict": 1}, "s.strict: 1: input should be a valid boolean"),
        ({"share": None}, "s.share: None: input should be a valid number"),
        ({"share": float("nan")}, "s.share: nan: input should be"),
        ({"method": "center"}, "s.method: 'center': input should be 'centre' or 'uniform'"),
        ({"shares": 1}, "unknown key 's.shares'; did you mean 'share'?"),
        ({"zzz": 1}, "unknown key 's.zzz'; known here: share, count, method, strict"),
    ],
)
def test_value_is_refused_with_file_key_and_value(changed: dict[str, Any], message: str) -> None:
    assert refused(params.validate, Sample, SAMPLE | changed, "s", Path("here.yaml")).startswith(
        f"here.yaml: {message}"
    )


def test_missing_key_is_named() -> None:
    values = {key: value for key, value in SAMPLE.items() if key != "count"}
    assert "params.yaml: the key 's.count' is missing" in refused(params.validate, Sample, values, "s")


def test_every_fault_has_its_line() -> None:
    text = refused(params.validate, Sample, SAMPLE | {"share": 2, "count": 0, "cuont": 1}, "s")
    assert [line.split(": ")[1] for line in text.splitlines()] == [
        "s.share",
        "s.count",
        "unknown key 's.cuont'; did you mean 'count'?",
    ]


@pytest.mark.parametrize("values", [None, [1], "centre", 3])
def test_section_that_is_no_mapping_is_refused(values: Any) -> None:
    assert refused(params.validate, Sample, values, "s") == f"params.yaml: s: {values!r}: must be a section of keys"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("epochs: 30 ", "epoch: 30 ", "unknown key 'epoch'; did you mean 'epochs'?"),
        ("\nsplit:", "\nsplits:", "unknown key 'splits'; did you mean 'split'?"),
        ("lr: 1.0e-4 ", "lr: 1.0e-4\nqqqq: 1 ", "unknown key 'qqqq'; known here: lr, batch_size"),
        ("lr: 1.0e-4 ", "1: 1 ", "unknown key 1; "),
        ("epochs: 30 ", "# ", "the key 'epochs' is missing"),
        ("lr: 1.0e-4 ", "lr: [1.0e-4 ", "not valid YAML: "),
        ("lr: 1.0e-4 ", "lr: 1\nlr: 2 ", "not valid YAML: "),  # a key twice
        ("lr: 1.0e-4 ", "lr: \t1.0e-4\n\tseed: 1 ", "not valid YAML: "),
        ("lr: 1.0e-4 ", "lr: !!python/object:os.system x ", "not valid YAML: "),
    ],
)
def test_top_of_the_file_is_checked(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = edited(tmp_path, old, new)
    text = refused(params.read_params, path)
    assert text.startswith(f"{path}: {message}")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read (No such file or directory); run from the project's root"),
        (b"", "must map keys to values, is NoneType"),
        (b"- lr\n", "must map keys to values, is list"),
        (b"lr: \xff\xfe\n", "not valid YAML: "),
        (b"lr: \x00\n", "not valid YAML: "),
    ],
)
def test_file_that_is_no_params_yaml_is_refused(content: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    assert refused(params.read_params, path).startswith(f"{path}: {message}")


def test_the_tests_start_from_the_keys_of_the_root() -> None:
    def keys(values: Any) -> Any:
        return {key: keys(value) for key, value in values.items()} if isinstance(values, dict) else None

    shipped, root = params.read_params(PARAMS), params.read_params(Path(__file__).resolve().parents[2] / "params.yaml")
    for values in (shipped, root):
        values["ingest"]["exclude"] = None  # its keys are cases
    assert keys(shipped) == keys(root)


class Paths(params.Section):
    place: params.InsidePath


OUTSIDE = [
    "/data",
    "//data",
    "..",
    "../data",
    "data/..",
    "data/../../etc",
    "~",
    "~/data",
    "~root",
    "a\nb",
    "a\tb",
    "a\0b",
    "",
]


@pytest.mark.parametrize("path", OUTSIDE, ids=ascii)
def test_path_that_leads_out_of_the_project_is_refused_in_one_line(path: str) -> None:
    text = refused(params.validate, Paths, {"place": path}, "s")
    assert text.startswith(f"params.yaml: s.place: {path!r}: ")
    assert text.isprintable()


@pytest.mark.parametrize("path", ["data", "data/raw/train", "./data", "data/..a", "data/a..b", "data/raw/", "ä b/c~"])
def test_path_inside_the_project_is_taken_as_it_is(path: str) -> None:
    assert params.validate(Paths, {"place": path}, "s").place == path


@pytest.mark.parametrize("path", [path for path in OUTSIDE if path.isprintable() and path])
def test_raw_folder_of_the_other_stages_lies_inside_too(path: str, tmp_path: Path) -> None:
    """balance and split read nothing of section ingest but where the key is."""
    file = edited(tmp_path, "dicom_dir: data/raw/train ", f"dicom_dir: {path!r} ")
    assert refused(params.dicom_dir, file).startswith(f"{file}: ingest.dicom_dir: {path!r}: ")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("  dicom_dir: data/raw/train ", "  # "),
        ("dicom_dir: data/raw/train ", "dicom_dir: null "),
        ("dicom_dir: data/raw/train ", "dicom_dir: [data] "),
        ("\ningest:\n", "\ningest: null\nx:\n"),
    ],
)
def test_raw_folder_that_is_missing_is_told_and_no_program_error(old: str, new: str, tmp_path: Path) -> None:
    assert "ingest" in refused(params.dicom_dir, edited(tmp_path, old, new))


def test_nested_params_are_flat_with_dotted_keys_and_an_empty_section_keeps_its_own() -> None:
    values = {"lr": 1e-5, "model": {"name": "resnet3d", "skip": None}, "ingest": {"exclude": {"7": "dark"}, "x": {}}}
    assert params.flatten(values) == {
        **{"lr": 1e-5, "model.name": "resnet3d", "model.skip": None},
        **{"ingest.exclude.7": "dark", "ingest.x": {}},
    }


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0001234567, "0.0001234567"), (1e-5, "1e-05"), (1e-4, "0.0001"), (6.0, "6"), (1234567.5, "1234567.5")],
)
def test_a_value_keeps_every_digit(value: float, text: str) -> None:
    assert params.value_of(value) == text
    assert float(text) == value
