"""Turn the folders of cases into archives, and back."""

from collections.abc import Sequence
from pathlib import Path

from flairprep.core import console, params
from flairprep.core.errors import FlairprepError
from flairprep.dicom import packing
from flairprep.dicom.classify import SEQUENCES


def pack(raw: Path, out: Path | None, *, remove: bool, sequences: Sequence[str] = ()) -> None:
    """Run `packing.pack` and print what it saved.

    Raises:
        FlairprepError: not exactly one of `out` and `remove`; `sequences` with `remove`; see `packing.pack`.
    """
    _one_of("pack", out, remove)
    for sequence in sequences:
        if sequence not in SEQUENCES:
            raise FlairprepError(f"--sequences {sequence}: {params.suggest(sequence, tuple(SEQUENCES))}")
    if sequences and remove:
        raise FlairprepError("--sequences with --remove would lose the other sequences; name a folder with --out")
    _say("pack", packing.pack(raw, out, sequences), out or raw)


def unpack(raw: Path, out: Path | None, *, remove: bool) -> None:
    """Run `packing.unpack` and print what it wrote.

    Raises:
        FlairprepError: not exactly one of `out` and `remove`; see `packing.unpack`.
    """
    _one_of("unpack", out, remove)
    _say("unpack", packing.unpack(raw, out), out or raw)


def _one_of(command: str, out: Path | None, remove: bool) -> None:
    if (out is None) is not remove:
        raise FlairprepError(
            f"{command}: name a new folder with --out, or replace what is there with --remove; not both"
        )


def _say(command: str, sizes: packing.Sizes, folder: Path) -> None:
    packed = f"files of {sizes.files / 1e9:.2f} GB, archives of {sizes.archives / 1e9:.2f} GB"
    console.say(f"{command}: {console.plural(sizes.cases, 'case')}: {packed}; in {folder}; next: dvc add {folder}")
