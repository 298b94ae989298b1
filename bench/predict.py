"""Time of `flairprep predict` beside that of the stages that make the same tensors, and its memory.

python bench/predict.py [--cases 100] [--rounds 2] > bench/results/predict.txt

The series are those of bench/speed.py; SERIES of them stand for all cases, by hard links. In each round the stages
ingest, normalize, select_slices and export take turns with predict, all with the default params, two processes and no
result cache; the processor's seconds count too, which depend less on what else runs. The network is the default one,
untrained, three times, as model.keras has it. Memory is measured on small series, from which no case gets larger: the
peak of predict's own process, and of its largest worker.
"""

import argparse
import ctypes
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from statistics import median

import machine
import psutil
from speed import write_case

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import keras  # noqa: E402
import trained_run  # noqa: E402

from flairprep.network import saving  # noqa: E402

SERIES = 10
RAW = Path("data/raw/train")
STAGES = ("ingest", "normalize", "select_slices", "export")
PREDICT = (sys.executable, "-c", "from flairprep.cli.main import main; main()", "predict", str(RAW))
SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
FEW, MANY = 20, 200  # cases whose memory is compared


def project(root: Path, cases: int, *, large: bool) -> None:
    """Write a finished run into `root` with so many cases: of bench/speed.py, or small ones."""
    trained_run.SHAPE = (64, 128, 128, 1) if large else (8, 16, 16, 1)
    trained_run.SECTIONS["select_slices"] = {"count": trained_run.SHAPE[0], "size": trained_run.SHAPE[1]}
    root.mkdir()
    trained_run.make(root, cases=0 if large else SERIES)
    if large:
        with ProcessPoolExecutor(2) as workers:
            list(workers.map(partial(write_case, root / RAW, stripped=True), range(SERIES)))
        trained_run.write_network(root / "data/train/model.keras", seed=0, filters=None)
        triple(root / "data/train/model.keras")
    for number in range(SERIES, cases):
        source, target = root / RAW / f"{number % SERIES:05d}/FLAIR", root / RAW / f"{number:05d}/FLAIR"
        target.mkdir(parents=True)
        for file in source.iterdir():
            os.link(file, target / file.name)
    rows = [f"{number:05d},{number % 2},{number:05d},{number % 2}" for number in range(cases)]
    trained_run.put(root / "data/split/split.csv", "case_id,label,group,fold", rows)


def triple(path: Path) -> None:
    """Replace a network by the mean of three of it, as training leaves it."""
    network = keras.models.load_model(path, compile=False, safe_mode=True)
    images = keras.Input(network.input_shape[1:])
    members = []
    for number in range(3):
        member = keras.Model.from_config({**network.get_config(), "name": f"epoch_{number}"})
        member.set_weights(network.get_weights())
        members.append(member(images))
    saving.save(keras.Model(images, keras.layers.Average()(members)), path)


def environment() -> dict[str, str]:
    """Return the environment of the commands."""
    return os.environ | {"FLAIRPREP_CACHE": "off", "FLAIRPREP_WORKERS": "2", "PYTHONPATH": str(ROOT / "src")}


def timed(root: Path, commands: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Run commands in turn; return their seconds, and those of the processor, workers included."""
    start, before = time.perf_counter(), processor()
    for command in commands:
        done = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    seconds = time.perf_counter() - start
    return seconds, processor() - before


def processor() -> float:
    """Return the processor's seconds of all processes below this one, once they are over.

    The server that forks workers outlives the command by a moment, and is then a child of this process, see `adopt`.
    """
    with suppress(ChildProcessError):
        while True:
            os.wait()
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def adopt() -> None:
    """Become the parent of what children leave behind, as Linux allows."""
    ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def peaks(root: Path, cases: int) -> tuple[float, float]:
    """Run predict on the first `cases`; return the peak memory of its process and of its largest worker, in MB."""
    process = subprocess.Popen(
        PREDICT, cwd=root, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    own, worker = 0.0, 0.0
    while process.poll() is None:
        own = max(own, _peak(process.pid))
        with suppress(psutil.Error):
            predict = psutil.Process(process.pid)
            begun = predict.cmdline()  # a fork that has not yet become its program has this, and predict's memory
            children = [child for child in predict.children(recursive=True) if child.cmdline() != begun]
            worker = max([worker, *(_peak(child.pid) for child in children)])
        time.sleep(0.05)
    if process.returncode:
        sys.exit(f"predict of {cases} cases ended with status {process.returncode}")
    return own, worker


def _peak(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1000
    except (OSError, StopIteration):
        return 0.0


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    adopt()
    print(machine.header(("numpy", "SimpleITK", "pydicom", "keras", "tensorflow-cpu", "zlib-ng")))
    stages = [(sys.executable, "-m", f"flairprep.stages.{name}") for name in STAGES]
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "large"
        project(root, options.cases, large=True)
        print(f"\n{options.cases} cases of {SERIES} series, {options.rounds} rounds, load {os.getloadavg()[0]:.0f}")
        print(f"{'':<48}{'seconds':>9}{'processor':>11}")
        both: dict[str, list[tuple[float, float]]] = {"the stages, to data/export": [], "flairprep predict": []}
        for _ in range(options.rounds):
            for label, commands in zip(both, (stages, [PREDICT]), strict=True):
                both[label].append(timed(root, commands))
        for label, turns in both.items():
            print(f"{label:<48}{median(turn[0] for turn in turns):>9.1f}{median(turn[1] for turn in turns):>11.1f}")
        pairs = [*zip(*both.values(), strict=True)]
        ratios = [median(predict[kind] / stage[kind] for stage, predict in pairs) for kind in (0, 1)]
        print(f"{'ratio, of each round; median':<48}{ratios[0]:>9.2f}{ratios[1]:>11.2f}")
        print(f"\n{'peak memory, MB':<48}{'predict':>9}{'worker':>11}")
        measured = []
        for cases in (FEW, MANY):
            root = Path(name) / str(cases)
            project(root, cases, large=False)
            measured.append(peaks(root, cases))
            print(f"{f'{cases} small cases':<48}{measured[-1][0]:>9.0f}{measured[-1][1]:>11.0f}")
        growth = [many / few for few, many in zip(*measured, strict=True)]
        print(f"{'ratio':<48}{growth[0]:>9.2f}{growth[1]:>11.2f}")


if __name__ == "__main__":
    main()
