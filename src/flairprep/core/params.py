"""Read params.yaml as YAML 1.2, and refuse on load what the code does not expect.

PyYAML reads `1e-05`, which DVC writes for `-S lr=1e-5`, as a string (YAML 1.1); ruamel.yaml reads it as the number.
"""

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flairprep.core.errors import FlairprepError

FILE = Path("params.yaml")
MISSING = "take it from the project's own params.yaml; in a study: flairprep upgrade"
SWEPT = ("lr", "batch_size", "epochs", "seed", "val_fold", "test_fold")
SECTIONS = (
    *("labels", "ingest", "normalize", "select_slices", "balance", "split"),
    *("audit", "export", "sanity", "model", "train", "evaluate", "report"),
)


def _inside(value: str) -> str:
    """Refuse a path that leads out of the project or holds characters that cannot be printed."""
    if not value or value.startswith(("/", "~")) or ".." in Path(value).parts or not value.isprintable():
        raise ValueError(f"{value!r}: must be a path inside the project, without '..'")
    return value


InsidePath = Annotated[str, AfterValidator(_inside)]


class Section(BaseModel):
    """A frozen, typed section of params.yaml: no unknown key, no missing key, no silent conversion."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, protected_namespaces=(), use_attribute_docstrings=True
    )


class _Raw(Section):
    dicom_dir: InsidePath


SectionT = TypeVar("SectionT", bound=Section)


def suggest(word: str, known: tuple[str, ...]) -> str:
    """Return 'did you mean ...?' where `word` resembles one of `known`, else the list of them."""
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"


def read_params(path: Path = FILE) -> dict[str, Any]:
    """Read all of params.yaml as plain Python values.

    Raises:
        FlairprepError: no such file, not YAML, or a top-level key that is unknown or missing.
    """
    try:
        values = YAML(typ="safe", pure=True).load(path)
    except OSError as error:
        raise FlairprepError(f"{path}: cannot be read ({error.strerror}); run from the project's root") from error
    except YAMLError as error:
        raise FlairprepError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, dict):
        raise FlairprepError(f"{path}: must map keys to values, is {type(values).__name__}")
    check_keys(values, path)
    return values


def check_keys(values: Mapping[Any, Any], path: Path = FILE) -> None:
    """Refuse a key at the top of params.yaml that is unknown or missing.

    Raises:
        FlairprepError: the file, the key and what is known.
    """
    known = (*SWEPT, *SECTIONS)
    for key in values:
        if key not in known:
            raise FlairprepError(f"{path}: unknown key {key!r}; {suggest(str(key), known)}")
    for key in known:
        if key not in values:
            raise FlairprepError(f"{path}: the key {key!r} is missing; {MISSING}")


def load(cls: type[SectionT], section: str | None = None, path: Path = FILE) -> SectionT:
    """Load one section of params.yaml, or the swept values at its top (`section` None), checked against `cls`.

    Raises:
        FlairprepError: one line per fault: the file, the key, the value and what is allowed.
    """
    return choose(cls, read_params(path), section, path)


def choose(cls: type[SectionT], values: Mapping[str, Any], section: str | None, path: Path = FILE) -> SectionT:
    """Validate one section of all values of params.yaml, or the swept ones (`section` None); see `load`."""
    given = {key: values[key] for key in SWEPT} if section is None else values[section]
    return validate(cls, given, section, path)


def dicom_dir(path: Path = FILE) -> Path:
    """Return the raw folder, for callers that need nothing else of section ingest."""
    section = read_params(path)["ingest"]
    own = {key: section[key] for key in _Raw.model_fields if key in section} if isinstance(section, dict) else section
    return Path(validate(_Raw, own, "ingest", path).dicom_dir)


def validate(cls: type[SectionT], values: Any, section: str | None, path: Path = FILE) -> SectionT:
    """Validate `values` as a `cls`; see `load`."""
    if not isinstance(values, dict):
        raise FlairprepError(f"{path}: {section}: {values!r}: must be a section of keys")
    try:
        return cls.model_validate(values)
    except ValidationError as error:
        raise FlairprepError("\n".join(_fault(cls, fault, section, path) for fault in error.errors())) from error


def _fault(cls: type[Section], fault: Any, section: str | None, path: Path) -> str:
    key = ".".join(str(part) for part in ((section,) if section else ()) + fault["loc"])
    known = tuple(cls.model_fields)
    match fault["type"]:
        case "extra_forbidden":
            return f"{path}: unknown key {key!r}; {suggest(str(fault['loc'][-1]), known)}"
        case "missing":
            return f"{path}: the key {key!r} is missing; {MISSING}"
        case "value_error":
            return f"{path}: {key + ': ' if key else ''}{fault['ctx']['error']}"
        case _:
            message = fault["msg"][0].lower() + fault["msg"][1:]
            return f"{path}: {key}: {fault['input']!r}: {message}"


def flatten(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """Flatten nested sections to dotted keys; an empty section stays a value."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        flat |= flatten(value, f"{above}{key}.") if isinstance(value, Mapping) and value else {f"{above}{key}": value}
    return flat


def parsed(text: str) -> Any:
    """Return the value that `text` stands for in params.yaml and after `dvc exp run -S`: 1e-4 and 0.0001 are one."""
    try:
        return YAML(typ="safe", pure=True).load(text)
    except YAMLError:
        return text


def value_of(value: Any) -> str:
    """Format a value as `dvc exp run -S` takes it, with every digit that reading it back needs."""
    if isinstance(value, float):
        return short if float(short := f"{value:g}") == value else repr(value)
    return json.dumps(value, separators=(",", ":")) if not isinstance(value, str) else value
