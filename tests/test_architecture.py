"""The wiring: dvc.yaml lists what the code imports and reads. `lint-imports` holds the layers of the packages."""

import ast
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from flairprep.core import params

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src"
PIPELINE = YAML(typ="safe").load(ROOT / "dvc.yaml")
STAGES = sorted(path.stem for path in (SRC / "flairprep/stages").glob("*.py") if path.stem != "__init__")
MODULES = sorted((SRC / "flairprep").rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Return the dotted names that a file imports anywhere, `from a import b` as a and a.b."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def own(path: Path) -> set[Path]:
    """Return the files of the project that a file imports."""
    files = {SRC / f"{name.replace('.', '/')}.py" for name in imports(path)}
    return {file for file in files if file.is_file()}


def closure(path: Path) -> set[Path]:
    """Return the files of the project that importing a file executes; package files hold a docstring and no code."""
    reached, waiting = set(), [path]
    while waiting:
        file = waiting.pop()
        if file not in reached:
            reached.add(file)
            waiting += own(file)
    return reached


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_a_module_has_at_most_350_lines_and_lies_in_a_package(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 350
    assert path.parent != SRC / "flairprep" or path.name == "__init__.py", "a module of no package"
    assert (path.parent / "__init__.py").is_file()


def test_the_pipeline_has_at_most_250_lines() -> None:
    assert len((ROOT / "dvc.yaml").read_text(encoding="utf-8").splitlines()) <= 250


def test_package_files_hold_no_code() -> None:
    for path in SRC.glob("flairprep/*/**/__init__.py"):
        (only,) = ast.parse(path.read_text()).body
        assert isinstance(only, ast.Expr), path


def test_a_stage_is_a_module_a_stage_of_dvc_and_a_section() -> None:
    assert sorted(PIPELINE["stages"]) == STAGES
    assert {*STAGES, "labels", "model"} - {"preview"} == set(params.SECTIONS)  # preview has nothing to set
    for stage in STAGES:
        assert (ROOT / f"tests/stages/test_{stage}.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_the_src_deps_of_a_stage_hold_its_import_closure_and_nothing_for_free(stage: str) -> None:
    listed = {ROOT / dep for dep in PIPELINE["stages"][stage]["deps"] if dep.startswith("src/")}
    needed = closure(SRC / f"flairprep/stages/{stage}.py")
    assert all(dep.exists() for dep in listed)
    for file in needed:
        assert any(file.is_relative_to(dep) for dep in listed), f"{stage} imports {file}"
    for dep in listed:
        assert any(file.is_relative_to(dep) for file in needed), f"{stage} lists {dep} and imports nothing of it"


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_runs_the_code_that_dvc_hashed(stage: str) -> None:
    assert PIPELINE["stages"][stage]["cmd"] == f"PYTHONPATH=src python -m flairprep.stages.{stage}"


PYDICOM = ("dicom", "demo")
TENSORFLOW = (
    *("dataset/tf_data.py", "dataset/tf_setup.py", "network", "sanity", "stages/sanity.py", "stages/train.py"),
    *("inference/networks.py", "explanation/networks.py", "explanation/incremental.py"),
)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_heavy_packages_stay_where_they_belong(path: Path) -> None:
    packages = {name.split(".")[0] for name in imports(path)}
    for heavy, places in (({"pydicom"}, PYDICOM), ({"tensorflow", "keras"}, TENSORFLOW)):
        allowed = any(path.is_relative_to(SRC / "flairprep" / place) for place in places)
        assert allowed or not packages & heavy


def test_every_value_of_params_yaml_belongs_to_a_stage() -> None:
    listed = {key for stage in PIPELINE["stages"].values() for key in stage["params"] if isinstance(key, str)}
    assert {key.split(".")[0] for key in listed} == {*params.SWEPT, *params.SECTIONS} - {
        "report"
    }  # report reads every key


def test_what_reads_params_depends_on_them() -> None:
    """The stages that a param reruns directly; test_pipeline shows what follows from their outs."""
    assert PIPELINE["stages"]["report"]["params"] == [{"params.yaml": None}]  # every key: it shows them all
    reads = {stage: set(PIPELINE["stages"][stage]["params"]) for stage in STAGES if stage != "report"}
    assert reads == {
        "ingest": {"ingest"},
        "normalize": {"normalize"},
        "select_slices": {"select_slices", "normalize.background"},
        "preview": {"normalize.background"},
        "balance": {"labels", "balance", "ingest.dicom_dir"},
        "split": {"labels", "split", "ingest.dicom_dir"},
        "audit": {"audit", "normalize.intensity", "normalize.background"},
        "export": {"export"},
        "sanity": {"sanity", "model"},
        "train": {*params.SWEPT, "model", "train"},
        "evaluate": {"lr", "epochs", "val_fold", "test_fold", "evaluate", "model", "train"},
    }


def test_every_value_of_params_yaml_has_a_comment() -> None:
    for line in (ROOT / "params.yaml").read_text().splitlines():
        key, _, rest = line.partition(":")
        if key and not key.startswith("#") and rest.strip():
            assert "#" in rest, line


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.lock")), ids=lambda path: path.name)
def test_no_lock_names_an_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    assert "--hash=sha256:" in text


def calls(path: Path) -> list[tuple[str, ast.Call]]:
    """Return the calls in a file with what they call, as written: `eval`, `np.load`."""
    tree = ast.parse(path.read_text())
    return [(ast.unparse(node.func), node) for node in ast.walk(tree) if isinstance(node, ast.Call)]


def argument(call: ast.Call, name: str) -> object:
    """Return the constant that a call passes as `name`, None where it passes none."""
    return next((k.value.value for k in call.keywords if k.arg == name and isinstance(k.value, ast.Constant)), None)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SRC)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    """A file of data must not be able to run code, in the ways that Python and its packages offer."""
    packages = {name.split(".")[0] for name in imports(path)}
    assert not packages & {"pickle", "cPickle", "marshal", "shelve", "dill", "joblib", "cloudpickle", "yaml", "code"}
    for name, call in calls(path):
        last = name.split(".")[-1]
        assert name not in {"eval", "exec", "compile", "__import__", "os.system", "os.popen"}, name
        assert last not in {"read_pickle", "to_pickle", "unsafe_load", "full_load"}, name
        assert argument(call, "shell") is not True, name
        if name in {"np.load", "numpy.load"}:
            assert argument(call, "allow_pickle") is False, ast.unparse(call)
        if last == "load_model":
            assert argument(call, "safe_mode") is True, ast.unparse(call)
        if name == "YAML":  # of ruamel.yaml, whose default makes no objects either; the safe one is the plain one
            assert argument(call, "typ") in {None, "rt", "safe", "pure"}, ast.unparse(call)
        if name in {"yaml.load", "yaml.load_all"}:
            assert "Safe" in ast.unparse(call), ast.unparse(call)


def test_calls_that_run_data_would_be_found(tmp_path: Path) -> None:
    for text in (
        *("import pickle", "from joblib import load", "eval('1')", "exec(x)", "np.load(p)", "pd.read_pickle(p)"),
        *("np.load(p, allow_pickle=True)", "keras.models.load_model(p)", "load_model(p, safe_mode=False)"),
        *("YAML(typ='unsafe')", "yaml.load(p, Loader=yaml.Loader)", "subprocess.run(c, shell=True)"),
    ):
        (tmp_path / "module.py").write_text(text)
        with pytest.raises(AssertionError):
            test_no_module_runs_what_it_reads(tmp_path / "module.py")
