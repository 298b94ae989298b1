"""Damaged files in ingest's workers, and kills during `dvc repro`: no damage may cost more than its own case.

python bench/fuzz.py --files 5000 --seed 0 --kills 50
python bench/fuzz.py --seed 0 --only 1234 --keep FOLDER
"""

import argparse
import contextlib
import io
import os
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))

import machine  # noqa: E402
import mutations  # noqa: E402

from flairprep.core.codes import Code  # noqa: E402
from flairprep.dicom import discovery  # noqa: E402
from flairprep.runner.map_cases import map_cases  # noqa: E402
from flairprep.runner.pool import workers  # noqa: E402
from flairprep.stages import ingest  # noqa: E402

SCANS = ROOT.parent / "shared/scans"
PACKAGES = ("numpy", "pydicom", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls", "SimpleITK", "dvc")
SECONDS, MEGABYTES = 20, 2048  # limits of a case
CODE_MEGABYTES = 600  # of a worker without its data: its code, and pages shared with other workers
MAX_BYTES = 1 << 20  # of an original file; four times as many of a multi-frame one
SERIES_PERIOD, SLICES = 5, 4  # each fifth case is a series of 4 slices
BATCH = 200  # cases on the disk at a time


@dataclass(frozen=True)
class Source:
    """Undamaged files of one series."""

    name: str
    contents: tuple[bytes, ...]


def sources() -> tuple[list[Source], list[Source]]:
    """Return single files, some of each folder and transfer syntax, and series."""
    single = [Source(f"pydicom/{name}", (content,)) for name, content in mutations.pydicom_files().items()]
    series = []
    for folder in sorted({path.parent for path in SCANS.rglob("*") if path.is_file()}):
        paths = [path for path in sorted(folder.iterdir()) if path.is_file() and path.stat().st_size < 4 * MAX_BYTES]
        together = "transfer-syntaxes" in str(folder)
        contents = [content for path in paths[: 9 if together else SLICES] if (content := _readable(path))]
        name = folder.relative_to(SCANS).as_posix()
        single += [Source(f"{name}/{n}", (content,)) for n, content in enumerate(contents[: 9 if together else 2])]
        if len(contents) == SLICES and len(contents[0]) < MAX_BYTES:
            series.append(Source(name, tuple(contents)))
    return single, series


def _readable(path: Path) -> bytes | None:
    try:
        return mutations.readable(path.read_bytes())
    except Exception:  # a licence among the scans, or a damaged file
        return None


def make(number: int, seed: int, single: list[Source], series: list[Source]) -> tuple[Source, str, list[bytes]]:
    """Return the files of case `number`: their source, the mutations of one of them, and their contents."""
    rng = np.random.default_rng([seed, number])
    kind = series if series and number % SERIES_PERIOD == SERIES_PERIOD - 1 else single
    source = kind[rng.integers(len(kind))]
    other = single[rng.integers(len(single))].contents
    contents = list(source.contents)
    place = int(rng.integers(len(contents)))
    contents[place], names = mutations.mutate(contents[place], rng, other)
    return source, " + ".join(names), contents


def write(case: Path, contents: Sequence[bytes]) -> discovery.RawCase:
    """Write the files as a case of the raw folder."""
    folder = case / "FLAIR"
    folder.mkdir(parents=True)
    paths = []
    for index, content in enumerate(contents):
        paths.append(folder / f"{index}.dcm")
        paths[-1].write_bytes(content)
    return discovery.RawCase(case.name, tuple(paths), "FLAIR")


class Peak:
    """Watch the peak memory (VmHWM, MB) of all descendants of this process."""

    def __init__(self) -> None:
        self.megabytes = 0
        self._own = os.getpid()
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        while True:
            for process in descendants(self._own):
                with contextlib.suppress(OSError, StopIteration):
                    lines = Path(f"/proc/{process}/status").read_text().splitlines()
                    line = next(line for line in lines if line.startswith("VmHWM"))
                    self.megabytes = max(self.megabytes, int(line.split()[1]) >> 10)
            time.sleep(0.1)


def descendants(process: int) -> Iterator[int]:
    """Yield the processes that a process started, and theirs."""
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in task.read_text().split():
                yield int(child)
                yield from descendants(int(child))


def fuzz(numbers: Sequence[int], seed: int, keep: Path | None) -> bool:
    """Return whether each damaged case affected itself alone, within the limits."""
    os.environ.setdefault("FLAIRPREP_SECONDS", str(SECONDS))
    os.environ.setdefault("FLAIRPREP_MEGABYTES", str(MEGABYTES))
    single, series = sources()
    print(f"{len(single)} single files and {len(series)} series of {SLICES} slices as originals, {workers()} workers")
    peak, counts, slowest = Peak(), Counter[tuple[str, str]](), (0.0, 0)
    ended, raised = [], list[int]()
    section = ingest.IngestParams(
        dicom_dir="raw", sequence="FLAIR", exclude={}, max_failed=1.0, min_slices=1, volume=None
    )
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        for begin in range(0, len(numbers), BATCH):
            batch = numbers[begin : begin + BATCH]
            folder, out = Path(temporary) / "raw", Path(temporary) / "volumes"
            folder.mkdir()
            out.mkdir()
            made = {number: make(number, seed, single, series) for number in batch}
            cases = [write(folder / f"{number:06d}", contents) for number, (_, _, contents) in made.items()]
            if keep:
                shutil.copytree(folder, keep, dirs_exist_ok=True)
            work = partial(ingest.ingest, params=section, volumes_dir=out)
            while cases:
                last = time.monotonic()
                read = 0
                try:
                    with contextlib.nullcontext() if keep else contextlib.redirect_stderr(io.StringIO()):
                        for result in map_cases(work, cases, "fuzz", on_failure=ingest._failed):
                            number, outcome = int(cases[read].case_id), result.outcome
                            read += 1
                            counts[outcome.status.value, outcome.code] += 1
                            slowest, last = max(slowest, (time.monotonic() - last, number)), time.monotonic()
                            if outcome.code in (Code.CRASHED, Code.TIMED_OUT):
                                source, names, _ = made[number]
                                ended.append((number, outcome.code, outcome.message, source.name, names))
                                print(*ended[-1], sep=" | ", flush=True)
                except Exception as error:  # of the next case; the others can go on
                    source, names, _ = made[int(cases[read].case_id)]
                    raised.append(int(cases[read].case_id))
                    print(raised[-1], "IN THE PARENT", repr(error), source.name, names, sep=" | ", flush=True)
                    read += 1
                cases = cases[read:]
            shutil.rmtree(folder)
            shutil.rmtree(out)
            done = begin + len(batch)
            if done % 1000 == 0:
                print(f"{done} cases, {time.monotonic() - start:.0f} s, at most {peak.megabytes} MB", flush=True)
    print()
    print(f"{'status':<8}{'code':<30}{'cases':>7}")
    for (status, code), count in sorted(counts.items()):
        print(f"{status:<8}{code:<30}{count:>7}")
    limit = int(os.environ["FLAIRPREP_MEGABYTES"]) + CODE_MEGABYTES
    escaped = [number for number, code, message, _, _ in ended if code == Code.CRASHED and "FLAIRPREP_DEBUG" in message]
    print(f"cases                         {sum(counts.values())} of {len(numbers)}")
    print(f"seconds                       {time.monotonic() - start:.0f}")
    print(f"longest wait for a case       {slowest[0]:.1f} s, case {slowest[1]}")
    print(f"largest worker                {peak.megabytes} MB, allowed {limit}")
    print(f"ended for taking too long     {sum(code == Code.TIMED_OUT for _, code, *_ in ended)}")
    print(f"crashed natively              {sum(code == Code.CRASHED for _, code, *_ in ended) - len(escaped)}")
    print(f"exceptions that code let out  {len(escaped)} {escaped[:20]}")
    print(f"exceptions in the parent      {len(raised)} {raised[:20]}")
    return not raised and not escaped and peak.megabytes <= limit


def kills(count: int, seed: int) -> bool:
    """Return whether `dvc repro` after each kill gave the bytes of an undisturbed run."""
    import test_crash

    with tempfile.TemporaryDirectory() as temporary:
        is_equal = list(
            test_crash.kill_often(Path(temporary), count, seed, at_once=True, say=partial(print, flush=True))
        )
    equal = sum(is_equal)
    print(f"kills {len(is_equal)}, equal to the undisturbed run afterwards {equal}")
    return equal == count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=0, help="number of damaged files")
    parser.add_argument("--first", type=int, default=0, help="the number of the first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="one case alone")
    parser.add_argument("--keep", type=Path, help="a folder that keeps the damaged files")
    parser.add_argument("--kills", type=int, default=0, help="number of kills during dvc repro")
    options = parser.parse_args()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    print(machine.header(PACKAGES))
    print(" ".join(["python", "bench/fuzz.py", *sys.argv[1:]]))
    numbers = range(options.first, options.first + options.files) if options.only is None else [options.only]
    good = not numbers or fuzz(numbers, options.seed, options.keep)
    good = (not options.kills or kills(options.kills, options.seed)) and good
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
