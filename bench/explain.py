"""Occlusion maps on the demo, whose tumours are known: does the largest response lie in the tumour?

python bench/explain.py > bench/results/explain.txt

The network is that of `flairprep demo --cases 80` with params.yaml as it ships. The cases come from a cohort of another
seed, which it never saw: those of label 1 that it classifies right. The control has randomised weights. Training takes
many minutes; --run names a project whose stages have run, --cohort a folder with params.yaml and the cohort's data/.
"""

import argparse
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import machine
import numpy as np
import SimpleITK as sitk

from flairprep.demo import cohort
from flairprep.demo.phantom import Atlas, head, load_atlas
from flairprep.demo.plan import DemoCase, Fault, plan
from flairprep.explanation import maps, occlusion, space

ROOT = Path(__file__).resolve().parents[1]
PARAMS, SOURCE = ROOT / "params.yaml", str(ROOT / "src")
STAGES = ("ingest", "normalize", "select_slices", "split", "export", "sanity", "train")
TRAINED, SEEN, UNSEEN = 80, 0, 1  # cases and seed of the network's cohort; seed of the other
MOST, CHANCE = 50, 20  # cases of the other cohort, of which so many are explained
BACKGROUND = -4.0  # normalize.background of params.yaml
PACKAGES = ("numpy", "scipy", "SimpleITK", "tensorflow-cpu", "keras")


def inside(atlas: Atlas, case: DemoCase, position: Sequence[float]) -> bool:
    """Return whether a position, LPS in mm, lies in the tumour: where at least half of its brightness is."""
    patient = head(atlas, case, signal=1.0)
    added = sitk.VectorIndexSelectionCast(patient.image, 0) - sitk.VectorIndexSelectionCast(atlas.image, 0)
    index = added.TransformPhysicalPointToContinuousIndex(patient.to_atlas.TransformPoint(list(position)))
    peak = float(sitk.GetArrayViewFromImage(added).max())
    return bool(added.EvaluateAtContinuousIndex(index) > peak / 2)


def run_stages(folder: Path, cases: int, seed: int, stages: Sequence[str]) -> None:
    """Make a cohort in `folder` and run `stages` on it."""
    folder.mkdir(parents=True)
    with contextlib.chdir(folder), contextlib.redirect_stdout(sys.stderr):
        (folder / "params.yaml").write_bytes(PARAMS.read_bytes())
        for name in ("data", "reports"):
            Path(name).mkdir()
        cohort.make(Path("data/raw"), cases=cases, signal=1.0, seed=seed)
        for stage in stages:  # each a process, as DVC runs them
            command = [sys.executable, "-m", f"flairprep.stages.{stage}"]
            subprocess.run(command, env=os.environ | {"PYTHONPATH": SOURCE}, stdout=sys.stderr, check=True)


def show(atlas: Atlas, cases: Sequence[DemoCase], count: int) -> None:
    """Explain `count` of `cases` in the working folder; print one line each, then the totals."""
    from flairprep.explanation import networks

    networks.keep_to(1)
    (answers,) = networks.answers(networks.load(maps.MODEL))
    right = [case for case in cases if answers(maps.network_input(case.case_id)[1], BACKGROUND)[0] > 0]
    chosen = right[:count]
    print(f"{len(cases)} cases of label 1, {len(right)} classified right, {len(chosen)} of them explained\n")
    _, volume = maps.network_input(chosen[0].case_id)
    start = time.process_time()
    occlusion.occlude(volume, answers, BACKGROUND)
    cpu = time.process_time() - start
    hits = {"trained": 0, "randomised": 0}
    correlations = []
    print("case   probability  trained   randomised  correlation  within tissue")
    with maps.begun([case.case_id for case in chosen], BACKGROUND, Path()) as explained:
        made = explained()
        for case in chosen:
            one = made[case.case_id]
            control = space.position(occlusion.peak(sitk.GetArrayViewFromImage(one.randomised)), one.randomised)
            found = {"trained": inside(atlas, case, one.peak), "randomised": inside(atlas, case, control)}
            for kind, hit in found.items():
                hits[kind] += hit
            correlations.append(one.correlation)
            words = ["tumour" if hit else "elsewhere" for hit in found.values()]
            print(
                f"{case.case_id}  {one.probability:11.3f}  {words[0]:<9} {words[1]:<11} {one.correlation:11.2f}  "
                f"{one.within:13.2f}"
            )
    low, middle, high = np.percentile(correlations, (0, 50, 100))
    print(f"\nlargest response in the tumour: trained {hits['trained']} of {len(chosen)}, ", end="")
    print(f"randomised weights {hits['randomised']} of {len(chosen)}")
    print(f"correlation with the control: median {middle:.2f}, {low:.2f} to {high:.2f}")
    print(
        f"processor time of one map of {' x '.join(map(str, volume.shape))} voxels: {cpu:.1f} s; a case takes two maps"
    )


def main() -> None:
    """Train or take a network, make or take a cohort, and print what the maps show."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="a project whose train has run on demo --cases 80")
    parser.add_argument("--cohort", type=Path, help=f"a folder with data/ of demo --cases {MOST} --seed {UNSEEN}")
    parser.add_argument("--cases", type=int, default=CHANCE, help="cases to explain")
    options = parser.parse_args()
    print(machine.header(PACKAGES))
    with tempfile.TemporaryDirectory() as scratch:
        trained, other = options.run or Path(scratch, "trained"), options.cohort or Path(scratch, "other")
        if not options.run:
            run_stages(trained, TRAINED, SEEN, STAGES)
        if not options.cohort:
            run_stages(other, MOST, UNSEEN, STAGES[:3])
        model = (trained / maps.MODEL).read_bytes()
        os.chdir(other)
        maps.MODEL.parent.mkdir(exist_ok=True)
        maps.MODEL.write_bytes(model)
        positive = [case for case in plan(MOST, UNSEEN) if case.label == 1 and case.fault is Fault.NONE]
        show(load_atlas(), positive, options.cases)
        os.chdir("/")


if __name__ == "__main__":
    main()
