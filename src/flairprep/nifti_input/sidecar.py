"""Read the JSON sidecars of NIfTI files, as BIDS and dcm2niix write them: fields of an allow list, and no others.

BIDS gives times in seconds; here they are ms, as DICOM gives them. Names, dates and ids in a sidecar are never kept.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from flairprep.core.codes import Code
from flairprep.core.outcomes import CaseError
from flairprep.dicom.archives import open_raw
from flairprep.dicom.elements import plausible_number
from flairprep.dicom.header import LONGEST_NAME, MANUFACTURERS, NO_AGENT, age_band
from flairprep.dicom.reading import undamaged
from flairprep.nifti_input.names import entities_of
from flairprep.nifti_input.reading import parts_of

MAX_SIDECAR = 2**22  # bytes
NUMBERS = {  # field -> (column of cases.csv, factor to its unit, largest plausible value in the sidecar's unit)
    "MagneticFieldStrength": ("field_strength", 1, 25),
    "EchoTime": ("echo_time", 1000, 2),
    "RepetitionTime": ("repetition_time", 1000, 60),
    "InversionTime": ("inversion_time", 1000, 10),
}
TEXTS = ("Manufacturer", "MRAcquisitionType", "PatientSex", "PatientAge", "Modality", "BurnedInAnnotation")
NAMES = ("SeriesDescription", "ProtocolName", "SequenceName", "PulseSequenceName")  # stay inside the process
AGENT = ("ContrastBolusIngredient", "ContrastBolusAgent")


class Sidecar:
    """The fields of a scan's sidecars; a field that is absent, of another type or implausible is None or "".

    fields: of JSON, as read.
    """

    def __init__(self, fields: dict[str, Any]) -> None:
        self._fields = fields

    def number(self, field: str) -> float | None:
        """Return one of NUMBERS in the unit of its column. A time beyond the largest plausible one may be in ms."""
        _, factor, largest = NUMBERS[field]
        stated = self._fields.get(field)
        huge = isinstance(stated, int) and abs(stated) > largest  # beyond a float, too
        number = None if isinstance(stated, bool | str) or huge else plausible_number(stated)
        return number * factor if number is not None and 0 < number <= largest else None

    def text(self, field: str) -> str:
        """Return one of TEXTS or NAMES."""
        stated = self._fields.get(field)
        return stated.strip() if isinstance(stated, str) else ""

    def words(self, field: str) -> frozenset[str]:
        """Return the upper-case words of a list of text."""
        stated = self._fields.get(field)
        return frozenset(str(word).upper() for word in stated) if isinstance(stated, list) else frozenset()

    @property
    def contrast_agent(self) -> bool:
        """Return whether a contrast agent is named."""
        return any(self.text(field).upper() not in NO_AGENT for field in AGENT)

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the series, lower case."""
        return tuple(self.text(field).lower()[:LONGEST_NAME] for field in NAMES)

    @property
    def columns(self) -> dict[str, str]:
        """Return the columns of cases.csv that a sidecar fills: numbers and words of closed lists, no free text."""
        maker, kind, sex = (self.text(field) for field in ("Manufacturer", "MRAcquisitionType", "PatientSex"))
        known = [name for start, name in MANUFACTURERS.items() if f"{maker.lower()} ".startswith(start)]
        numbers = {column: self.number(field) for field, (column, _, _) in NUMBERS.items()}
        return {
            "manufacturer": known[0] if known else "other" if maker else "",
            **{column: "" if number is None else f"{number:g}" for column, number in numbers.items()},
            "acquisition_type": kind if kind in ("2D", "3D") else "",
            "contrast_agent": "yes" if self.contrast_agent else "",
            "sex": sex if sex in ("M", "F", "O") else "",
            "age_band": age_band(self.text("PatientAge")),
        }


def sidecars_of(scan: Path, files: Sequence[Path]) -> list[Path]:
    """Return those of `files` that are sidecars of a scan, the most general one first.

    Any scan: the JSON of its name. A BIDS name: also those in the folders above whose entities the scan has, too.
    """
    stem, _ = parts_of(scan.name)
    own = scan.with_name(f"{stem}.json")
    scan_entities = entities_of(stem)
    sidecars = [path for path in files if path == own or (scan_entities and _inherits(scan, path, scan_entities))]
    return sorted(sidecars, key=lambda path: (len(path.parts), len(path.stem), path.name))


def _inherits(scan: Path, path: Path, scan_entities: tuple[dict[str, str], str]) -> bool:
    """Return whether BIDS's inheritance principle applies a JSON file to a scan."""
    if path.suffix != ".json" or path.parent not in scan.parents:
        return False
    *entities, suffix = path.stem.split("_")
    keys = [entity.partition("-") for entity in entities]
    return suffix == scan_entities[1] and all(scan_entities[0].get(key) == label for key, _, label in keys)


def read_sidecars(paths: Sequence[Path], read: Callable[[Path], dict[str, Any]] | None = None) -> Sidecar:
    """Read sidecars, of which later ones replace the fields of earlier ones.

    read: `read_fields`, or what stands for it.

    Raises:
        CaseError, FlairprepError: see `read_fields`.
    """
    fields: dict[str, Any] = {}
    for path in paths:
        fields |= (read or read_fields)(path)
    return Sidecar(fields)


def read_fields(path: Path) -> dict[str, Any]:
    """Read the fields of the allow list in a sidecar, or member of an archive.

    Raises:
        CaseError: TOO_LARGE, DECODE_FAILED.
        FlairprepError: see `dicom.reading.undamaged`.
    """
    with undamaged(), open_raw(path) as file:
        content = file.read(MAX_SIDECAR + 1)
        if len(content) > MAX_SIDECAR:
            raise CaseError(Code.TOO_LARGE, f"a JSON sidecar of over {MAX_SIDECAR >> 20} MB")
        stated = json.loads(content)
    if not isinstance(stated, dict):
        raise CaseError(Code.DECODE_FAILED, "a JSON sidecar holds no fields")
    return {key: stated[key] for key in (*NUMBERS, *TEXTS, *NAMES, *AGENT, "ImageType") if key in stated}
