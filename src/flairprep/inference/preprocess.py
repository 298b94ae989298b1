"""Run the per-case stages on one case after the other, from its files to the tensor that the network sees."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import SimpleITK as sitk

from flairprep.core import params
from flairprep.core.outcomes import CaseError, Outcome, Status, failure
from flairprep.dicom.discovery import RawCase, volume_name
from flairprep.imaging import nifti
from flairprep.nifti_input.sessions import inputs as inputs_of
from flairprep.runner.case_stage import failure_of
from flairprep.runner.result_cache import ResultCache
from flairprep.stages import export, ingest, normalize, select_slices

SECTIONS: dict[str, type[params.Section]] = {
    "ingest": ingest.IngestParams,
    "normalize": normalize.NormalizeParams,
    "select_slices": select_slices.SelectSlicesParams,
}
COHORT_KEYS = (
    "dicom_dir",
    "exclude",
    "pick",
    "max_failed",
)  # of ingest: which cases there are, not what becomes of one


@dataclass(frozen=True)
class Steps:
    """The sections of params.yaml that make a tensor of a scan."""

    ingest: ingest.IngestParams
    normalize: normalize.NormalizeParams
    select_slices: select_slices.SelectSlicesParams

    @property
    def decisive(self) -> dict[str, Any]:
        """Return section.key -> value, of those alone that enter the tensor of a case."""
        sections = {name: getattr(self, name).model_dump(mode="json") for name in SECTIONS}
        sections["ingest"] = {key: value for key, value in sections["ingest"].items() if key not in COHORT_KEYS}
        return {f"{name}.{key}": value for name, section in sections.items() for key, value in section.items()}

    def applied_to(self, folder: Path) -> "Steps":
        """Return the steps for other scans than those of the run: what it says of single cases holds for its own."""
        own = folder.resolve() == Path(self.ingest.dicom_dir).resolve()
        of_cases: dict[str, Any] = {} if own else {"exclude": {}, "pick": {}}
        section = self.ingest.model_copy(update={"dicom_dir": str(folder), **of_cases})
        return Steps(section, self.normalize, self.select_slices)


def steps_of(values: Mapping[str, Any], path: Path = params.FILE) -> Steps:
    """Return the steps that the sections in `values` describe; `path` is where they come from, for messages.

    Raises:
        FlairprepError: a section is missing or not valid.
    """
    sections: dict[str, Any] = {
        name: params.validate(cls, values.get(name), name, path) for name, cls in SECTIONS.items()
    }
    return Steps(**sections)


class Preprocessed(NamedTuple):
    """A case and its volume (x, y, z) of section select_slices; None where it failed."""

    outcome: Outcome
    volume: sitk.Image | None


def preprocess_case(case: RawCase, *, steps: Steps, out: Path) -> Outcome:
    """Write out/ID.nii.gz, the case's volume as in data/select_slices; the outcome has ingest's columns.

    Each step reads the file that the one before it wrote, as the stages do: NIfTI rounds the geometry to 32 bits.
    """
    with tempfile.TemporaryDirectory(dir=out) as name:
        folder = Path(name)
        outcome = ingest.ingest(case, params=steps.ingest, volumes_dir=folder).outcome
        if outcome.status is Status.FAILED:
            return outcome
        file = folder / volume_name(case)
        try:
            stripped = outcome.row["skull_stripped"] == "yes"
            stored, scaling = normalize.normalized(nifti.read_volume(file), steps.normalize, skull_stripped=stripped)
            nifti.write_volume(stored, file, scaling)
            background = steps.normalize.background
            stored, scaling = nifti.read_stored(file)
            image = select_slices.select_slices(stored, steps.select_slices, background=background, scaling=scaling)
            export.tensor(image)
        except CaseError as error:
            return failure(case.case_id, error)
        nifti.write_volume(image, out / file.name)
    return outcome


def preprocess_cases(cases: Sequence[RawCase], steps: Steps) -> Iterator[Preprocessed]:
    """Run `preprocess_case` over cases in worker processes, in order and with progress; at most a few volumes wait.

    What the result cache holds of the same files, params, code and package versions is taken from it.

    Raises:
        FlairprepError, OSError: see `runner.map_cases`.
    """
    cache = ResultCache("predict", __file__, steps.decisive)
    with tempfile.TemporaryDirectory(prefix="flairprep-") as name:
        out = Path(name)
        function = partial(preprocess_case, steps=steps, out=out)
        inputs = partial(inputs_of, params=steps.ingest)
        for outcome in cache.map(function, cases, name=volume_name, inputs=inputs, out=out, on_failure=_lost):
            file, volume = out / f"{outcome.case_id}.nii.gz", None
            if outcome.status is not Status.FAILED:
                volume = nifti.read_volume(file)
            file.unlink(missing_ok=True)
            yield Preprocessed(outcome, volume)


def _lost(case: RawCase, error: CaseError) -> Outcome:
    return failure_of(case.case_id, error)


def network_input(volume: sitk.Image) -> npt.NDArray[np.float32]:
    """Return the tensor that the network sees, (z, y, x, 1): rounded to float16 as in the shards.

    Raises:
        CaseError: see `stages.export.tensor`.
    """
    return export.tensor(volume).astype(np.float32)
