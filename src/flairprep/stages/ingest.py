"""ingest: each case's series of DICOM files to one volume as acquired."""

from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import Field

from flairprep import console, files, params, volumes
from flairprep.cases import OUTCOME_COLUMNS, CaseError, Code, Outcome, Status, failure, table, write_csv
from flairprep.dicom import read_series
from flairprep.errors import FlairprepError
from flairprep.pool import map_cases

OUT = Path("data/ingest")
COLUMNS = (
    *OUTCOME_COLUMNS,
    *("plane", "rows", "columns", "slices", "spacing_x", "spacing_y", "spacing_z", "manufacturer", "field_strength"),
    *("echo_time", "repetition_time", "inversion_time", "acquisition_type", "contrast_agent", "sex", "age_band"),
    *("skull_stripped", "interpolated"),
)
IDENTITY = ("patient", "study", "frame_of_reference", "voxels")


class Params(params.Section):
    """Section `ingest` of params.yaml."""

    dicom_dir: str
    sequence: str = Field(pattern=r"^[A-Za-z0-9_-]+$")
    exclude: dict[str, str]
    max_failed: float = Field(ge=0, le=1)
    min_slices: int = Field(ge=1)


def find_cases(dicom_dir: Path, sequence: str) -> dict[str, list[Path]]:
    """The files of each case in the layout dicom_dir/CASE/SEQUENCE/*, case_id -> paths (none: no such series).

    Raises:
        FlairprepError: the folder is missing or holds no case.
    """
    if not dicom_dir.is_dir():
        raise FlairprepError(f"params.yaml: ingest.dicom_dir: {str(dicom_dir)!r} is no folder; put the scans there")
    found = {}
    for case in sorted(path for path in dicom_dir.iterdir() if path.is_dir() and not path.name.startswith(".")):
        folders = [path for path in case.iterdir() if path.is_dir() and path.name.lower() == sequence.lower()]
        paths = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        found[case.name] = [path for path in paths if not path.name.startswith(".")]
    if not found:
        raise FlairprepError(f"params.yaml: ingest.dicom_dir: no case in {str(dicom_dir)!r}; expected CASE/{sequence}/")
    return found


def ingest(case: tuple[str, list[Path]], *, params: Params, volumes_dir: Path) -> tuple[Outcome, dict[str, str]]:
    """One case's files to volumes_dir/ID.nii.gz; the row for cases.csv, and what same_as.csv compares."""
    case_id, paths = case
    try:
        if case_id in params.exclude:
            raise CaseError(Code.EXCLUDED, params.exclude[case_id] or "listed in ingest.exclude")
        if not paths:
            raise CaseError(Code.NO_SERIES, f"no file in a folder {params.sequence}")
        series = read_series(paths)
        if series.header["slices"] < params.min_slices:
            found = series.header["slices"]
            raise CaseError(Code.TOO_FEW_SLICES, f"{found} slices, ingest.min_slices is {params.min_slices}")
    except CaseError as error:
        return failure(case_id, error), {}
    volumes.write(series.image, volumes_dir / f"{case_id}.nii.gz")
    row = {**series.header, "skull_stripped": "yes" if volumes.is_skull_stripped(series.image) else "no"}
    if not series.warnings:
        return Outcome(case_id, Status.OK, row=row), series.identity
    code = series.warnings[0][0].value
    message = "; ".join(text for _, text in series.warnings)
    return Outcome(case_id, Status.WARNED, code, message, row), series.identity


def same_as(identities: dict[str, dict[str, str]]) -> pd.DataFrame:
    """For each case and each of patient, study, frame_of_reference and voxels the first case_id that shares it."""
    first: dict[tuple[str, str], str] = {}
    rows = []
    for case_id in sorted(identities):
        values = identities[case_id]
        shared = {key: first.setdefault((key, values[key]), case_id) if values[key] else case_id for key in IDENTITY}
        rows.append({"case_id": case_id, **shared})
    return pd.DataFrame(rows, columns=["case_id", *IDENTITY])


def check_failures(outcomes: list[Outcome], max_failed: float) -> None:
    """Ends the stage where more than the share `max_failed` of the cases failed (excluded ones aside)."""
    tried = [outcome for outcome in outcomes if outcome.code != Code.EXCLUDED]
    failed = [outcome for outcome in tried if outcome.status is Status.FAILED]
    if len(failed) > max_failed * len(tried):
        raise FlairprepError(
            f"params.yaml: ingest.max_failed: {max_failed}: {len(failed)} of {len(tried)} cases failed, reasons above; "
            "mend or remove them, list them in ingest.exclude, or raise it"
        )


def main() -> None:
    """Reads ingest.dicom_dir, writes data/ingest."""
    section = params.load(Params, "ingest")
    found = find_cases(Path(section.dicom_dir), section.sequence)
    if unknown := sorted(set(section.exclude) - set(found)):
        console.warn(f"ingest: params.yaml: ingest.exclude: no case {', '.join(unknown)} in {section.dicom_dir}")
    with files.whole_folder(OUT) as out:
        (out / "volumes").mkdir()
        work = partial(ingest, params=section, volumes_dir=out / "volumes")
        results = list(map_cases(work, list(found.items()), "ingest"))
        outcomes = [outcome for outcome, _ in results]
        console.summarise("ingest", outcomes)
        check_failures(outcomes, section.max_failed)
        write_csv(out / "cases.csv", table(outcomes, COLUMNS))
        write_csv(out / "same_as.csv", same_as({o.case_id: identity for o, identity in results if identity}))


if __name__ == "__main__":
    console.run(main, "ingest")
