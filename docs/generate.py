"""Make docs/params.md, docs/codes.md and params.schema.json from the code, and a study's files from those of the root.

`make docs`. src/flairprep/study/templates holds what `flairprep init` writes; only README.md there is written by hand.
"""

import json
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from pydantic import AfterValidator
from ruamel.yaml import YAML

from flairprep.cli import sections
from flairprep.core import params
from flairprep.core.codes import Code
from flairprep.network import model_config, train_config

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
PLAIN = {"integer": "whole number", "number": "number", "string": "text", "null": "null", "boolean": "true, false"}
BOUNDS = {"exclusiveMinimum": ">", "minimum": ">=", "exclusiveMaximum": "<", "maximum": "<="}
NOTES = {
    "ingest": "After ingest only what its outs change: `ingest.max_failed` alone never reruns another stage, an "
    "excluded case reruns all.",
    "sanity": "train depends on `data/sanity/gate` alone, whose bytes never change: it waits for sanity and does not "
    "follow it.",
}


def allowed(schema: dict[str, Any]) -> str:
    """Say what a field takes, from its JSON schema."""
    if "anyOf" in schema:
        return "; ".join(allowed(one) for one in schema["anyOf"])
    if "enum" in schema:
        return ", ".join(schema["enum"])
    if schema["type"] == "array":
        word, *bounds = allowed(schema["items"]).split(", ")
        return ", ".join([f"list of {'1 or more ' * (schema.get('minItems') == 1)}{word}s", *bounds])
    if schema["type"] == "object":
        word, *bounds = allowed(schema["additionalProperties"]).split(", ")
        return ", ".join([f"{word}s by name", *bounds])
    bounds = [
        f"{sign} {schema[key]:g}" if schema[key] < 1e5 else f"{sign} {schema[key]}"
        for key, sign in BOUNDS.items()
        if key in schema
    ]
    return ", ".join([PLAIN[schema["type"]], *bounds])


def lists(stage: dict[str, Any], key: str) -> bool:
    """Say whether a stage of dvc.yaml lists a param or its section; report lists the whole file."""
    return bool({key, key.split(".")[0]} & {one for one in stage["params"] if isinstance(one, str)})


def follows(key: str, stages: dict[str, Any]) -> set[str]:
    """Return the stages that a param may rerun: those that list it, and those that read their outs.

    The bytes of sanity's gate never change; report follows everything, which the page says once.
    """
    reached: set[str] = set()
    waiting = [name for name, stage in stages.items() if lists(stage, key)]
    while waiting:
        if (name := waiting.pop()) in reached:
            continue
        reached.add(name)
        outs = [next(iter(out)) if isinstance(out, dict) else out for out in stages[name].get("outs", [])]
        outs = [out for out in outs if out != "data/sanity"]
        waiting += [
            other
            for other, stage in stages.items()
            if outs and any(dep.startswith(tuple(outs)) for dep in stage["deps"])
        ]
    return reached - {"report"}


def shown(value: Any) -> str:
    """Return a default as YAML's flow style writes it."""
    return value if isinstance(value, str) else params.value_of(value).replace('"', "").replace(",", ", ")


def rows(name: str | None, values: dict[str, Any]) -> list[dict[str, str]]:
    """Describe the params of a section, None for those at the top."""
    cls = sections.SWEPT if name is None else sections.SECTIONS[name]
    properties = cls.model_json_schema()["properties"]
    described = []
    for key, field in cls.model_fields.items():
        path = any(isinstance(one, AfterValidator) for one in field.metadata)
        described.append(
            {
                "key": f"{name}.{key}" if name else key,
                "default": shown(values[key]),
                "allowed": "path inside the project" if path else allowed(properties[key]),
                "meaning": " ".join((field.description or "").split()).removesuffix("."),
            }
        )
    return described


def section(name: str | None, values: dict[str, Any], stages: dict[str, Any]) -> dict[str, Any]:
    """Describe a section: its rows, and the stages that a change reruns."""
    described = rows(name, values)
    reruns = set().union(*(follows(row["key"], stages) for row in described)) or {"report"}
    order = [stage for stage in stages if stage in reruns]
    return {"title": name or "At the top", "rows": described, "reruns": order, "note": NOTES.get(name or "")}


def defaults() -> dict[str, list[str]]:
    """Return what null stands for, by key, one value per network."""
    own: dict[str, list[str]] = {}
    for network, config in model_config.NETWORKS.items():
        values = {
            f"model.{key}": getattr(config, key) for key in model_config.ModelParams.model_fields if key != "name"
        }
        values |= {f"train.{key}": value for key, value in train_config.TRAIN_CONFIGS[network].items()}
        for key, value in values.items():
            own.setdefault(key, []).append(shown(list(value) if isinstance(value, tuple) else value))
    return own


def schema() -> dict[str, Any]:
    """Return the JSON schema of params.yaml."""
    top = sections.SWEPT.model_json_schema()
    properties = {**top["properties"], **{name: cls.model_json_schema() for name, cls in sections.SECTIONS.items()}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of flairprep",
        "type": "object",
        "additionalProperties": False,
        "required": list(properties),
        "properties": properties,
    }


STUDY = ROOT / "src/flairprep/study/templates"
COPIED = {  # template -> file of the root; none is called dvc.yaml, in which DVC would see a second pipeline
    "gitignore": ".gitignore",
    "dvcignore": ".dvcignore",
    "dvc_config": ".dvc/config",
    "data_gitignore": "data/.gitignore",
    "reports_gitignore": "reports/.gitignore",
    **{f"plots/{path.name}": f".dvc/plots/{path.name}" for path in sorted((ROOT / ".dvc/plots").glob("*.json"))},
}
CLONE_ALONE = "# Of a clone alone"  # from here on .gitignore is not that of a study, which may call a folder site
PIPELINE_HEAD = """\
# Stage X is section X of params.yaml, flairprep's module stages/X.py and data/X or reports/X.json.
# .flairprep/ records the installed code that each stage imports: `flairprep upgrade` writes it, and DVC reruns the
# stages whose code changed. A stage refuses to run where another flairprep is installed.
# The key that makes case ids of patient ids, where there is one, lies in ingest.dicom_dir.
"""


def study_pipeline(text: str) -> str:
    """Return the dvc.yaml of a study, from that of the root: the record of the code in place of src/."""
    stages = text[text.index("stages:\n") :].replace("cmd: PYTHONPATH=src python", "cmd: python")
    return PIPELINE_HEAD + re.sub(r"- src/flairprep/(\S+)", r"- .flairprep/\1.md5", stages)


def study_params() -> str:
    """Return the params.yaml of a study: the defaults, under the first lines of the root's."""
    head = [line for line in (ROOT / "params.yaml").read_text("utf-8").splitlines()[:2] if line.startswith("#")]
    lines = (ROOT / "tests/params.yaml").read_text("utf-8").splitlines()
    values = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    return "\n".join([*head, *lines[values:]]) + "\n"


def study_files() -> dict[Path, str]:
    """Return the templates that are made from files of the root, and their text."""
    copies = {
        STUDY / name: (ROOT / source).read_text("utf-8").partition(CLONE_ALONE)[0] for name, source in COPIED.items()
    }
    pipeline = study_pipeline((ROOT / "dvc.yaml").read_text("utf-8"))
    return {**copies, STUDY / "pipeline.yaml": pipeline, STUDY / "params.yaml": study_params()}


def pages() -> dict[Path, str]:
    """Return the generated files and their text."""
    yaml = YAML(typ="safe", pure=True)
    values, stages = yaml.load(ROOT / "tests/params.yaml"), yaml.load(ROOT / "dvc.yaml")["stages"]
    described = [section(None, values, stages), *(section(name, values[name], stages) for name in sections.SECTIONS)]
    environment = Environment(  # Markdown, not HTML
        loader=FileSystemLoader(DOCS / "templates"),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        autoescape=False,
    )
    context = {
        "sections": described,
        "networks": list(model_config.NETWORKS),
        "defaults": defaults(),
        "codes": list(Code),
    }
    made = {DOCS / name: environment.get_template(name).render(context) for name in ("params.md", "codes.md")}
    of_schema = json.dumps(schema(), indent=2) + "\n"
    schemas = {ROOT / "params.schema.json": of_schema, STUDY / "params.schema.json": of_schema}
    usual = {ROOT / "src/flairprep/report/templates/defaults.json": json.dumps(params.flatten(values), indent=1) + "\n"}
    return {**made, **schemas, **usual, **study_files()}


def main() -> None:
    """Write the generated files."""
    for path, text in pages().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
