"""Damaged files in ingest's workers, and kills during `dvc repro`: no damage may cost more than its own case.

Half of the cases are DICOM files and series, a quarter NIfTI scans with sidecars, a quarter archives of either.

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

import archive_mutations  # noqa: E402
import machine  # noqa: E402
import mutations  # noqa: E402
import nifti_mutations  # noqa: E402

from flairprep.core import params  # noqa: E402
from flairprep.core.codes import Code  # noqa: E402
from flairprep.dicom import archives, discovery, subjects  # noqa: E402
from flairprep.runner.map_cases import map_cases  # noqa: E402
from flairprep.runner.pool import workers  # noqa: E402
from flairprep.stages import ingest  # noqa: E402

SCANS = ROOT.parent / "shared/scans"
PACKAGES = ("numpy", "pydicom", "python-gdcm", "pylibjpeg-openjpeg", "pyjpegls", "SimpleITK", "dvc")
SECONDS, MEGABYTES = 20, 2048  # limits of a case
CODE_MEGABYTES = 600  # of a worker without its data: its code, and pages shared with other workers
MAX_BYTES = 1 << 20  # of an original file; four times as many of a multi-frame one
KINDS = 4  # the third and fourth case of each four are NIfTI and an archive, the others DICOM
SERIES_PERIOD, SLICES = 5, 4  # each fifth case of DICOM is a series of 4 slices
BATCH = 500  # cases on the disk at a time; each batch starts workers anew


@dataclass(frozen=True)
class Source:
    """Undamaged files of one series; names: of files that need their own, as NIfTI's."""

    name: str
    contents: tuple[bytes, ...]
    names: tuple[str, ...] = ()

    @property
    def members(self) -> list[tuple[str, bytes]]:
        """Return the files as members of an archive."""
        names = self.names or [f"FLAIR/{index}.dcm" for index in range(len(self.contents))]
        return list(zip(names, self.contents, strict=True))


@dataclass(frozen=True)
class Sources:
    """What damage begins with: single DICOM files, DICOM series, NIfTI scans."""

    single: list[Source]
    series: list[Source]
    nifti: list[Source]


def sources() -> Sources:
    """Return single files, some of each folder and transfer syntax, series, and NIfTI scans of many types."""
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
    with tempfile.TemporaryDirectory() as temporary:
        scans = nifti_mutations.originals(Path(temporary))
    nifti = [Source(f"nifti/{name}", tuple(files.values()), tuple(files)) for name, files in scans.items()]
    return Sources(single, series, nifti)


def _readable(path: Path) -> bytes | None:
    try:
        return mutations.readable(path.read_bytes())
    except Exception:  # a licence among the scans, or a damaged file
        return None


@dataclass(frozen=True)
class Damaged:
    """A damaged case: its source, the mutations, and its files by name, below its folder or, an archive, beside it."""

    source: Source
    mutations: str
    files: dict[str, bytes]
    archived: bool = False


def make(number: int, seed: int, whole: Sources) -> Damaged:
    """Return case `number`."""
    rng = np.random.default_rng([seed, number])
    round_, kind = divmod(number, KINDS)
    if kind == KINDS - 1:
        return _archive(whole, rng)
    if kind == KINDS - 2:
        source = whole.nifti[rng.integers(len(whole.nifti))]
        files = dict(source.members)
        sidecar = next(name for name in files if name.endswith(".json"))
        scan = list(files)[rng.integers(len(files))]
        names: tuple[str, ...] = ()
        if scan != sidecar:
            files[scan], names = nifti_mutations.mutate(files[scan], rng, source.contents)
        if scan == sidecar or rng.random() < 0.2:
            files[sidecar], names = nifti_mutations.mutate_sidecar(files[sidecar], rng), (*names, "mutate_sidecar")
        return Damaged(source, " + ".join(names), files)
    originals = whole.series if whole.series and round_ % SERIES_PERIOD == SERIES_PERIOD - 1 else whole.single
    source = originals[rng.integers(len(originals))]
    other = whole.single[rng.integers(len(whole.single))].contents
    contents = list(source.contents)
    place = int(rng.integers(len(contents)))
    contents[place], names = mutations.mutate(contents[place], rng, other)
    return Damaged(source, " + ".join(names), {f"FLAIR/{n}.dcm": content for n, content in enumerate(contents)})


def _archive(whole: Sources, rng: np.random.Generator) -> Damaged:
    originals = (whole.series or whole.single, whole.single, whole.nifti)[rng.integers(3)]
    source = originals[rng.integers(len(originals))]
    kind = archive_mutations.KINDS[rng.integers(len(archive_mutations.KINDS))]
    content, names = archive_mutations.mutate(source.members, kind, rng)
    return Damaged(source, " + ".join((kind, *names)), {kind: content}, archived=True)


def write(case: Path, damaged: Damaged) -> discovery.RawCase:
    """Write a case into the raw folder."""
    paths = []
    for name, content in damaged.files.items():
        paths.append(case.with_name(case.name + name) if damaged.archived else case / name)
        paths[-1].parent.mkdir(parents=True, exist_ok=True)
        paths[-1].write_bytes(content)
    of_folder = all(name.startswith("FLAIR/") for name in damaged.files)
    inner = "FLAIR" if damaged.archived else ""
    return discovery.RawCase(case.name, tuple(map(str, paths)), "FLAIR" if of_folder else "", 0, inner)


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
    whole = sources()
    print(
        f"{len(whole.single)} single files, {len(whole.series)} series of {SLICES} slices and {len(whole.nifti)} NIfTI "
        f"scans as originals, {workers()} workers"
    )
    peak, counts, slowest = Peak(), Counter[tuple[str, str]](), (0.0, 0)
    ended, raised, listed = [], list[int](), 0
    section = params.load(ingest.IngestParams, "ingest", ROOT / "params.yaml")
    section = section.model_copy(update={"max_failed": 1.0, "min_slices": 1})
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        for begin in range(0, len(numbers), BATCH):
            batch = numbers[begin : begin + BATCH]
            folder, out = Path(temporary) / "raw", Path(temporary) / "volumes"
            folder.mkdir()
            out.mkdir()
            made = {number: make(number, seed, whole) for number in batch}
            cases = [write(folder / f"{number:06d}", damaged) for number, damaged in made.items()]
            packed = [path for case in cases for path in case.paths if archives.is_archive(path.name)]
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
                                damaged = made[number]
                                told = (damaged.source.name, damaged.mutations)
                                ended.append((number, outcome.code, outcome.message, *told))
                                print(*ended[-1], sep=" | ", flush=True)
                except Exception as error:  # of the next case; the others can go on
                    damaged = made[int(cases[read].case_id)]
                    raised.append(int(cases[read].case_id))
                    told = (damaged.source.name, damaged.mutations)
                    print(raised[-1], "IN THE PARENT", repr(error), *told, sep=" | ", flush=True)
                    read += 1
                cases = cases[read:]
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    listed += len(subjects.owners_of(packed))  # as an export, of which an archive holds several
            except Exception as error:
                raised.append(batch[0])
                print(batch[0], "IN THE PARENT, as an export", repr(error), sep=" | ", flush=True)
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
    print(f"members of archives listed    {listed}")
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
