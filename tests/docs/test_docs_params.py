"""docs/params.md, docs/codes.md and params.schema.json are made from the code; every page names params that exist."""

import json
import operator
import pickle
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs_pages import DOCS, KEYS, PAGES, ROOT, SHIPPED, model_of, quoted, table
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.core import params
from flairprep.core.codes import WARNS, Code
from flairprep.core.errors import FlairprepError


def test_the_generated_pages_are_what_the_code_makes() -> None:
    """docs/params.md, docs/codes.md and params.schema.json: `make docs` writes them."""
    for path, text in runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]().items():
        assert path.read_text(encoding="utf-8") == text, path


def test_every_param_is_described_and_has_a_row() -> None:
    listed = [quoted(row[0])[0] for row in table(DOCS["params"], "param") if len(row) == 4 and row[3]]
    assert listed == list(KEYS), "in the order of params.yaml"


def schema() -> dict[str, Any]:
    """Read the JSON schema that params.yaml names in its first line, for editors."""
    first = (ROOT / "params.yaml").read_text().splitlines()[0]
    path = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert path
    return json.loads((ROOT / path[1]).read_text())


def described(key: str) -> dict[str, Any]:
    """Return the schema of one dotted key."""
    node = schema()
    for part in key.split("."):
        node = node["properties"][part]
    return node


TYPES = {"number": (int, float), "integer": int, "string": str, "boolean": bool, "null": type(None), "array": list}
BOUNDS = {
    "minimum": operator.ge,
    "maximum": operator.le,
    "exclusiveMinimum": operator.gt,
    "exclusiveMaximum": operator.lt,
}


def accepts(node: dict[str, Any], value: Any) -> bool:
    """Say whether a value conforms to a schema, in the words that the schema of params.yaml uses."""
    if "anyOf" in node:
        return any(accepts(one, value) for one in node["anyOf"])
    if node["type"] == "object":
        fields, others = node.get("properties", {}), node["additionalProperties"]
        return (
            isinstance(value, dict)
            and set(node.get("required", [])) <= set(value)
            and (others is not False or set(value) <= set(fields))
            and all(accepts(fields.get(key, others), item) for key, item in value.items())
        )
    if not isinstance(value, TYPES[node["type"]]) or (isinstance(value, bool) and node["type"] != "boolean"):
        return False
    if node["type"] == "array":
        return len(value) >= node.get("minItems", 0) and all(accepts(node["items"], item) for item in value)
    bounded = all(holds(value, node[bound]) for bound, holds in BOUNDS.items() if bound in node)
    return bounded and value in node.get("enum", [value])


def test_the_schema_has_every_key_and_refuses_others() -> None:
    sections = schema()["properties"]
    assert set(sections) == {*params.SWEPT, *params.SECTIONS} == set(schema()["required"])
    for name in params.SECTIONS:
        assert set(sections[name]["properties"]) == set(SHIPPED[name]) == set(sections[name]["required"])
    assert all(described(key)["description"] for key in KEYS)


@pytest.mark.parametrize("path", [PARAMS, ROOT / "params.yaml"], ids=["tests", "shipped"])
def test_params_yaml_conforms_to_the_schema(path: Path) -> None:
    assert accepts(schema(), YAML(typ="safe", pure=True).load(path))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("lr", 0), ("epochs", 1.5), ("val_fold", -1), ("seed", True), ("lrr", 1)),
        *(
            ("normalize.intensity", "z"),
            ("normalize.clpi", 6),
            ("split.stratify_by", "label"),
            ("model.filters", [0.5]),
        ),
    ],
)
def test_the_schema_refuses_what_the_models_refuse(key: str, value: Any) -> None:
    where, _, name = key.rpartition(".")
    changed = {**SHIPPED, where: {**SHIPPED[where], name: value}} if where else {**SHIPPED, name: value}
    assert not accepts(schema(), changed)
    given = changed[where] if where else {one: item for one, item in changed.items() if one not in params.SECTIONS}
    with pytest.raises(FlairprepError, match=name):
        params.validate(model_of(where or None), given, where or None)


def variables() -> set[str]:
    """Return the environment variables that the code reads."""
    code = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "src").rglob("*.py"))
    return set(re.findall(r"""(?:environ\.get|environ|_positive_integer)[\[(]"(FLAIRPREP_[A-Z]+)""", code))


def test_every_environment_variable_has_a_row_and_no_other_has_one() -> None:
    listed = {quoted(row[0])[0] for row in table(DOCS["params"], "variable")}
    assert listed == variables()


def overrides() -> Iterator[tuple[str, str]]:
    """Yield every -S KEY=VALUE of every page, one value at a time."""
    for text in PAGES.values():
        for key, values in re.findall(r"-S '?([a-z_]+(?:\.[a-z_]+)?)=((?:\[[^\]]*\]|[^\s`'|)])+)", text):
            yield from ((key, value) for value in re.findall(r"\[[^\]]*\]|[^,]+", values))


@pytest.mark.parametrize(("key", "value"), sorted(set(overrides())))
def test_every_override_is_one_that_params_and_schema_take(key: str, value: str) -> None:
    assert accepts(described(key), YAML(typ="safe", pure=True).load(value))
    where, name = KEYS[key]
    given = {key: SHIPPED[key] for key in params.SWEPT} if where is None else SHIPPED[where]
    params.validate(model_of(where), {**given, name: YAML(typ="safe", pure=True).load(value)}, where)


def test_every_code_has_a_kind_a_cause_and_a_remedy() -> None:
    assert all(code.kind and code.cause and code.remedy for code in Code)
    assert {code for code in Code if code.kind == "warning"} == WARNS
    assert pickle.loads(pickle.dumps(Code.MOSAIC)) is Code.MOSAIC is Code("MOSAIC")


def test_a_code_names_the_stage_that_gives_it() -> None:
    homes = {
        "dicom/": "ingest",
        "nifti_input/": "ingest",
        "stages/ingest": "ingest",
        "imaging/": "normalize",
        "stages/export": "export",
    }
    homes["runner/"] = "any"
    stages: dict[str, set[str]] = {}
    for path in (ROOT / "src/flairprep").rglob("*.py"):
        where = path.relative_to(ROOT / "src/flairprep").as_posix()
        for name in re.findall(r"\bCode\.([A-Z_]+)", path.read_text(encoding="utf-8")):
            stages.setdefault(name, set()).update(stage for home, stage in homes.items() if where.startswith(home))
    for code in Code:
        given = stages[code.name]
        assert ({"any"} if "any" in given else given) == {code.stage}, code
