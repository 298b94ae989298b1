"""Make the files of a study from the templates in this package, and record the installed code there."""

from collections.abc import Sequence
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from flairprep import __version__
from flairprep.core import installed
from flairprep.core.errors import FlairprepError
from flairprep.core.files import write_text

TEMPLATES = resources.files("flairprep.study") / "templates"
PIPELINE, PARAMS, CONFIG = Path("dvc.yaml"), Path("params.yaml"), Path(".dvc/config")
BASE = installed.RECORD / "base.yaml"  # dvc.yaml as it was written: what its user changed shows beside it
IGNORED = {  # files of patterns, one per line
    Path(".gitignore"): "gitignore",
    Path(".dvcignore"): "dvcignore",
    Path("data/.gitignore"): "data_gitignore",
    Path("reports/.gitignore"): "reports_gitignore",
}
SCHEMA = Path("params.schema.json")
README = Path("README.md")


def template(name: str) -> str:
    """Return the text of a template."""
    return TEMPLATES.joinpath(name).read_text(encoding="utf-8")


def tools() -> dict[Path, str]:
    """Return the files that are flairprep's alone and their text: the schema of params.yaml, templates of plots."""
    plots = sorted(one.name for one in (TEMPLATES / "plots").iterdir() if one.name.endswith(".json"))
    return {SCHEMA: template("params.schema.json"), **{Path(".dvc/plots") / n: template(f"plots/{n}") for n in plots}}


def record(pipeline: str) -> dict[Path, str]:
    """Return the record of the installed code that the text of a dvc.yaml depends on, file by file.

    Raises:
        FlairprepError: it depends on code that is not installed.
    """
    stages = YAML(typ="safe").load(pipeline)["stages"]
    deps = sorted({dep for stage in stages.values() for dep in stage["deps"] if installed.source_of(dep)})
    files = {Path(dep): installed.listing(installed.source_of(dep) or "") for dep in deps}
    if missing := [str(path) for path, text in files.items() if not text]:
        raise FlairprepError(f"{PIPELINE}: {', '.join(missing)}: no such code in flairprep {__version__}")
    return files


def with_pin(text: str) -> str:
    """Return the text of requirements.txt with flairprep pinned to the installed version, its extras as they were."""
    if not installed.pinned(text):
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{requirement()}\n"
    return installed.PIN.sub(lambda pin: f"flairprep{pin[1] or ''}=={__version__}", text)


def requirement() -> str:
    """Return the installed flairprep as a requirement, with the extra of the tensorflow that is installed."""
    gpu = find_spec("nvidia") is not None  # the libraries of CUDA, which tensorflow[and-cuda] brings
    return f"flairprep[{'gpu' if gpu else 'cpu'}]=={__version__}"


def new(params_text: str, title: str, commands: Sequence[str]) -> dict[Path, str]:
    """Return all files of a new study and their text.

    title, commands: of README.md.
    """
    pipeline = template("pipeline.yaml")
    readme = template("README.md").format(title=title, version=__version__, commands="\n".join(commands))
    return {
        PIPELINE: pipeline,
        PARAMS: params_text,
        installed.REQUIREMENTS: with_pin(""),
        README: readme,
        **{path: template(name) for path, name in IGNORED.items()},
        CONFIG: template("dvc_config"),
        **tools(),
        BASE: pipeline,
        **record(pipeline),
    }


def refuse_existing(root: Path, paths: Sequence[Path]) -> None:
    """Refuse a folder in which one of `paths` exists.

    Raises:
        FlairprepError: it names the first one, and what to do.
    """
    if root.exists() and not root.is_dir():
        raise FlairprepError(f"{root}: a file; name a new folder: flairprep init study")
    if (root / "src/flairprep").is_dir():
        raise FlairprepError(f"{root}: a clone of flairprep, which is a study itself; name a new folder outside it")
    if (root / installed.RECORD).exists():
        raise FlairprepError(f"{root}: a study already; to bring it to the installed version: flairprep upgrade")
    if path := next((path for path in paths if (root / path).exists() or (root / path).is_symlink()), None):
        raise FlairprepError(f"{root / path}: exists, and init writes over nothing; name a new folder, or move it away")


def write(root: Path, files: dict[Path, Any]) -> None:
    """Write files into a study, each whole or not at all."""
    for path, text in files.items():
        write_text(root / path, text)


def stale(root: Path, files: dict[Path, str]) -> list[Path]:
    """Return those of `files` whose text in the study is another one, or that are missing there."""
    return [path for path, text in files.items() if not _is(root / path, text)]


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
