"""Tell from the name of a NIfTI file which sequence it is, or that it is a mask.

Names as in BraTS 2020 to 2024 (CASE_flair, CASE-t2f), UPENN-GBM and UCSF-PDGM (CASE_FLAIR), and BIDS
(sub-X_ses-Y_acq-Z_FLAIR).
"""

import re
from dataclasses import dataclass
from pathlib import Path

from flairprep.nifti_input.reading import parts_of

WORDS = {  # a word of a name, lower case -> the sequence
    **dict.fromkeys(("t2f", "fla", "darkfluid"), "FLAIR"),
    **dict.fromkeys(("t1", "t1w", "t1n", "t1pre", "mprage"), "T1w"),
    **dict.fromkeys(("t1c", "t1ce", "t1wce", "t1gd", "t1post", "t1km", "t1wc"), "T1wCE"),
    **dict.fromkeys(("t2", "t2w"), "T2w"),
}
FLAIR = re.compile(r"(ax|axial|sag|cor|tra|[23]d|t2w?)*flair(3d|2d)?")  # a whole word, "3dflair"; not "regtoflair"
CONTRAST = {"c", "ce", "gd", "gad", "km", "post", "contrast"}  # words after a T1 that make it T1wCE
MASK = re.compile(
    r"(.*seg|segm|.*segmentations?|.*masks?|labels?|.*lesions?|rois?|gtv|gt|truth|groundtruth|gold|manual|consensus"
    r"|annotations?|aparc|aseg|parcellation|wmh)"
)
PARTS = {"phase", "real", "imag"}  # BIDS entity part-, of a complex image
ENTITY = re.compile(r"[a-z]+-[a-z0-9.]+", re.IGNORECASE)
PATIENTS = (  # case ids of data sets that scan a patient several times: the patient is the first group
    re.compile(r"(BraTS-[A-Za-z]+-\d{4,5})-\d{3}"),
    re.compile(r"(UPENN-GBM-\d{5})_\d{2}"),
    re.compile(r"(UCSF-PDGM-\d{3,4})(?:_FU\d+d)?(?:_nifti)?"),
)


@dataclass(frozen=True)
class ScanName:
    """What a name tells. sequence: one of SEQUENCES, "" for none. words: the others of the name, lower case.

    processed: whether words follow the sequence, as in FLAIR_bias. contrast: BIDS ce-. part: BIDS part-, "" for none.
    session: BIDS ses-.
    """

    sequence: str
    words: str
    mask: bool = False
    processed: bool = False
    contrast: bool = False
    part: str = ""
    session: str = ""


def scan_name(path: Path, case_id: str) -> ScanName:
    """Interpret the name of a NIfTI file of a case."""
    stem, _ = parts_of(path.name)
    if entities := entities_of(stem):
        known, suffix = entities
        words = suffix.lower()
        sequence, *_ = _sequence([words])
        rest = [word for word in ("space", "desc", "res", "label") if word in known]
        return ScanName(
            sequence="T1wCE" if sequence == "T1w" and "ce" in known else sequence,
            words="" if sequence else words,
            mask=bool(MASK.fullmatch(words)),
            processed=bool(rest),
            contrast="ce" in known,
            part=known.get("part", "").lower() if known.get("part", "").lower() in PARTS else "",
            session=known.get("ses", ""),
        )
    words_of = _words(stem, (case_id, path.parent.name))
    if any(MASK.fullmatch(word) for word in words_of):
        return ScanName("", "", mask=True)
    sequence, start, end = _sequence(words_of)
    others = " ".join(words_of[:start] + words_of[end:])
    if not sequence and path.parent.name != case_id:  # a folder for each series
        sequence, *_ = _sequence(_words(path.parent.name, (case_id,)))
    return ScanName(sequence, others, processed=any(map(str.isalpha, words_of[end:])))


def entities_of(stem: str) -> tuple[dict[str, str], str] | None:
    """Return the entities (key -> label) and the suffix of a BIDS name, None for another name."""
    *entities, suffix = stem.split("_")
    if not stem.startswith("sub-") or not entities or not all(map(ENTITY.fullmatch, entities)):
        return None
    return dict(entity.split("-", 1) for entity in entities), suffix


def patient_of(case_id: str) -> str:
    """Return the patient of a case whose id says it, as in BraTS-GLI-00005-100; "" for another id."""
    matches = (pattern.fullmatch(case_id) for pattern in PATIENTS)
    return next((match[1] for match in matches if match), "")


def _words(stem: str, prefixes: tuple[str, ...]) -> list[str]:
    """Split a name into words, without the case's or folder's name before it, which may hold words of its own."""
    plain = stem.lower()
    for prefix in sorted(map(str.lower, prefixes), key=len, reverse=True):
        rest = plain[len(prefix) :]
        if prefix and plain.startswith(prefix) and rest and not rest[0].isalnum():
            plain = rest
            break
    return [word for word in re.split(r"[^a-z0-9]+", plain) if word]


def _sequence(words: list[str]) -> tuple[str, int, int]:
    """Return the sequence that the first telling words name ("" for none), where they begin and where they end."""
    for start, word in enumerate(words):
        following = words[start + 1] if start + 1 < len(words) else ""
        if FLAIR.fullmatch(word):
            return "FLAIR", start, start + 1
        sequence = WORDS.get(word, "")
        if sequence == "T2w" and FLAIR.fullmatch(following):
            return "FLAIR", start, start + 2
        if sequence == "T1w" and following in CONTRAST:
            return "T1wCE", start, start + 2
        if sequence:
            return sequence, start, start + 1
    return "", len(words), len(words)
