"""List the runs that git and DVC keep, and read their files, where possible without DVC, which takes seconds to start.

DVC is asked for what git does not know, the state of the queue, and for files that lie neither in git nor in DVC's
cache on this machine.
"""

import json
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import IO, Any, NamedTuple

from flairprep.core.errors import FlairprepError

WORKSPACE = "workspace"
DVC = Path(".dvc")
TASKS = DVC / "tmp/exps/run"  # a folder for each run of the queue, of --temp and of the workspace that DVC remembers


class MissingError(Exception):
    """A file that DVC knows and cannot get."""


class Row(NamedTuple):
    """A run as `dvc exp show` lists it.

    experiment: its name; None for a commit and the workspace. revision: the workspace, the commit's branch or tag, or 7
    digits. state: of a run of the queue; None for those that are done.
    """

    experiment: str | None
    revision: str
    state: str | None = None


def git(*arguments: str) -> list[str]:
    """Return the lines that git prints; none where it fails, as before the first commit."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=False)
    return [] if done.returncode else done.stdout.splitlines()


def commits_with_runs() -> list[str]:
    """Return HEAD and every commit that dvc.lock changed in or that an experiment started from."""
    changed = git("rev-list", "HEAD", "--branches", "--tags", "--", "dvc.lock")
    started = [commit for commit in map(_start_of, git("for-each-ref", "--format=%(refname)", "refs/exps")) if commit]
    return list(dict.fromkeys([*git("rev-parse", "HEAD"), *changed, *started]))


def _start_of(ref: str) -> str | None:
    """Return the commit of refs/exps/ab/cdef.../NAME, abcdef...; None for DVC's own notes beside."""
    parts = ref.split("/")
    return commit if len(parts) == 5 and len(commit := parts[2] + parts[3]) == 40 else None


def rows(commits: Sequence[str], *, queue: bool) -> list[Row]:
    """Return the workspace, and each of `commits` followed by its experiments, the latest first.

    queue: also those that run, wait or have failed.

    Raises:
        FlairprepError: no git and DVC repository here.
    """
    if not DVC.is_dir() or not git("rev-parse", "--git-dir"):
        raise FlairprepError(
            "no repository of git and DVC here; run from the root of a project that `dvc exp show` knows"
        )
    if not commits:
        return []
    tasks = _tasks() if queue and _may_have_tasks() else {}
    names, listed = _names(), [Row(None, WORKSPACE)]
    experiments: dict[str, list[tuple[int, str, str]]] = defaultdict(list)
    form = "--format=%(committerdate:unix) %(objectname) %(refname)"
    for line in git("for-each-ref", form, "refs/exps"):
        date, commit, ref = line.split(" ", 2)
        if start := _start_of(ref):
            experiments[start].append((int(date), commit, ref.split("/")[4]))
    for commit in commits:
        listed.append(Row(None, names.get(commit, commit[:7])))
        done = sorted(experiments[commit], reverse=True)
        waiting = tasks.get(commit, [])
        listed += [row for row in waiting if row.state == "Running"]
        listed += [Row(name, revision[:7]) for _, revision, name in done]
        listed += [row for row in waiting if row.state != "Running"]
    return listed


def _names() -> dict[str, str]:
    """Return commit -> name: the current branch, else the first tag, else the first branch."""
    names: dict[str, str] = {}
    for kind in ("refs/tags", "refs/heads"):
        for line in git("for-each-ref", "--format=%(objectname) %(*objectname) %(refname)", kind):
            commit, peeled, ref = line.split(" ", 2)
            names.setdefault(peeled or commit, ref.removeprefix(f"{kind}/"))
    if branch := git("symbolic-ref", "--short", "-q", "HEAD"):
        names |= dict.fromkeys(git("rev-parse", "HEAD"), branch[0])
    return names


def _may_have_tasks() -> bool:
    """Return whether DVC remembers a run that waits, has failed, or has no result yet."""
    waiting = git("for-each-ref", "refs/exps/celery", "refs/exps/stash")
    return bool(waiting) or not all(_has_result(file) for file in TASKS.glob("*/*.run"))


def _has_result(file: Path) -> bool:
    """Return whether a run is done, or the workspace's, of which DVC never notes a result."""
    try:
        run = json.loads(file.read_text(encoding="utf-8"))
        return bool(run["result_hash"]) or run["location"] == "workspace"
    except (OSError, ValueError, TypeError, KeyError):
        return False  # DVC knows


def _tasks() -> dict[str, list[Row]]:
    """Ask DVC for the runs that are not done: those of each commit.

    Raises:
        FlairprepError: DVC cannot say.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    tasks: dict[str, list[Row]] = defaultdict(list)
    try:
        with Repo() as repo:
            queue = repo.experiments.celery_queue
            active = [repo.experiments.tempdir_queue, queue]  # a run in the workspace is the workspace's
            entries = [(entry, "Running") for one in active for entry in one.iter_active()]
            entries += [(entry, "Queued") for entry in queue.iter_queued()]
            entries += [(done.entry, "Failed") for done in queue.iter_failed()]
    except DvcException as error:
        raise FlairprepError(f"{error}; compare reads what `dvc exp show` shows") from error
    for entry, state in entries:
        revision = entry.stash_rev[:7]
        tasks[entry.baseline_rev].append(Row(entry.name or revision, revision, state))
    return tasks


def is_revision(name: str) -> bool:
    """Return whether git knows `name` as a commit."""
    return bool(git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"))


class Files:
    """The files of a run: of the workspace or of a revision, and of DVC's cache where neither holds them.

    outs: path -> hash in DVC's cache, see `know`.
    """

    def __init__(self, revision: str | None, blobs: "Blobs") -> None:
        self.revision, self.blobs, self.outs = revision, blobs, dict[str, str]()

    def know(self, stages: Mapping[str, Any]) -> None:
        """Take over what dvc.lock says: where the outs of its `stages` lie in DVC's cache."""
        outs = [entry for stage in stages.values() for entry in stage.get("outs", ())]
        self.outs = {entry["path"]: entry["md5"] for entry in outs if entry.get("hash") == "md5"}

    def read_text(self, path: str) -> str:
        """Return the text of the file `path`.

        Raises:
            OSError: it is in none of these places.
            MissingError: DVC cannot read or fetch it.
        """
        if (here := self.read_here(path)) is not None:
            return here.decode()
        import dvc.api
        from dvc.exceptions import DvcException

        try:
            return str(dvc.api.DVCFileSystem(rev=self.revision).read_text(path))
        except DvcException as error:
            raise MissingError(str(error)) from error

    def read_here(self, path: str) -> bytes | None:
        """Return the bytes of the file `path`; None where git and the cache of this machine hold none."""
        if self.revision is None:
            if (present := Path(path)).is_file():
                return present.read_bytes()
        elif (blob := self.blobs.read(self.revision, path)) is not None:
            return blob
        cached = self._cached(path)
        return cached.read_bytes() if cached is not None and cached.is_file() else None

    def folder_here(self, out: str) -> dict[str, Path]:
        """Return the files of the out `out`, a folder, by name, each with its place in DVC's cache, there or not."""
        digest = self.outs.get(out, "")
        return self.blobs.listed(digest) if digest.endswith(".dir") else {}

    def _cached(self, path: str) -> Path | None:
        """Return where DVC's cache keeps the out `path`, or the folder's list that names it; None without either."""
        if path in self.outs:
            return self.blobs.cache_path(self.outs[path])
        for out, digest in self.outs.items():
            if path.startswith(f"{out}/") and digest.endswith(".dir"):
                return self.blobs.listed(digest).get(path.removeprefix(f"{out}/"))
        return None


class Blobs:
    """Files of git and of DVC's cache, read by one process for all revisions."""

    def __init__(self, source: IO[bytes], sink: IO[bytes]) -> None:
        self._source, self._sink = source, sink
        self._lists: dict[str, dict[str, Path]] = {}
        self._prefix = "".join(git("rev-parse", "--show-prefix"))

    def read(self, revision: str, path: str) -> bytes | None:
        """Return the bytes of `path` in a revision; None where git holds no such file."""
        self._sink.write(f"{revision}:{self._prefix}{path}\n".encode())
        self._sink.flush()
        header = self._source.readline().split()
        if len(header) != 3 or not header[2].isdigit():
            return None
        content = self._source.read(int(header[2]) + 1)[:-1]
        return content if header[1] == b"blob" else None

    @cached_property
    def _cache(self) -> Path:
        """DVC's cache, wherever its configuration puts it."""
        from dvc.config import Config  # which takes a fraction of what dvc.api takes

        return Path(Config(str(DVC.absolute()))["cache"].get("dir") or DVC / "cache") / "files/md5"

    def cache_path(self, digest: str) -> Path:
        """Return the place of a hash in DVC's cache."""
        return self._cache / digest[:2] / digest[2:]

    def listed(self, digest: str) -> dict[str, Path]:
        """Return the files of a folder in DVC's cache; none where its list is not there."""
        if digest not in self._lists:
            place = self.cache_path(digest)
            entries = json.loads(place.read_text(encoding="utf-8")) if place.is_file() else []
            self._lists[digest] = {entry["relpath"]: self.cache_path(entry["md5"]) for entry in entries}
        return self._lists[digest]


@contextmanager
def opened() -> Iterator[Blobs]:
    """Yield the `Blobs` of the repository here."""
    command = ["git", "cat-file", "--batch"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Blobs(process.stdout, process.stdin)
