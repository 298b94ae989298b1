"""ingest: each case's series of DICOM files to one volume as acquired."""

import hmac
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import Field

from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import (
    OUTCOME_COLUMNS,
    CaseError,
    Code,
    Outcome,
    Status,
    failure,
    remove_failed,
    success,
    table,
)
from flairprep.core.tables import Row, write_rows
from flairprep.dicom import classify, discovery, series, survey
from flairprep.imaging import nifti, skull_stripping
from flairprep.runner.result_cache import Store

OUT = Path("data/ingest")
COLUMNS = (
    *OUTCOME_COLUMNS,
    *("plane", "rows", "columns", "slices", "spacing_x", "spacing_y", "spacing_z", "manufacturer", "field_strength"),
    *("echo_time", "repetition_time", "inversion_time", "acquisition_type", "contrast_agent", "sex", "age_band"),
    *("skull_stripped", "interpolated"),
)
SERIES = ("case_id", "series", "slices", "marks", "verdict")
IDENTITY = ("patient", "study", "frame_of_reference", "voxels")


class Params(params.Section):
    """Section `ingest` of params.yaml."""

    dicom_dir: params.InsidePath
    sequence: classify.Name
    exclude: dict[str, str]
    max_failed: float = Field(ge=0, le=1)
    min_slices: int = Field(ge=1)


class Ingested(NamedTuple):
    """The case's row of cases.csv, what same_as.csv compares ("" for nothing), and the case's rows of series.csv."""

    outcome: Outcome
    identity: dict[str, str]
    series: list[dict[str, Any]]


def ingest(case: discovery.Case, *, params: Params, volumes_dir: Path) -> Ingested:
    """The best series of a case to volumes_dir/ID.nii.gz."""
    found = best = None
    try:
        if case.case_id in params.exclude:
            raise CaseError(Code.EXCLUDED, params.exclude[case.case_id] or "listed in ingest.exclude")
        if not case.files and not case.stray:
            raise CaseError(Code.NO_SERIES, f"no file in a folder {params.sequence}")
        found = survey.survey(case)
        best, notes = survey.choose(case, found, params.sequence)
        series = survey.read(best)
        if (slices := series.header["slices"]) < params.min_slices:
            raise CaseError(Code.TOO_FEW_SLICES, f"{slices} slices, ingest.min_slices is {params.min_slices}")
    except CaseError as error:
        return Ingested(failure(case.case_id, error), {}, _accounts(case, found, best, params, error.code.value))
    except FlairprepError as error:
        raise FlairprepError(f"ingest: case {case.case_id}: {error}") from error
    nifti.write(series.image, volumes_dir / f"{case.case_id}.nii.gz")
    stripped = skull_stripping.is_skull_stripped(series.image)
    notes = [*notes, *series.warnings]
    if not stripped:
        notes.append((Code.WHOLE_HEAD, "not skull-stripped: the face may identify"))
    row = {**series.header, "skull_stripped": "yes" if stripped else "no"}
    outcome = success(case.case_id, notes, row)
    return Ingested(outcome, series.identity, _accounts(case, found, best, params))


def _accounts(
    case: discovery.Case,
    found: survey.Survey | None,
    best: series.Candidate | None,
    params: Params,
    code: str = "read",
) -> list[dict[str, Any]]:
    """The rows of series.csv: what became of each series, and why; `code` of the one that was to be read."""
    candidates = found.candidates if found else []
    verdicts = [code if one is best else series.verdict(one, best, params.sequence) for one in candidates]
    cells = [(case.case_id, one.title, one.slices, ", ".join(one.marks)) for one in candidates]
    return [dict(zip(SERIES, (*cell, verdict), strict=True)) for cell, verdict in zip(cells, verdicts, strict=True)]


def same_as(identities: dict[str, dict[str, str]]) -> list[Row]:
    """For each case and each of patient, study, frame_of_reference and voxels the first case_id that shares it."""
    first: dict[tuple[str, str], str] = {}
    rows = []
    for case_id in sorted(identities):
        values = identities[case_id]
        shared = {key: first.setdefault((key, values[key]), case_id) if values[key] else case_id for key in IDENTITY}
        rows.append({"case_id": case_id, **shared})
    return rows


def too_many_failures(outcomes: list[Outcome], max_failed: float) -> str | None:
    """What to say where more than the share `max_failed` of the cases failed (excluded ones aside), else None."""
    tried = [outcome for outcome in outcomes if outcome.code != Code.EXCLUDED]
    failed = [outcome for outcome in tried if outcome.status is Status.FAILED]
    if len(failed) <= max_failed * len(tried):
        return None
    return (
        f"params.yaml: ingest.max_failed: {max_failed}: {len(failed)} of {len(tried)} cases failed, reasons above; "
        "mend or remove them, list them in ingest.exclude, or raise it"
    )


def keyed(case: discovery.Case, *, work: Callable[[discovery.Case], Ingested], secret: bytes) -> Ingested:
    """What `work` makes of a case, its identity as HMAC-SHA256: no id of a patient leaves the worker in the clear."""
    found = work(case)
    plain = {key: value.encode("utf-8", "surrogatepass") for key, value in found.identity.items()}
    identity = {key: hmac.new(secret, value, "sha256").hexdigest() if value else "" for key, value in plain.items()}
    return found._replace(identity=identity)


def file_name(case: discovery.Case) -> str:
    """Of the case's volume."""
    return f"{case.case_id}.nii.gz"


def inputs(case: discovery.Case, *, params: Params) -> tuple[tuple[str | Path, ...], Any]:
    """What decides on a case: its files, how they lie in the raw folder, and why it is excluded."""
    if case.case_id in params.exclude:
        return (), (case.case_id, params.exclude[case.case_id])
    places = [str(file).removeprefix(f"{Path(params.dicom_dir)}/") for file in case.files]
    return case.files, (case.case_id, case.folder, case.stray, places)


def _lost(case: discovery.Case, error: CaseError) -> Ingested:
    return Ingested(failure(case.case_id, error), {}, [])


def main() -> None:
    """Reads ingest.dicom_dir, writes data/ingest."""
    section = params.load(Params, "ingest")
    store = Store("ingest", __file__, section.model_dump(include={"sequence", "min_slices"}))
    found = discovery.find_cases(Path(section.dicom_dir), section.sequence)
    if unknown := sorted(set(section.exclude) - {case.case_id for case in found}):
        console.warn(f"ingest: params.yaml: ingest.exclude: no case {', '.join(unknown)} in {section.dicom_dir}")
    with files.whole_folder(OUT) as out:
        (out / "volumes").mkdir()
        work = partial(ingest, params=section, volumes_dir=out / "volumes")
        safe, of_case = partial(keyed, work=work, secret=store.secret), partial(inputs, params=section)
        results = list(store.map(safe, found, name=file_name, inputs=of_case, out=out / "volumes", lost=_lost))
        del found  # the names of all files of a cohort are larger than its tables
        outcomes = [result.outcome for result in results]
        remove_failed(outcomes, out / "volumes")
        fault = too_many_failures(outcomes, section.max_failed)
        console.summarise("ingest", outcomes, reused=store.reused, shown=len(outcomes) if fault else console.SHOWN)
        if fault:
            raise FlairprepError(fault)
        write_rows(out / "cases.csv", table(outcomes, COLUMNS), COLUMNS)
        same = same_as({result.outcome.case_id: result.identity for result in results if result.identity})
        write_rows(out / "same_as.csv", same, ("case_id", *IDENTITY))
        write_rows(out / "series.csv", [row for result in results for row in result.series], SERIES)


if __name__ == "__main__":
    console.run(main, "ingest")
