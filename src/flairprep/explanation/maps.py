"""Map cases of a run in worker processes: the trained network's map and its control's, through the result cache."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
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
from flairprep.runner.pool import workers
from flairprep.runner.result_cache import ResultCache

MODEL = Path("data/train/model.keras")
SLICES = Path("data/select_slices")
Kind = Literal["trained", "randomised"]
KINDS: tuple[Kind, Kind] = ("trained", "randomised")
FILES = [f"{{}}.{kind}.nii.gz" for kind in KINDS]
FEW = 3  # cases per core up to which a second thread costs less than a second worker, which starts tensorflow too


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


def write_maps(case_id: str, *, background: float, out: Path, threads: int) -> float:
    """Write the maps of a case to out/ID.KIND.nii.gz, by `threads`; return the trained network's logit."""
    image, volume = network_input(case_id)
    answers = _answers(str(MODEL.resolve()), threads)

    def write(kind: Kind) -> float:
        response, logit = occlusion.occlude(volume, answers[kind], background)
        nifti.write_volume(space.on_grid(response, image), out / f"{case_id}.{kind}.nii.gz")
        return logit

    with ThreadPoolExecutor(threads) as pool:
        logit, _ = pool.map(write, KINDS)
    return logit


@cache  # once per worker
def _answers(path: str, threads: int) -> dict[Kind, Answers]:
    from flairprep.explanation import networks  # imports tensorflow

    networks.keep_to(threads)
    network = networks.load(Path(path))
    trained, control = networks.answers(network, networks.randomised(network))
    return {"trained": trained, "randomised": control}


@contextmanager
def begun(case_ids: Sequence[str], background: float, folder: Path) -> Iterator[Callable[[], dict[str, Explanation]]]:
    """Begin to make the maps of each case, and yield the function that waits for them, to be called once.

    They are made in a folder inside `folder` that is removed afterwards. Where there are FEW cases, two threads of a
    worker share a case, whose maps are two. Cases that ran before with the same network, input and code come from the
    result cache.

    Raises:
        FlairprepError: there is no network, it cannot be used, or a worker failed; the function raises it too.
        OSError: an input cannot be read, or a map not written; likewise.
    """
    if not MODEL.is_file():
        raise FlairprepError(f"{MODEL}: no such file; dvc repro train makes it, dvc checkout or dvc pull restores it")
    versions = {name: code_version.versions(name) for name in ("tensorflow-cpu", "tensorflow", "keras")}
    threads = min(len(KINDS), workers()) if len(case_ids) <= FEW * workers() else 1
    results = ResultCache("explain", __file__, {"background": background, "versions": versions}, threads=threads)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".maps") as scratch:
        out = Path(scratch)
        work = partial(write_maps, background=background, out=out, threads=threads)
        mapped = results.map(work, case_ids, inputs=_inputs, name=str, files=FILES, out=out, on_failure=_failed)

        def explained() -> dict[str, Explanation]:
            joined = {}
            for case_id, logit in zip(case_ids, logits, strict=True):  # while workers make the maps of the next
                joined[case_id] = _joined(case_id, logit, background, out)
            return joined

        with closing(mapped) as logits:
            yield explained


def _joined(case_id: str, logit: float, background: float, out: Path) -> Explanation:
    trained, control = (nifti.read_volume(out / name.format(case_id)) for name in FILES)
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


def _inputs(case_id: str) -> tuple[tuple[Path, Path], None]:
    return (SLICES / f"{case_id}.nii.gz", MODEL), None


def _failed(case_id: str, error: CaseError) -> float:
    raise FlairprepError(f"explain: case {case_id}: {error.code}: {error.message}")
