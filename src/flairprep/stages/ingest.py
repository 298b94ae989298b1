"""ingest: read each case's series, of DICOM files or one NIfTI file, as one volume, as acquired."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from flairprep.cohort.identity import IDENTITY, pseudonymise, same_as
from flairprep.core import console, files, params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import OUTCOME_COLUMNS, CaseError, Outcome, count_failures, failure, success, table
from flairprep.core.tables import write_rows
from flairprep.dicom import discovery, shared_ids, survey
from flairprep.dicom.ingest_params import IngestParams
from flairprep.imaging import nifti, skull_stripping
from flairprep.nifti_input import sessions
from flairprep.nifti_input.survey import read_candidate
from flairprep.runner.case_stage import remove_failed_volumes
from flairprep.runner.result_cache import ResultCache

OUT = Path("data/ingest")
COLUMNS = (*OUTCOME_COLUMNS, *survey.CASE_COLUMNS)


class Ingested(NamedTuple):
    """The case's row of cases.csv, the values that same_as.csv compares ("" for none), its rows of series.csv."""

    outcome: Outcome
    identity: dict[str, str]
    series: list[dict[str, Any]]


def ingest(case: discovery.RawCase, *, params: IngestParams, volumes_dir: Path) -> Ingested:
    """Write the best series of a case to volumes_dir/ID.nii.gz."""
    surveyed = best = None
    try:
        if case.case_id in params.exclude:
            raise CaseError(Code.EXCLUDED, params.exclude[case.case_id] or "listed in ingest.exclude")
        if not case.files and not case.stray:
            raise CaseError(Code.NO_SERIES, f"no file in a folder {params.sequence}")
        surveyed = sessions.survey(case, params.sequence)
        surveyed, best, notes = sessions.choose(case, surveyed, params)
        series = read_candidate(replace(best, volume=params.volume))
        if (slices := series.header["slices"]) < params.min_slices:
            raise CaseError(Code.TOO_FEW_SLICES, f"{slices} slices, ingest.min_slices is {params.min_slices}")
    except CaseError as error:
        rows = survey.series_rows(case.case_id, surveyed, best, params.sequence, error.code.value)
        return _failed(case, error)._replace(series=rows)
    except FlairprepError as error:
        raise FlairprepError(f"ingest: case {case.case_id}: {error}") from error
    nifti.write_volume(series.image, volumes_dir / discovery.volume_name(case))
    notes += series.warnings
    if not (stripped := skull_stripping.is_skull_stripped(series.data)):
        notes.append((Code.WHOLE_HEAD, "not skull-stripped: the face may identify"))
    row = {**series.header, "skull_stripped": "yes" if stripped else "no", "session": case.session or ""}
    rows = survey.series_rows(case.case_id, surveyed, best, params.sequence)
    return Ingested(success(case.case_id, notes, row), sessions.identity(case, series.identity), rows)


def ingest_case(case: discovery.RawCase, *, params: IngestParams, volumes_dir: Path, secret: bytes) -> Ingested:
    """Run `ingest` and pseudonymise the case's identity before it leaves the worker."""
    ingested = ingest(case, params=params, volumes_dir=volumes_dir)
    return ingested._replace(identity=pseudonymise(ingested.identity, secret))


def _failed(case: discovery.RawCase, error: CaseError) -> Ingested:
    return Ingested(replace(failure(case.case_id, error), row={"session": case.session or ""}), {}, [])


def _shared_ids(results: list[Ingested]) -> list[str]:
    read = {result.outcome.case_id: result for result in results if result.identity}
    identities = {case_id: result.identity for case_id, result in read.items()}
    return shared_ids.warnings_of(identities, {case_id: result.outcome.row for case_id, result in read.items()})


def main() -> None:
    """Read ingest.dicom_dir; write data/ingest."""
    section = params.load(IngestParams, "ingest")
    cache = ResultCache("ingest", __file__, section.model_dump(include={"sequence", "session", "min_slices", "volume"}))
    cases = sessions.find_cases(section)
    known = {case.case_id for case in cases} | {case.patient for case in cases}
    if unknown := sorted(set(section.exclude) - known):
        console.warn(f"ingest: params.yaml: ingest.exclude: no case {', '.join(unknown)} in {section.dicom_dir}")
    with files.atomic_folder(OUT) as out:
        volumes = out / "volumes"
        volumes.mkdir()
        function = partial(ingest_case, params=section, volumes_dir=volumes, secret=cache.secret)
        depends_on = partial(sessions.inputs, params=section)
        name = discovery.volume_name
        results = list(cache.map(function, cases, name=name, inputs=depends_on, out=volumes, on_failure=_failed))
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
