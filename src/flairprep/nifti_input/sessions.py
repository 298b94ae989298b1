"""Find the cases that params.yaml asks for, sessions of a patient as cases of their own, and choose each series.

A pass over the headers tells which files are of which session; the result cache keeps it.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from flairprep.cohort import case_ids
from flairprep.core import params as core_params
from flairprep.core.codes import Code
from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.dicom import archives, sessions
from flairprep.dicom.discovery import RawCase
from flairprep.dicom.ingest_params import IngestParams
from flairprep.dicom.series import CandidateSeries
from flairprep.dicom.survey import Survey
from flairprep.nifti_input import discovery
from flairprep.nifti_input.reading import parts_of
from flairprep.nifti_input.survey import choose_series, survey_case
from flairprep.runner.map_cases import map_cases
from flairprep.runner.result_cache import ResultCache

Part = list[tuple[int, int]]  # of a case's files: the place of each among them; of a member, its place in the archive
NOT_PACKED = -1


def find_cases(params: IngestParams) -> list[RawCase]:
    """Find the cases of ingest.dicom_dir, sorted by id; with ingest.session each, one per session.

    Raises:
        FlairprepError: see `nifti_input.discovery.find_cases`; `split_sessions`; ingest.pick names an unknown case.
    """
    dicom_dir = Path(params.dicom_dir)
    whole = discovery.find_cases(dicom_dir, params.sequence)
    cases = split_sessions(whole, params, dicom_dir)
    check_picks(params, {case.case_id for case in (*whole, *cases)})
    return cases


def check_picks(params: IngestParams, known: Collection[str]) -> None:
    """Refuse a case of ingest.pick that does not exist.

    Raises:
        FlairprepError: with the key, the case, and what may be meant.
    """
    for case_id, number in sorted(params.pick.items()):
        if case_id not in known:
            hint = core_params.suggest(case_id, tuple(sorted(known)))
            hint = hint if hint.startswith("did") else f"flairprep inspect {params.dicom_dir} shows the ids"
            where = f'ingest.pick: {{"{case_id}": {number}}}'
            raise FlairprepError(f"params.yaml: {where}: no such case in {params.dicom_dir}; {hint}")


def pick_faults(params: IngestParams, whole: Sequence[RawCase]) -> list[str]:
    """List the faults of ingest.pick from the headers of the cases that it names: unknown cases and numbers.

    What it says of single sessions (ingest.session each) only ingest can tell, which has to read all headers.
    """
    case_of = {case.case_id: case for case in whole}
    of_sessions = {
        case_id
        for case_id in params.pick
        if params.session == "each" and case_id not in case_of and case_id.rpartition("_")[0] in case_of
    }
    try:
        check_picks(params, {*case_of, *of_sessions})
    except FlairprepError as error:
        return [str(error)]
    picked = [case_of[case_id] for case_id in sorted(params.pick) if case_id in case_of]
    faults = map_cases(partial(_pick_fault, params=params), picked, "pick", on_failure=lambda *_: "")
    return [f"params.yaml: {fault}" for fault in faults if fault]


def _pick_fault(case: RawCase, *, params: IngestParams) -> str:
    try:
        candidates = survey(case, params.sequence).candidates
    except CaseError:
        return ""  # of its files, not of the number
    try:
        sessions.limited(candidates, case.case_id, params.sequence, params.pick[case.case_id], None)
    except CaseError as error:
        return error.message
    return ""


def split_sessions(cases: list[RawCase], params: IngestParams, dicom_dir: Path) -> list[RawCase]:
    """Return the cases with each patient of several sessions as one case per session, PATIENT_1 and so on, by id.

    Patients that ingest.exclude or ingest.pick name stay whole, and so do those of one session.

    Raises:
        FlairprepError: a new id is that of another case, or is too long.
    """
    if params.session != "each":
        return cases
    whole = [case for case in cases if case.case_id not in params.exclude | params.pick]
    cache = ResultCache("sessions", __file__, {"sequence": params.sequence})
    inputs = partial(_inputs, dicom_dir=dicom_dir)
    parts = cache.map(
        partial(parts_of_case, sequence=params.sequence), whole, inputs=inputs, on_failure=lambda *_: list[Part]()
    )
    split = {case.case_id: _sessions(case, own) for case, own in zip(whole, parts, strict=True) if own}
    for case_id, made in split.items():
        case_ids.check([case.case_id for case in made], str(dicom_dir), "shorten the name of its folder")
        if taken := sorted({case.case_id for case in made} & {case.case_id for case in cases}):
            raise FlairprepError(
                f"params.yaml: ingest.session: each: a session of case {case_id!r} would be {taken[0]!r}, which "
                f"{dicom_dir} has already; rename that folder"
            )
    return sorted((one for case in cases for one in split.get(case.case_id, [case])), key=lambda case: case.case_id)


def _inputs(case: RawCase, *, dicom_dir: Path) -> tuple[tuple[str | Path, ...], list[object]]:
    return case.depends_on(dicom_dir)


def _sessions(case: RawCase, parts: list[Part]) -> list[RawCase]:
    """Return a case per part of its files."""
    made = []
    for session, part in enumerate(parts, 1):
        files = tuple(
            case.files[file] if place == NOT_PACKED else archives.address(Path(case.files[file]), place)
            for file, place in part
        )
        made.append(
            replace(case, case_id=f"{case.case_id}_{session}", files=files, session=session, patient=case.case_id)
        )
    return made


def parts_of_case(case: RawCase, *, sequence: str) -> list[Part]:
    """Return the files of each session of a case, in order; [] where there is one, or several people's.

    Files of no session, such as damaged ones, go with what lies beside them, else to every session.
    """
    try:
        candidates = survey(case, sequence).candidates
        if not sessions.are_several(candidates, sequence):
            return []
        owners = {path: {one.session or 1} for one in candidates for path in one.paths}
        beside: dict[Path, set[int]] = defaultdict(set)
        for path, those in owners.items():
            beside[path.parent] |= those
            beside[_stem(path)] |= those
        everyone = {one.session for one in candidates if one.session}
        place_of = {str(file): place for place, file in enumerate(case.files)}
        parts: dict[int, Part] = {session: [] for session in sorted(everyone)}
        for file, path in archives.walk_addressed(case.files):
            archive, member = archives.split_address(file)
            place = (place_of[file], NOT_PACKED) if file in place_of else (place_of[str(archive)], member or 0)
            for session in owners.get(path) or beside.get(_stem(path)) or beside.get(path.parent) or everyone:
                parts[session].append(place)
    except CaseError:
        return []  # ingest says why
    return list(parts.values())


def _stem(path: Path) -> Path:
    """Return a path without the ending of a NIfTI file or its sidecar: what is before it they share."""
    return path.with_suffix("") if path.suffix == ".json" else path.with_name(parts_of(path.name)[0] or path.name)


def inputs(case: RawCase, *, params: IngestParams) -> tuple[tuple[str | Path, ...], list[Any]]:
    """Return what ingest's result of a case depends on: its files, their places, why it is excluded, what is picked."""
    if case.case_id in params.exclude:
        return (), [case.case_id, params.exclude[case.case_id], case.session]
    paths, others = case.depends_on(Path(params.dicom_dir))
    return paths, [*others, params.pick.get(case.case_id)]


def identity(case: RawCase, values: dict[str, str]) -> dict[str, str]:
    """Return the values that same_as.csv compares; sessions without a patient id share that of their patient's case."""
    if case.session and not values.get("patient"):
        return values | {"patient": f"case {case.patient}"}
    return values


def survey(case: RawCase, sequence: str, *, any_modality: bool = False) -> Survey:
    """Survey a case, its series with the ordinals of their sessions.

    Raises:
        CaseError, FlairprepError: see `survey.survey_case`.
    """
    surveyed = survey_case(case.named, any_modality=any_modality)
    return replace(surveyed, candidates=sessions.numbered(surveyed.candidates, sequence, case.session))


def choose(
    case: RawCase, surveyed: Survey, params: IngestParams
) -> tuple[Survey, CandidateSeries, list[tuple[Code, str]]]:
    """Choose the series of a case as `survey.choose_series` does, among those of ingest.pick and ingest.session.

    Returns:
        The survey, with what params.yaml does not ask for as no longer of the sequence; the series; what to warn of.

    Raises:
        CaseError: see `survey.choose_series` and `sessions.limited`.
    """
    sequence, candidates = params.sequence, surveyed.candidates
    kept = sessions.limited(candidates, case.case_id, sequence, params.pick.get(case.case_id), params.session)
    limited = replace(surveyed, candidates=kept)
    try:
        return limited, *choose_series(case, limited, sequence)
    except CaseError as error:
        if error.code is not Code.AMBIGUOUS_SERIES:
            raise
        text = f"{error.message}; {sessions.remedy(kept, case.case_id, sequence)}"
        raise CaseError(Code.AMBIGUOUS_SERIES, text) from error
