"""Damaged files cost their own case and nothing else: a seeded part of bench/fuzz.py."""

import resource
from functools import partial
from pathlib import Path
from typing import Any

import archive_mutations
import mutations
import nifti_mutations
import numpy as np
import phantoms
import pytest
from workspace import PARAMS

from flairprep.core.codes import Code
from flairprep.core.outcomes import Status
from flairprep.core.params import load
from flairprep.dicom import discovery
from flairprep.imaging import nifti
from flairprep.runner.map_cases import map_cases
from flairprep.stages import ingest

pytestmark = pytest.mark.slow

FILES, SEED = 200, 0
SLICES = 4  # of every fifth case of DICOM, one of them damaged
KINDS = 4  # the third and fourth case of each four are NIfTI and an archive
PARENT = 300  # MB that the parent may grow by


def names_of_exceptions() -> tuple[str, ...]:
    """What a message begins with where an exception left the project's own code."""
    return tuple(f"{name};" for name, kind in vars(__import__("builtins")).items() if _is_error(kind))


def _is_error(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Exception)


def section_of_params() -> ingest.IngestParams:
    """What ingest reads, with one slice enough and no failure too many."""
    section = load(ingest.IngestParams, "ingest", PARAMS)
    return section.model_copy(update={"max_failed": 1.0, "min_slices": 1})


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[bytes], list[bytes]]:
    """Single files of many kinds, and the files of one series."""
    stored = np.random.default_rng(SEED).integers(0, 999, (SLICES, 16, 16)).astype(np.int16)
    folder = tmp_path_factory.mktemp("phantom")
    series = [path.read_bytes() for path in phantoms.save(phantoms.slices(stored), folder)]
    return list(mutations.pydicom_files().values()), series


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    """NIfTI scans with their sidecars, of many types."""
    return list(nifti_mutations.originals(tmp_path_factory.mktemp("nifti")).values())


@pytest.fixture(scope="module")
def cohort(
    whole: tuple[list[bytes], list[bytes]], scans: list[dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> list[discovery.RawCase]:
    """FILES cases as the raw folder holds them."""
    single, series = whole
    root = tmp_path_factory.getbasetemp() / "fuzz"
    root.mkdir()
    cases = []
    for number in range(FILES):
        rng = np.random.default_rng([SEED, number])
        case = root / f"{number:03d}"
        if number % KINDS == KINDS - 2:
            cases.append(of_nifti(case, scans[rng.integers(len(scans))], rng))
        elif number % KINDS == KINDS - 1:
            of_dicom = [(f"FLAIR/{index}", content) for index, content in enumerate(series)]
            members = of_dicom if number % 3 else list(scans[rng.integers(len(scans))].items())
            cases.append(of_archive(case, members, number // KINDS, rng))
        else:
            contents = list(series) if number % 5 == 4 else [single[rng.integers(len(single))]]
            cases.append(of_dicom_files(case, contents, single, rng))
    return cases


def of_dicom_files(
    case: Path, contents: list[bytes], single: list[bytes], rng: np.random.Generator
) -> discovery.RawCase:
    """A case of DICOM files, one of them damaged."""
    place = int(rng.integers(len(contents)))
    contents[place], _ = mutations.mutate(contents[place], rng, single)
    folder = case / "FLAIR"
    folder.mkdir(parents=True)
    for index, content in enumerate(contents):
        (folder / f"{index}.dcm").write_bytes(content)
    return discovery.RawCase(case.name, tuple(sorted(folder.iterdir())), "FLAIR")


def of_nifti(case: Path, files: dict[str, bytes], rng: np.random.Generator) -> discovery.RawCase:
    """A case of one NIfTI scan and its sidecar, one of the files damaged."""
    name = list(files)[rng.integers(len(files))]
    if name.endswith(".json"):
        damaged = nifti_mutations.mutate_sidecar(files[name], rng)
    else:
        damaged, _ = nifti_mutations.mutate(files[name], rng, list(files.values()))
    case.mkdir()
    for own, content in (files | {name: damaged}).items():
        (case / own).write_bytes(content)
    return discovery.RawCase(case.name, tuple(sorted(case.iterdir())))


def of_archive(case: Path, members: list[tuple[str, bytes]], kind: int, rng: np.random.Generator) -> discovery.RawCase:
    """A case of a damaged archive."""
    ending = archive_mutations.KINDS[kind % len(archive_mutations.KINDS)]
    path = case.with_name(case.name + ending)
    path.write_bytes(archive_mutations.mutate(members, ending, rng)[0])
    return discovery.RawCase(case.name, (path,), inner="FLAIR")


@pytest.fixture(scope="module")
def results(cohort: list[discovery.RawCase], tmp_path_factory: pytest.TempPathFactory) -> list[ingest.Ingested]:
    """What ingest's workers make of them; that this ends without an exception is the first of the tests."""
    section = section_of_params()
    work = partial(ingest.ingest, params=section, volumes_dir=tmp_path_factory.mktemp("volumes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FLAIRPREP_WORKERS", "2")
        patch.setenv("FLAIRPREP_SECONDS", "300")  # no machine is so slow
        patch.setenv("FLAIRPREP_MEGABYTES", "512")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes = list(map_cases(work, cohort, "fuzz", on_failure=ingest._failed))
        assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10 < PARENT
    return outcomes


def test_every_damaged_case_has_a_row_with_a_known_code(
    results: list[ingest.Ingested], cohort: list[discovery.RawCase]
) -> None:
    assert [result.outcome.case_id for result in results] == [case.case_id for case in cohort]
    for result in results:
        if result.outcome.status is not Status.OK:
            assert result.outcome.code in set(Code)
            assert result.outcome.message


def test_no_exception_of_python_and_no_hang_is_among_them(results: list[ingest.Ingested]) -> None:
    outcomes = [result.outcome for result in results]
    assert not [o for o in outcomes if o.code == Code.CRASHED and o.message.startswith(names_of_exceptions())]
    assert not [o for o in outcomes if o.code == Code.TIMED_OUT]


def test_damage_is_seen_at_many_places_and_many_a_file_is_read_nevertheless(results: list[ingest.Ingested]) -> None:
    """Else the mutations would all stop at the same door."""
    codes = {result.outcome.code for result in results}
    assert codes >= {Code.DECODE_FAILED, Code.NO_GEOMETRY, Code.NO_PIXEL_DATA, Code.NOT_DICOM, Code.TOO_LARGE}
    assert codes >= {Code.DAMAGED_ARCHIVE, Code.LINK_OUTSIDE, Code.MULTIPLE_VOLUMES}
    assert sum(result.outcome.status is not Status.FAILED for result in results) > FILES // 10


# The mutations


@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_gives_the_same_bytes_for_the_same_seed_and_others_for_most_seeds(
    mutation: mutations.Mutation, whole: tuple[list[bytes], list[bytes]]
) -> None:
    single, _ = whole
    changed: list[bytes] = []
    for index, content in enumerate(single):
        made = [[mutation(content, np.random.default_rng([seed, index]), single) for seed in range(4)] for _ in "ab"]
        assert made[0] == made[1]
        changed += [one for one in made[0] if one != content]
    assert len(set(changed)) > (0 if mutation is mutations.empty else len(single))


@pytest.mark.parametrize("content", [b"", b"\0", bytes(128) + b"DICM", bytes(range(256)) * 9], ids=len)
@pytest.mark.parametrize("mutation", mutations.MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_takes_what_is_no_dicom(mutation: mutations.Mutation, content: bytes) -> None:
    for seed in range(8):
        assert isinstance(mutation(content, np.random.default_rng(seed), []), bytes)


@pytest.mark.parametrize("kind", archive_mutations.KINDS)
@pytest.mark.parametrize("mutation", archive_mutations.MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_of_archives_gives_the_same_bytes_for_the_same_seed(
    mutation: archive_mutations.Mutation, kind: str
) -> None:
    members = [("FLAIR/a", b"DICM" * 300), ("FLAIR/b", bytes(range(256)))]
    content = archive_mutations.pack(members, kind)
    made = [[mutation(content, kind, members, np.random.default_rng(seed)) for seed in range(8)] for _ in "ab"]
    assert made[0] == made[1]
    assert len({one for one in made[0] if one != content}) > 1


@pytest.mark.parametrize("mutation", nifti_mutations.MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_a_mutation_of_nifti_gives_the_same_bytes_for_the_same_seed(
    mutation: nifti_mutations.Mutation, scans: list[dict[str, bytes]]
) -> None:
    contents = [content for files in scans for name, content in files.items() if not name.endswith(".json")]
    made = [
        [mutation(content, np.random.default_rng([seed, index]), contents) for index, content in enumerate(contents)]
        for seed in (0, 0, 1)
    ]
    assert made[0] == made[1]
    assert len({*made[0], *made[2]} - set(contents)) > len(contents) // 2
    for content in (b"", b"\0", b"\x1f\x8b", bytes(range(256)) * 9):
        assert isinstance(mutation(content, np.random.default_rng(0), []), bytes)


def test_elements_are_those_that_pydicom_finds(whole: tuple[list[bytes], list[bytes]]) -> None:
    for content in whole[1]:
        elements = mutations.elements(content)
        assert elements[-1].tag == mutations.PIXELS
        assert elements[-1].end == len(content)
        assert [one.start for one in elements] == [132, *(one.end for one in elements[:-1])]


# Faults that the bench showed


def read_back(folder: Path, stored: np.ndarray, **elements: Any) -> ingest.Ingested:
    """What ingest makes of one slice, in this process, so that nothing hides an exception."""
    [path] = phantoms.save(phantoms.slices(stored, **elements), folder / "FLAIR")
    section = section_of_params()
    ingested = ingest.ingest(discovery.RawCase("case", (path,), "FLAIR"), params=section, volumes_dir=folder)
    if ingested.outcome.status is not Status.FAILED:
        nifti.read_volume(folder / "case.nii.gz")
    return ingested


@pytest.mark.parametrize("shape", [(1, 40_000, 2), (1, 2, 65_535)])
def test_more_rows_or_columns_than_nifti_can_count_cost_the_case(shape: tuple[int, ...], tmp_path: Path) -> None:
    stored = np.arange(np.prod(shape)).astype(np.int16).reshape(shape)
    assert read_back(tmp_path, stored).outcome.code == Code.TOO_LARGE


@pytest.mark.parametrize(
    "elements",
    [
        {"RescaleSlope": 1, "RescaleIntercept": 1e308},
        {"RescaleSlope": 1, "RescaleIntercept": 1e19},
        {"RescaleSlope": 1e300, "RescaleIntercept": 0},
        {"PixelSpacing": [1e-320, 1e-320]},
        {"PixelSpacing": [1e-50, 1]},
        {"PixelSpacing": [1e300, 1e300]},
        {"ImagePositionPatient": [1e308, -1e308, 1e308]},
    ],
    ids=str,
)
def test_numbers_beyond_what_a_volume_can_hold_cost_the_case(elements: dict[str, Any], tmp_path: Path) -> None:
    stored = np.arange(64).astype(np.int16).reshape(1, 8, 8)
    refused = {Code.DECODE_FAILED, Code.NO_GEOMETRY, Code.BLANK_VOLUME}  # beside 1e19 no 64 numbers differ
    assert read_back(tmp_path, stored, **elements).outcome.code in refused


def test_more_pixels_than_the_header_counts_are_no_further_frames(tmp_path: Path) -> None:
    """Else a header of 1 x 1 makes a frame of every voxel, at milliseconds each."""
    stored = np.arange(256).astype(np.int16).reshape(1, 16, 16)
    assert read_back(tmp_path, stored, Rows=1, Columns=1).outcome.code == Code.DECODE_FAILED
