"""Headers of series that the tests make without files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from flairprep.dicom.header import Header
from flairprep.dicom.series import CandidateSeries, group

SE, IR, GR, EP = ("SE",), ("SE", "IR"), ("GR",), ("EP", "SE")
MP = ("GR", "IR")  # a gradient echo behind an inversion
POST, SUB, TWO, DERIVED = "post-contrast", "subtraction", "two inversion times", "derived"
MPR = ("DERIVED", "SECONDARY", "MPR")
REFORMATTED = ("DERIVED", "SECONDARY", "REFORMATTED")
ADDED = ("DERIVED", "PRIMARY", "M", "SUB")
FLAIR_TIMES, T1_TIMES, T2_TIMES = (90.0, 9000.0, 2500.0), (9.0, 500.0, None), (100.0, 5000.0, None)  # TE, TR, TI, ms
MPRAGE_TIMES = (3.0, 2000.0, 900.0)
ORIGINAL = ("ORIGINAL", "PRIMARY")
NO_TIMES = (None, None, None)


def made(description: str = "", protocol: str = "", **values: Any) -> Header:
    """A header with everything a scanner leaves out left out. names beside `description`: `protocol` and `folder`."""
    folder = values.pop("folder", "")
    empty: dict[str, Any] = {"path": Path("a.dcm"), "patient": "p", "study": "1", "series": "1.1", "number": 4}
    empty |= {"fault": None, "frames": 1, "acquisition_contrast": "", "volumetric": False, "contrast_agent": False}
    empty |= {"echo_time": None, "repetition_time": None, "inversion_times": ()}
    empty |= {"image_type": frozenset({"ORIGINAL", "PRIMARY"}), "scanning": frozenset()}
    names = tuple(name.lower() for name in (folder, description, protocol, "", ""))
    return Header(names=names, **(empty | values))


def timed(
    description: str,
    times: tuple[float | None, float | None, float | None],
    scanning: Sequence[str] = (),
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY"),
    **values: Any,
) -> Header:
    """A header with echo, repetition and inversion time, ms."""
    echo, repetition, inversion = times
    known: dict[str, Any] = {"echo_time": echo, "repetition_time": repetition}
    known["inversion_times"] = () if inversion is None else (inversion,)
    return made(description, image_type=frozenset(image_type), scanning=frozenset(scanning), **(known | values))


def only(*members: Header, folder: str = "") -> CandidateSeries:
    """The only series of these files."""
    [one] = group(members, folder)
    return one
