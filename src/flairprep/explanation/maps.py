"""Map cases of a run in worker processes: the trained network's map and its control's, through the result cache."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import SimpleITK as sitk

from flairprep.core.errors import FlairprepError
from flairprep.core.outcomes import CaseError
from flairprep.explanation import occlusion, space
from flairprep.explanation.occlusion import Answers, Array
from flairprep.imaging import nifti
from flairprep.runner import code_version
from flairprep.runner.result_cache import ResultCache

MODEL = Path("data/train/model.keras")
SLICES = Path("data/select_slices")
Kind = Literal["trained", "randomised"]
KINDS: tuple[Kind, Kind] = ("trained", "randomised")
Task = tuple[str, Kind]  # a case id and the weights of the network


class Explanation(NamedTuple):
    """The maps of one case.

    probability, logit: of the trained network.
    correlation: of the two maps in the tissue, see `occlusion.correlation`; nan where one is constant.
    within: share of the trained network's response in the tissue; nan where nothing responds.
    peak: position of its largest response, LPS in mm. largest: that response, with its sign.
    trained, randomised: the maps, on the grid of the network's input.
    """

    probability: float
    logit: float
    correlation: float
    within: float
    peak: tuple[float, float, float]
    largest: float
    trained: sitk.Image
    randomised: sitk.Image


def network_input(case_id: str) -> tuple[sitk.Image, Array]:
    """Read data/select_slices/ID.nii.gz, and its voxels as the network gets them: float32 of what float16 keeps."""
    image = nifti.read_volume(SLICES / f"{case_id}.nii.gz")
    return image, sitk.GetArrayViewFromImage(image).astype(np.float16).astype(np.float32)


def write_map(task: Task, *, background: float, out: Path) -> float:
    """Write the map of a task to out/ID.KIND.nii.gz; return the logit of the volume."""
    case_id, kind = task
    image, volume = network_input(case_id)
    response, logit = occlusion.occlude(volume, _answers(str(MODEL.resolve()))[kind], background)
    nifti.write_volume(space.on_grid(response, image), out / _name(task))
    return logit


@cache  # once per worker
def _answers(path: str) -> dict[Kind, Answers]:
    from flairprep.explanation import networks  # imports tensorflow

    networks.keep_to_one_thread()
    network = networks.load(Path(path))
    trained, control = networks.answers(network, networks.randomised(network))
    return {"trained": trained, "randomised": control}


@contextmanager
def begun(case_ids: Sequence[str], background: float, folder: Path) -> Iterator[Callable[[], dict[str, Explanation]]]:
    """Begin to make the maps of each case, and yield the function that waits for them, to be called once.

    They are made in a folder inside `folder` that is removed afterwards. A case and a kind is one task, so that a
    single case keeps two workers busy. Tasks that ran before with the same network, input and code come from the
    result cache.

    Raises:
        FlairprepError: there is no network, it cannot be used, or a worker failed; the function raises it too.
        OSError: an input cannot be read, or a map not written; likewise.
    """
    if not MODEL.is_file():
        raise FlairprepError(f"{MODEL}: no such file; dvc repro train makes it, dvc checkout or dvc pull restores it")
    versions = {name: code_version.versions(name) for name in ("tensorflow-cpu", "tensorflow", "keras")}
    results = ResultCache("explain", __file__, {"background": background, "versions": versions})
    tasks: list[Task] = [(case_id, kind) for case_id in case_ids for kind in KINDS]
    with tempfile.TemporaryDirectory(dir=folder, prefix=".maps") as scratch:
        out = Path(scratch)
        work = partial(write_map, background=background, out=out)
        mapped = results.map(work, tasks, inputs=_inputs, name=_name, out=out, on_failure=_failed, unit="map")

        def explained() -> dict[str, Explanation]:
            joined = {}
            for case_id in case_ids:  # while workers make the maps of the next
                logit, _ = (next(logits) for _ in KINDS)
                joined[case_id] = _joined(case_id, logit, background, out)
            return joined

        with closing(mapped) as logits:
            yield explained


def _joined(case_id: str, logit: float, background: float, out: Path) -> Explanation:
    trained, control = (nifti.read_volume(out / _name((case_id, kind))) for kind in KINDS)
    response, other = (sitk.GetArrayViewFromImage(image) for image in (trained, control))
    inside = occlusion.tissue(network_input(case_id)[1], background)
    peak = occlusion.peak(response)
    return Explanation(
        float(1 / (1 + np.exp(-logit))),
        logit,
        occlusion.correlation(response, other, inside),
        occlusion.share_within(response, inside),
        space.position(peak, trained),
        float(response.flat[np.abs(response).argmax()]),
        trained,
        control,
    )


def _name(task: Task) -> str:
    return ".".join(task) + ".nii.gz"


def _inputs(task: Task) -> tuple[tuple[Path, Path], Task]:
    return (SLICES / f"{task[0]}.nii.gz", MODEL), task


def _failed(task: Task, error: CaseError) -> float:
    raise FlairprepError(f"explain: case {task[0]}: {error.code}: {error.message}")
