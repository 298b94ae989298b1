"""Codes of cases that failed or were warned of, each with its stage, cause and remedy."""

from enum import StrEnum
from typing import Literal

Kind = Literal["failure", "warning", "warning or failure"]
Stage = Literal["ingest", "normalize", "export", "any"]


class Code(StrEnum):
    """A code in cases.csv, as text. kind: its effect on a case; stage: where it arises. docs/codes.md is made of it."""

    kind: Kind
    cause: str
    remedy: str
    stage: Stage

    def __new__(cls, code: str, kind: Kind, cause: str, remedy: str, stage: Stage = "ingest") -> "Code":
        """Make a member that is the text `code`."""
        member = str.__new__(cls, code)
        member._value_ = code
        member.kind, member.cause, member.remedy, member.stage = kind, cause, remedy, stage
        return member

    NO_SERIES = (
        "NO_SERIES",
        "failure",
        "none of the case's series is the sequence asked for",
        "see data/ingest/series.csv; add the series, or exclude the case",
    )
    AMBIGUOUS_SERIES = (
        "AMBIGUOUS_SERIES",
        "failure",
        "several that are equally good, or in several studies",
        "see their files with `flairprep who CASE --files`; choose one in `ingest.pick`, or sessions with "
        "`ingest.session`; give each person a folder CASE/FLAIR where one id stands for several",
    )
    LINK_OUTSIDE = (
        "LINK_OUTSIDE",
        "failure",
        "a link leads to a folder, out of the raw folder, or to nothing; an archive holds a link, or a name that leads "
        "out of it",
        "put the file itself there; `dvc checkout`. In an export it stops the run, since whose it was is not known",
    )
    NOT_DICOM = (
        "NOT_DICOM",
        "warning or failure",
        "non-DICOM files were skipped, or there is nothing else",
        "remove them; download again",
    )
    NOT_MR = "NOT_MR", "failure", "another modality than MR", "export the MR series"
    NO_PIXEL_DATA = (
        "NO_PIXEL_DATA",
        "warning or failure",
        "objects without pixels beside the images were skipped; an image without pixels fails",
        "nothing where they were skipped; else download again",
    )
    NOT_GRAYSCALE = "NOT_GRAYSCALE", "failure", "colour, not gray values", "export the original images"
    NOT_MAGNITUDE = (
        "NOT_MAGNITUDE",
        "failure",
        "the phase, or another part of a complex image",
        "export the magnitude images",
    )
    SECONDARY_CAPTURE = "SECONDARY_CAPTURE", "failure", "a picture of a screen or a film", "export the original images"
    MOSAIC = "MOSAIC", "failure", "a Siemens mosaic: slices side by side in one image", "export the original images"
    LOCALIZER = (
        "LOCALIZER",
        "failure",
        "a localizer, by its Image Type, or by its name and few slices or mixed planes",
        "add the series that was meant",
    )
    BURNED_IN = (
        "BURNED_IN",
        "failure",
        "the header says that text is burned into the pixels",
        "get images without it: it may name the patient, or the label",
    )
    UNSUPPORTED_TRANSFER_SYNTAX = (
        "UNSUPPORTED_TRANSFER_SYNTAX",
        "failure",
        "a compression, or its depth, that no installed decoder reads",
        "decompress with another tool, such as dcmdjpeg of DCMTK",
    )
    DECODE_FAILED = (
        "DECODE_FAILED",
        "warning or failure",
        "a damaged file, or one whose values cannot be told; only a warning where it lies in another folder than the "
        "series",
        "download again; export again where the message says so",
    )
    DAMAGED_ARCHIVE = (
        "DAMAGED_ARCHIVE",
        "failure",
        "an archive, or a member of it, is damaged, cut off, fails its checksum, or holds two members of one name",
        "download again; pack again",
    )
    ENCRYPTED = "ENCRYPTED", "failure", "a member of an archive is encrypted", "pack again without a password"
    TOO_LARGE = (
        "TOO_LARGE",
        "failure",
        "more than 134 million voxels (2^27), 32,767 along an axis, 2 GB per file (512 MB inflated), 2 GB and 100 "
        "times its size per archive, a million members, or more memory than FLAIRPREP_MEGABYTES",
        "look at the file; raise FLAIRPREP_MEGABYTES",
        "any",
    )
    TIMED_OUT = (
        "TIMED_OUT",
        "failure",
        "took longer than FLAIRPREP_SECONDS",
        "raise it and `dvc repro -f STAGE`; exclude the case",
        "any",
    )
    CRASHED = (
        "CRASHED",
        "failure",
        "the process that worked on it was killed or broke",
        "`dvc repro -f STAGE`, with fewer FLAIRPREP_WORKERS if memory was short",
        "any",
    )
    NO_GEOMETRY = (
        "NO_GEOMETRY",
        "failure",
        "positions, directions or pixel spacing missing or impossible",
        "get the original images from the archive",
    )
    MIXED_ORIENTATION = (
        "MIXED_ORIENTATION",
        "failure",
        "slices of different orientations in one series",
        "split the series",
    )
    MIXED_SIZE = "MIXED_SIZE", "failure", "slices of different sizes or spacings in one series", "split the series"
    GANTRY_TILT = (
        "GANTRY_TILT",
        "warning or failure",
        "slices shifted beside their normal, by over 0.1 mm (warning) or over 1 mm",
        "resample with a tool that knows the tilt",
    )
    AFFINE_CONFLICT = (
        "AFFINE_CONFLICT",
        "warning or failure",
        "qform and sform of a NIfTI file differ; they fail where both claim one space, or state other voxel sizes or "
        "orientations",
        "convert the original images again; or set the wrong one's code to 0",
    )
    SHEARED = (
        "SHEARED",
        "warning or failure",
        "the matrix of a NIfTI file is no rotation with voxel sizes, by over 0.1 mm (warning) or over 1 mm",
        "resample to a straight grid",
    )
    NOT_FINITE = (
        "NOT_FINITE",
        "failure",
        "voxels are NaN, infinite, or beyond 32-bit floats",
        "replace them, the background by 0",
    )
    MULTIPLE_VOLUMES = (
        "MULTIPLE_VOLUMES",
        "failure",
        "different images at one position (echoes, time points), or over half of the slices are exact copies",
        "`ingest.volume: first` or `last`, where the message names it; else keep one of them",
    )
    VOLUME_CHOSEN = (
        "VOLUME_CHOSEN",
        "warning",
        "one of several volumes of a series was read, as `ingest.volume` says",
        "look at it once",
    )
    CORRECTED_CHOSEN = (
        "CORRECTED_CHOSEN",
        "warning",
        "of two that differ by the scanner's corrections alone (NORM, DIS2D, DIS3D, FIL in Image Type), the corrected "
        "one was read",
        "nothing, or remove the one that you do not want",
    )
    FOREIGN_IMAGES = (
        "FOREIGN_IMAGES",
        "warning",
        "a few images that are no slices of the volume (a localizer, a screen shot, real parts) were skipped",
        "nothing, or remove them",
    )
    SPLIT_SERIES = (
        "SPLIT_SERIES",
        "warning",
        "files of one volume that name several series, studies or patients were read together",
        "look at the volume; anonymise with one UID per series",
    )
    OTHER_SEQUENCE = (
        "OTHER_SEQUENCE",
        "warning",
        "what the header says speaks against the sequence that the folder is named as",
        "look at it; put the series that was meant into the folder",
    )
    DUPLICATE_SLICES = "DUPLICATE_SLICES", "warning", "exact copies of slices, dropped", "nothing, or remove them"
    MISSING_SLICES = (
        "MISSING_SLICES",
        "warning or failure",
        "gaps; single ones up to 6 mm wide and 2 % of the slices are interpolated, more fails",
        "download again",
    )
    UNEVEN_SPACING = (
        "UNEVEN_SPACING",
        "failure",
        "slices lie over 0.09 mm and 5 % of the step from a regular grid",
        "get the original series",
    )
    TOO_FEW_SLICES = "TOO_FEW_SLICES", "failure", "fewer than `ingest.min_slices`", "lower it, or exclude the case"
    BLANK_VOLUME = "BLANK_VOLUME", "failure", "every voxel has the same value", "exclude the case"
    BLANK_SLICES = "BLANK_SLICES", "warning", "slices between others hold one value only", "look at the volume"
    INVERTED = "INVERTED", "warning", "MONOCHROME1: stored values were inverted", "look at it once"
    MARKED_SERIES = (
        "MARKED_SERIES",
        "warning",
        "the series is post-contrast, a subtraction, has two inversion times, or is named like a localizer",
        "decide whether the cohort should have it",
    )
    WHOLE_HEAD = (
        "WHOLE_HEAD",
        "warning",
        "not skull-stripped, so a face may be in it",
        "strip or deface it before you share it",
    )
    EXCLUDED = "EXCLUDED", "failure", "listed in `ingest.exclude`", "nothing"
    EMPTY_FOREGROUND = (
        "EMPTY_FOREGROUND",
        "failure",
        "no tissue found",
        "look at the volume; exclude the case",
        "normalize",
    )
    CONSTANT_FOREGROUND = (
        "CONSTANT_FOREGROUND",
        "failure",
        "tissue of one value",
        "look at the volume; exclude the case",
        "normalize",
    )
    OUT_OF_RANGE = (
        "OUT_OF_RANGE",
        "failure",
        "values that float16 cannot hold",
        "another `normalize.intensity` than none",
        "export",
    )


WARNS = frozenset(code for code in Code if code.kind == "warning")  # these never fail a case
EITHER = frozenset(code for code in Code if code.kind == "warning or failure")
