"""What a run computes again after a change, and that its outs are those of a run without the cache."""

import functools
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import phantoms
import pytest
from workspace import contents, in_this_process, write_params

from flairprep.cohort import case_ids
from flairprep.core import tables
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import discovery, header, subjects
from flairprep.dicom.volume import read_series
from flairprep.runner import code_version, map_cases, result_cache
from flairprep.stages import export, ingest, normalize, select_slices

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
STAGES: dict[str, ModuleType] = {
    "ingest": ingest,
    "normalize": normalize,
    "select_slices": select_slices,
    "export": export,
}
RAW = Path("data/raw/train")
GOOD = tuple(f"{number:05d}" for number in range(5))
FEW = "00009"  # a case that fails in ingest
NOTHING = dict.fromkeys(STAGES, 0)
DESCRIBED = functools.cache(code_version.describe)  # the code that runs here stays what it is, whoever edits its files
PATIENT = "Doe^Jane 19610203"


def add(case: str, slices: int = 10) -> None:
    """A skull-stripped brain of noise."""
    rng = np.random.default_rng(int(case))
    values = np.pad(rng.integers(300, 400, (slices - 2, 10, 10)), ((1, 1), (3, 3), (3, 3))).astype(np.int16)
    own = {"PatientID": f"{PATIENT} {case}", "StudyInstanceUID": f"1.2.424242.{case[-1]}"}
    phantoms.save(phantoms.slices(values, spacing=(3, 1, 1), **own), RAW / case / "FLAIR", seed=int(case))


def settings(**changed: Any) -> None:
    sections: dict[str, dict[str, Any]] = {
        "ingest": {"max_failed": 0.5},
        "normalize": {},
        "select_slices": {"count": 4, "size": 8},
        "export": {"cases_per_shard": 2},
    }
    for name, values in changed.items():
        sections[name] |= values
    write_params(Path(), **sections)


def split(cases: tuple[str, ...]) -> None:
    Path("data/split").mkdir(parents=True, exist_ok=True)
    rows = [f"{case},{int(case) % 2},{case},{int(case) % 2}" for case in cases]
    Path("data/split/split.csv").write_text("\n".join(["case_id,label,group,fold", *rows]) + "\n")


def make(root: Path) -> None:
    """A project as the current folder."""
    root.mkdir()
    os.chdir(root)
    settings()
    for case in GOOD:
        add(case)
    add(FEW, slices=5)
    split(GOOD)


def outs() -> dict[str, str]:
    return {f"{stage}/{name}": value for stage in STAGES for name, value in contents(Path("data", stage)).items()}


def recomputed(printed: str) -> dict[str, int]:
    """stage -> how many cases it computed, by what it printed."""
    counts = {}
    for stage, total, rest in re.findall(r"^(\w+): (\d+) cases in, (.*)$", printed, re.MULTILINE):
        reused = re.search(r"(\d+) reused", rest)
        counts[stage] = int(total) - (int(reused[1]) if reused else 0)
    return counts


Run = Callable[[], dict[str, int]]


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds a project in which the stages have run once, their code and their cache."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("FLAIRPREP_CACHE", str(folder / "cache"))
        patch.setattr(result_cache, "run_cases", in_this_process)
        patch.setattr(code_version, "describe", DESCRIBED)
        make(folder / "project")
        for module in STAGES.values():
            module.main()
    return folder


@pytest.fixture
def kept(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The cache after the first run."""
    shutil.copytree(begun / "cache", tmp_path / "cache")
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache/v1"


@pytest.fixture
def run(
    begun: Path, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Run:
    """Runs the stages in the project, which is the current folder; how many cases each computed."""
    shutil.copytree(begun / "project", tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    monkeypatch.setattr(code_version, "describe", DESCRIBED)

    def run() -> dict[str, int]:
        for module in STAGES.values():
            module.main()
        return recomputed(capsys.readouterr().out)

    return run


@pytest.fixture
def check(run: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, int]], None]:
    """Runs the stages with the cache; what they compute, and that they write what they do without."""

    def check(expected: dict[str, int]) -> None:
        assert run() == expected
        written = outs()
        with monkeypatch.context() as patch:
            patch.setenv("FLAIRPREP_CACHE", "off")
            run()
        assert written == outs()

    return check


Check = Callable[[dict[str, int]], None]


def test_nothing_is_computed_where_nothing_changed(check: Check) -> None:
    check(NOTHING)
    for stage in STAGES:
        shutil.rmtree(Path("data", stage))  # as DVC does before it runs one
    check(NOTHING)


def test_a_case_more_costs_one_case(check: Check) -> None:
    add("00005")
    split((*GOOD, "00005"))
    check(dict.fromkeys(STAGES, 1))


def test_a_case_less_costs_nothing_and_leaves_nothing(check: Check) -> None:
    shutil.rmtree(RAW / GOOD[2])
    split((*GOOD[:2], *GOOD[3:]))
    check(NOTHING)
    assert not [name for name in outs() if GOOD[2] in name]


@pytest.mark.parametrize(("where", "later"), [("pixels", 1), ("patient", 0)])
def test_a_byte_of_a_file_costs_its_case_where_it_changes_the_volume(where: str, later: int, check: Check) -> None:
    path = sorted((RAW / GOOD[1] / "FLAIR").iterdir())[4]
    content = bytearray(path.read_bytes())
    place = content.index(PATIENT.encode()) if where == "patient" else len(content) - 16 * 8 * 2
    content[place] ^= 1
    path.write_bytes(content)
    check({**dict.fromkeys(STAGES, later), "ingest": 1})


def test_a_file_under_another_name_costs_its_case(check: Check) -> None:
    path = sorted((RAW / GOOD[1] / "FLAIR").iterdir())[4]
    path.rename(path.with_name("another"))
    check({**NOTHING, "ingest": 1})


@pytest.mark.parametrize(
    ("section", "changed", "expected"),
    [
        ("ingest", {"max_failed": 0.9}, NOTHING),
        ("ingest", {"exclude": {GOOD[0]: "dark"}}, {**NOTHING, "ingest": 1}),
        ("ingest", {"min_slices": 7}, {**NOTHING, "ingest": 6}),
        ("normalize", {"clip": 1.0}, {"ingest": 0, "normalize": 5, "select_slices": 5, "export": 5}),
        ("select_slices", {"method": "uniform"}, {**NOTHING, "select_slices": 5, "export": 5}),
        ("export", {"cases_per_shard": 1}, NOTHING),
    ],
)
def test_a_param_costs_what_it_decides_on_and_nothing_once_it_is_changed_back(
    section: str, changed: dict[str, Any], expected: dict[str, int], check: Check
) -> None:
    settings(**{section: changed})
    check(expected)
    settings()
    check(NOTHING)


def test_another_label_costs_one_record_and_another_fold_nothing(check: Check) -> None:
    table = Path("data/split/split.csv")
    text = table.read_text()
    table.write_text(text.replace("00004,0,00004,0", "00004,0,00004,1"))
    check(NOTHING)
    table.write_text(text.replace("00004,0,00004,0", "00004,1,00004,0"))
    check({**NOTHING, "export": 1})


def stage(root: Path, name: str, **environment: str) -> subprocess.Popen[str]:
    """A stage as dvc.yaml runs it, with the code of the project `root`."""
    paths = os.pathsep.join(["src", *filter(None, [os.environ.get("PYTHONPATH")])])
    own = {**os.environ, "PYTHONPATH": paths, **environment}
    command = [sys.executable, "-m", f"flairprep.stages.{name}"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, cwd=root, env=own, text=True, **pipes)


def result(process: subprocess.Popen[str]) -> dict[str, int]:
    out, err = process.communicate()
    assert process.returncode == 0, err
    return recomputed(out)


def test_code_that_a_stage_imports_costs_that_stage(run: Run, begun: Path) -> None:
    shutil.copytree(begun / "src", "src")
    expected = outs()
    assert result(stage(Path(), "normalize")) == {"normalize": 0}  # the same code in another place
    with Path("src/flairprep/imaging/intensity.py").open("a") as file:
        file.write("# a comment\n")
    assert result(stage(Path(), "normalize")) == {"normalize": 5}
    assert run() == NOTHING  # as it was before, and what follows on it
    assert outs() == expected


def first(kept: Path, name: str) -> Path:
    return sorted(kept.glob(f"[0-9a-f][0-9a-f]/*/{name}"))[0]


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-9] ^= 1
    path.write_bytes(content)


def another(path: Path) -> None:
    """The same kind of file of another entry, which is sound in itself."""
    others = [file for file in path.parents[2].glob(f"*/*/{path.name}") if file.read_bytes() != path.read_bytes()]
    shutil.copy(others[0], path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("damage", [emptied, flipped, another, a_folder, Path.unlink])
@pytest.mark.parametrize("name", ["record", "0"])
def test_a_damaged_file_of_the_cache_costs_its_case(
    name: str, damage: Callable[[Path], None], kept: Path, run: Run, check: Check
) -> None:
    damage(first(kept, name))
    assert sum(run().values()) == 1
    check(NOTHING)


def test_damaged_memory_of_digests_costs_nothing_but_reading(kept: Path, check: Check) -> None:
    for path in kept.glob("seen/*/*"):
        flipped(path)
    check(NOTHING)


@pytest.mark.parametrize("damage", [emptied, flipped, a_folder, Path.unlink])
def test_another_secret_costs_everything_once(damage: Callable[[Path], None], kept: Path, check: Check) -> None:
    damage(kept / "secret")
    check({"ingest": 6, "normalize": 5, "select_slices": 5, "export": 5})
    check(NOTHING)


def test_another_clone_computes_nothing(tmp_path: Path, check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(tmp_path / "project/data", tmp_path / "clone/data", ignore=shutil.ignore_patterns(*STAGES))
    monkeypatch.chdir(tmp_path / "clone")
    RAW.rename("data/raw/scans")
    settings(ingest={"dicom_dir": "data/raw/scans"})
    check(NOTHING)


def test_files_that_are_links_into_dvcs_cache_count_by_what_they_lead_to(check: Check) -> None:
    cache = Path(".dvc/cache/files/md5").absolute()
    for path in list(RAW.rglob("*.dcm")):
        digest = hashlib.md5(path.read_bytes()).hexdigest()
        target = cache / digest[:2] / digest[2:]
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
        path.symlink_to(target)
    check(NOTHING)
    path = sorted((RAW / GOOD[1] / "FLAIR").iterdir())[4]
    flipped(path)
    assert path.is_symlink()
    check(dict.fromkeys(STAGES, 1))


def test_two_runs_at_once_give_the_bytes_of_one_and_leave_a_sound_cache(
    begun: Path, run: Run, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outs()
    shutil.rmtree(kept)
    roots = [tmp_path / name for name in ("one", "two")]
    for root in roots:
        shutil.copytree(tmp_path / "project", root, ignore=shutil.ignore_patterns(*STAGES, ".dvc"))
        shutil.copytree(begun / "src", root / "src")
    for process in [stage(root, "ingest") for root in roots]:
        result(process)
    for root in roots:
        monkeypatch.chdir(root)
        assert run()["ingest"] == 0
        assert outs() == expected
    assert not list((kept / "tmp").iterdir())


@pytest.fixture
def workers(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on with worker processes."""
    monkeypatch.setattr(result_cache, "run_cases", map_cases.run_cases)


def test_workers_find_what_this_process_kept_and_the_other_way_round(
    run: Run, kept: Path, workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outs()
    monkeypatch.setenv("FLAIRPREP_WORKERS", "3")
    ingest.main()
    assert outs() == expected
    shutil.rmtree(kept)
    assert sum(run().values()) == 6 + 3 * 5
    assert outs() == expected
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    assert run() == NOTHING
    assert outs() == expected


REAL = ingest.ingest_case


def stops_at_three(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    if case.case_id == GOOD[3]:
        raise FlairprepError("stop")
    return REAL(case, **given)


def dies_at_three(case: discovery.RawCase, **given: Any) -> ingest.Ingested:
    if case.case_id == GOOD[3]:
        os.kill(os.getpid(), signal.SIGKILL)
    return REAL(case, **given)


@pytest.fixture
def read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], tuple[set[str], list[discovery.RawCase]]]:
    """Finds the cases of an export with three patients, one of them in two folders; whose folders' headers it read."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_CACHE", str(tmp_path / "cache"))
    for module, name in ((result_cache, "run_cases"), (subjects, "map_cases")):
        monkeypatch.setattr(module, name, in_this_process)
    monkeypatch.setattr(code_version, "describe", DESCRIBED)
    for number in range(3):
        export_of(number)
    export_of(0, "again")
    case_ids.make_key(RAW)
    asked: set[str] = set()
    read_header = header.read_header

    def noted(path: Path) -> header.Header | None:
        asked.add(path.parent.relative_to(RAW).as_posix())
        return read_header(path)

    monkeypatch.setattr(header, "read_header", noted)

    def read() -> tuple[set[str], list[discovery.RawCase]]:
        asked.clear()
        cases = discovery.find_cases(RAW, "FLAIR")
        return set(asked), cases

    return read


def export_of(number: int, name: str = "0") -> None:
    """A patient's files, as archives put them."""
    rng = np.random.default_rng([number, len(name)])  # files of the same bytes are read once
    values = rng.integers(1, 99, (4, 5, 5)).astype(np.int16)
    phantoms.save(phantoms.slices(values, PatientID=f"{PATIENT} {number}"), RAW / f"P{number}/{name}", seed=number)


Read = Callable[[], tuple[set[str], list[discovery.RawCase]]]


def test_of_an_export_the_headers_of_new_and_changed_folders_are_read(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders, cases = read()
    assert folders == {"P0/0", "P0/again", "P1/0", "P2/0"}
    assert sorted(len(case.paths) for case in cases) == [4, 4, 8]
    assert read() == (set(), cases)
    export_of(3)
    folders, more = read()
    assert folders == {"P3/0"}
    assert {case.case_id for case in more} > {case.case_id for case in cases}
    path = next((RAW / "P1/0").iterdir())
    path.write_bytes(path.read_bytes().replace(f"{PATIENT} 1".encode(), f"{PATIENT} 2".encode()))
    folders, moved = read()
    assert folders == {"P1/0"}
    assert sorted(len(case.paths) for case in moved) == [3, 4, 5, 8]
    monkeypatch.setenv("FLAIRPREP_CACHE", "off")
    assert read()[1] == moved
    shutil.rmtree(RAW / "P3")
    assert len(read()[1]) == 3


def test_workers_find_the_cases_of_an_export(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cases = read()
    shutil.rmtree(os.environ["FLAIRPREP_CACHE"])
    monkeypatch.setattr(result_cache, "run_cases", map_cases.run_cases)
    assert read() == (set(), cases)  # by workers, whose reading is not noted
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    assert read() == (set(), cases)  # from the cache


def test_another_key_gives_other_ids_to_what_the_cache_knows(read: Read) -> None:
    folders, cases = read()
    (RAW / case_ids.KEY).unlink()
    case_ids.make_key(RAW)
    again, others = read()
    assert again == folders
    assert not {case.case_id for case in others} & {case.case_id for case in cases}
    assert sorted(case.paths for case in others) == sorted(case.paths for case in cases)


def test_a_large_folder_is_read_and_kept_in_pieces(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    _, cases = read()
    monkeypatch.setattr(subjects, "CHUNK", 3)
    assert read() == ({"P0/0", "P0/again", "P1/0", "P2/0"}, cases)
    assert read() == (set(), cases)


def test_the_cache_holds_no_patient_of_an_export(read: Read, tmp_path: Path) -> None:
    read()
    kept = [path.read_bytes() for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert kept
    assert not any(b"Jane" in content or b"Doe" in content for content in kept)
    assert not any((RAW / case_ids.KEY).read_bytes().strip() in content for content in kept)


def test_of_a_folder_that_breaks_its_process_one_file_at_a_time_is_read(
    read: Read, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cases = read()
    shutil.rmtree(os.environ["FLAIRPREP_CACHE"])

    def breaks_on_one(function: Any, items: Any, label: str, *, on_failure: Any, **options: Any) -> Iterator[Any]:
        for item in items:
            crash = item[0].parent == RAW / "P2/0"
            yield on_failure(item, CaseError(Code.CRASHED, "")) if crash else function(item)

    monkeypatch.setattr(result_cache, "run_cases", breaks_on_one)
    assert read() == ({"P0/0", "P0/again", "P1/0", "P2/0"}, cases)
    monkeypatch.setattr(result_cache, "run_cases", in_this_process)
    assert read() == ({"P2/0"}, cases)  # what was lost is not kept


def test_an_interrupted_stage_goes_on_where_it_was(run: Run, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = outs()
    shutil.rmtree(kept)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "ingest_case", stops_at_three)
        with pytest.raises(FlairprepError, match="stop"):
            ingest.main()
    assert run()["ingest"] == 3
    assert outs() == expected


def test_a_lost_case_is_not_kept_and_a_failed_one_is(
    run: Run, kept: Path, workers: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = outs()
    shutil.rmtree(kept)
    with monkeypatch.context() as patch:
        patch.setattr(ingest, "ingest_case", dies_at_three)
        ingest.main()
    rows = tables.read_csv(Path("data/ingest/cases.csv")).set_index("case_id")
    assert rows.loc[[GOOD[3], FEW], "code"].tolist() == [Code.CRASHED, Code.TOO_FEW_SLICES]
    assert "SIGKILL" in rows.loc[GOOD[3], "message"]
    assert run()["ingest"] == 1
    assert outs() == expected


@pytest.mark.parametrize("place", ["", "tmp", "seen"])
def test_a_cache_that_cannot_be_written_costs_a_warning(
    place: str, run: Run, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = outs()
    shutil.rmtree(kept)
    if place == "":
        kept.touch()
    else:
        kept.mkdir(0o700)
        (kept / place).touch()
    ingest.main()
    shown = capsys.readouterr()
    assert len(re.findall("results are not cached for later runs", shown.err)) == 1
    assert recomputed(shown.out) == {"ingest": 6}
    run()
    assert outs() == expected


def test_the_cache_is_private_and_holds_no_patient(run: Run, kept: Path) -> None:
    for path in (kept, *kept.rglob("*")):
        if path.is_dir():
            assert path.stat().st_mode & 0o077 == 0
    assert (kept / "secret").stat().st_mode & 0o077 == 0
    secret = (kept / "secret").read_bytes()
    texts = [PATIENT, "1.2.424242", "Image-", *(f"{PATIENT} {case}" for case in GOOD)]
    needles = [text.encode() for text in texts]
    needles += [hashlib.new(kind, n).hexdigest().encode() for n in needles for kind in ("md5", "sha1", "sha256")]
    volume = read_series(sorted((RAW / GOOD[0] / "FLAIR").iterdir())).identity["voxels"].encode()
    for path in kept.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert not [n for n in (*needles, volume) if n in content or n in str(path.relative_to(kept)).encode()]
        assert path.name == "secret" or secret not in content
