"""Verdicts on demo cohorts with and without signal: many small cohorts, from DICOM files to the verdict.

python bench/demo.py > bench/results/demo.txt

`flairprep demo --cases 60 --seed K --signal S` writes each cohort. It passes the stages up to the verdict in miniature:
volumes of 24 x 48 x 48 voxels, a network of two blocks, three folds. Everything else is as in params.yaml.
"""

import os

os.environ |= {"FLAIRPREP_WORKERS": "1", "OMP_NUM_THREADS": "1", "TF_NUM_INTRAOP_THREADS": "1"}

import argparse
import contextlib
import io
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import machine
from ruamel.yaml import YAML

from flairprep.demo import cohort

PARAMS = Path(__file__).resolve().parents[1] / "params.yaml"
STAGES = ("ingest", "normalize", "select_slices", "split", "export", "train", "evaluate")
CASES, PROCESSES = 60, 2
MINIATURE: dict[str, Any] = {
    "batch_size": 4,
    "epochs": 30,
    "lr": 1e-3,
    "val_fold": 0,
    "split.folds": 3,
    "select_slices.count": 24,
    "select_slices.size": 48,
    "model.filters": [8, 16],
}
PACKAGES = ("numpy", "SimpleITK", "tensorflow-cpu", "keras")


def run_cohort(task: tuple[float, int], *, cases: int) -> dict[str, Any]:
    """Return reports/metrics.json of a cohort, and its seconds; task: signal and seed."""
    signal, seed = task
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for name in ("data", "reports"):
            Path(name).mkdir()
        write_params()
        with Path("log").open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(io.StringIO()):
            cohort.make(Path("data/raw"), cases=cases, signal=signal, seed=seed)
            for stage in STAGES:
                import_module(f"flairprep.stages.{stage}").main()
        return {**json.loads(Path("reports/metrics.json").read_text()), "seconds": time.monotonic() - start}


def write_params() -> None:
    """Write the project's params.yaml in miniature."""
    yaml = YAML()
    params = yaml.load(PARAMS)
    for key, value in MINIATURE.items():
        *sections, name = key.split(".")
        section = params
        for part in sections:
            section = section[part]
        section[name] = value
    yaml.dump(params, Path("params.yaml"))


def row(signal: float, seed: int, metrics: dict[str, Any]) -> str:
    """Return a row of the table."""
    numbers = " ".join(f"{metrics[key]:>8.3f}" for key in ("accuracy", "auc", "nir", "best_accuracy", "p_selection"))
    return f"signal {signal:g} seed {seed:>2}: {numbers} {metrics['seconds']:>4.0f} s  {metrics['verdict']}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--seeds", type=int, nargs=2, default=(40, 10), help="cohorts without and with signal")
    options = parser.parse_args()
    print(machine.header(PACKAGES))
    print(" ".join(["python", "bench/demo.py", *sys.argv[1:]]))
    print("                    accuracy      auc      nir     best p_select")
    without, with_signal = options.seeds
    tasks = [*((1.0, seed) for seed in range(with_signal)), *((0.0, seed) for seed in range(without))]
    learned = {1.0: 0, 0.0: 0}
    # Not multiprocessing.Pool: its processes may not have children, and ingest has its own workers.
    with ProcessPoolExecutor(PROCESSES, get_context("spawn"), max_tasks_per_child=1) as pool:
        for task, metrics in zip(tasks, pool.map(partial(run_cohort, cases=options.cases), tasks), strict=True):
            learned[task[0]] += metrics["verdict"] == "learned"
            print(row(*task, metrics), flush=True)
    max_learned, min_learned = without // 10, round(0.9 * with_signal)  # at 5 %, chance gives 5 or more of 40 in 5 %
    print(f"signal 0: learned {learned[0.0]} of {without}, at most {max_learned} expected")
    print(f"signal 1: learned {learned[1.0]} of {with_signal}, at least {min_learned} expected")
    sys.exit(learned[0.0] > max_learned or learned[1.0] < min_learned)


if __name__ == "__main__":
    main()
