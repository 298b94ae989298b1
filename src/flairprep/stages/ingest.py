"""ingest: read each case's series, of DICOM files or one NIfTI file, as one volume, as acquired."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from flairprep.cohort.identity import IDENTITY, pseudonymise, same_as
from flairprep.core import console, files, params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, Outcome, count_failures, failure, success, table
from flairprep.core.tables import write_rows
from flairprep.dicom import archives, classify, discovery, shared_ids, survey
from flairprep.dicom.copies import Volume
from flairprep.imaging import nifti, skull_stripping
from flairprep.nifti_input.discovery import find_cases
from flairprep.nifti_input.survey import choose_series, read_candidate, survey_case
from flairprep.runner.case_stage import remove_failed_volumes
from flairprep.runner.result_cache import ResultCache

OUT = Path("data/ingest")
COLUMNS = (*OUTCOME_COLUMNS, *survey.CASE_COLUMNS)


class IngestParams(params.Section):
    """Section `ingest` of params.yaml."""

    dicom_dir: params.InsidePath
    """`CASE/FLAIR/*`, NIfTI files, or an export of any folders; see [your own data](own-data.md#two-layouts)."""
    sequence: classify.MRSequence
    """Which series of a case is read."""
    exclude: dict[str, str]
    """Known bad cases, id: reason."""
    max_failed: float = Field(ge=0, le=1)
    """Largest share of the cases that may fail, excluded ones aside."""
    min_slices: int = Field(ge=1)
    """A series with fewer slices fails."""
    volume: Volume | None
    """Which of several volumes at the same positions is read (echoes, time points, copies); null: such a series
    fails."""


class Ingested(NamedTuple):
    """The case's row of cases.csv, the values that same_as.csv compares ("" for none), its rows of series.csv."""

    outcome: Outcome
    identity: dict[str, str]
    series: list[dict[str, Any]]


def ingest(case: discovery.RawCase, *, params: IngestParams, volumes_dir: Path) -> Ingested:
    """Write the best series of a case to volumes_dir/ID.nii.gz."""
    headers = best = None
    try:
        if case.case_id in params.exclude:
            raise CaseError(Code.EXCLUDED, params.exclude[case.case_id] or "listed in ingest.exclude")
        if not case.files and not case.stray:
            raise CaseError(Code.NO_SERIES, f"no file in a folder {params.sequence}")
        headers = survey_case(case)
        best, notes = choose_series(case, headers, params.sequence)
        series = read_candidate(replace(best, volume=params.volume))
        if (slices := series.header["slices"]) < params.min_slices:
            raise CaseError(Code.TOO_FEW_SLICES, f"{slices} slices, ingest.min_slices is {params.min_slices}")
    except CaseError as error:
        rows = survey.series_rows(case.case_id, headers, best, params.sequence, error.code.value)
        return Ingested(failure(case.case_id, error), {}, rows)
    except FlairprepError as error:
        raise FlairprepError(f"ingest: case {case.case_id}: {error}") from error
    nifti.write_volume(series.image, volumes_dir / file_name(case))
    notes += series.warnings
    if not (stripped := skull_stripping.is_skull_stripped(series.data)):
        notes.append((Code.WHOLE_HEAD, "not skull-stripped: the face may identify"))
    row = {**series.header, "skull_stripped": "yes" if stripped else "no"}
    rows = survey.series_rows(case.case_id, headers, best, params.sequence)
    return Ingested(success(case.case_id, notes, row), series.identity, rows)


def ingest_case(case: discovery.RawCase, *, params: IngestParams, volumes_dir: Path, secret: bytes) -> Ingested:
    """Run `ingest` and pseudonymise the case's identity before it leaves the worker."""
    ingested = ingest(case, params=params, volumes_dir=volumes_dir)
    return ingested._replace(identity=pseudonymise(ingested.identity, secret))


def file_name(case: discovery.RawCase) -> str:
    """Name the case's volume."""
    return f"{case.case_id}.nii.gz"


def inputs(case: discovery.RawCase, *, params: IngestParams) -> tuple[tuple[str | Path, ...], Any]:
    """Return what a case depends on: its files, their places in the raw folder, why it is excluded."""
    if case.case_id in params.exclude:
        return (), (case.case_id, params.exclude[case.case_id])
    places = [str(file).removeprefix(f"{Path(params.dicom_dir)}/") for file in case.files]
    return archives.sources(case.files), (case.case_id, case.folder, case.stray, places)


def _failed(case: discovery.RawCase, error: CaseError) -> Ingested:
    return Ingested(failure(case.case_id, error), {}, [])


def _shared_ids(results: list[Ingested]) -> list[str]:
    read = {result.outcome.case_id: result for result in results if result.identity}
    identities = {case_id: result.identity for case_id, result in read.items()}
    return shared_ids.warnings_of(identities, {case_id: result.outcome.row for case_id, result in read.items()})


def main() -> None:
    """Read ingest.dicom_dir; write data/ingest."""
    section = params.load(IngestParams, "ingest")
    cache = ResultCache("ingest", __file__, section.model_dump(include={"sequence", "min_slices", "volume"}))
    cases = find_cases(Path(section.dicom_dir), section.sequence)
    if unknown := sorted(set(section.exclude) - {case.case_id for case in cases}):
        console.warn(f"ingest: params.yaml: ingest.exclude: no case {', '.join(unknown)} in {section.dicom_dir}")
    with files.atomic_folder(OUT) as out:
        volumes = out / "volumes"
        volumes.mkdir()
        function = partial(ingest_case, params=section, volumes_dir=volumes, secret=cache.secret)
        depends_on = partial(inputs, params=section)
        results = list(cache.map(function, cases, name=file_name, inputs=depends_on, out=volumes, on_failure=_failed))
        del cases  # a cohort's file names take more memory than its tables
        outcomes = [result.outcome for result in results]
        remove_failed_volumes(outcomes, volumes)
        failed, tried = count_failures(outcomes)
        too_many = failed > section.max_failed * tried
        console.summarise("ingest", outcomes, reused=cache.reused, listed=len(outcomes) if too_many else console.LISTED)
        if too_many:
            raise FlairprepError(
                f"params.yaml: ingest.max_failed: {section.max_failed}: {failed} of {tried} cases failed, see above; "
                "fix or remove them, list them in ingest.exclude, or raise the share"
            )
        write_rows(out / "cases.csv", table(outcomes, COLUMNS), COLUMNS)
        for warning in _shared_ids(results):
            console.warn(f"ingest: {warning}")
        same = same_as({result.outcome.case_id: result.identity for result in results if result.identity})
        write_rows(out / "same_as.csv", same, ("case_id", *IDENTITY))
        write_rows(out / "series.csv", [row for result in results for row in result.series], survey.SERIES_COLUMNS)


if __name__ == "__main__":
    console.run(main, "ingest")
