"""Per-case result cache, keyed by inputs, params, code and package versions.

It lies in the user's cache folder, so that clones and DVC's temporary copies share it. A restored file is checked
against its hash. A fault of the cache costs time, never a byte of an out.
"""

import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar, get_type_hints

from pydantic import TypeAdapter

from flairprep.core.console import progress
from flairprep.core.outcomes import CaseError
from flairprep.runner import cache_dir, code_version
from flairprep.runner.map_cases import prepare, run_cases
from flairprep.runner.pool import AHEAD, workers

logger = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class ResultCache:
    """The cached results of one stage.

    Args:
        stage: its name.
        module_file: the file of its code; see `code_version.describe`.
        params: those that enter every case, as JSON.
        threads: that the function of a case runs, so there are as many fewer workers.

    Attributes:
        reused: how many cases came from the cache, once `map` has ended.
        secret: ingest keys the identities of patients with it; equal in every run with this cache.
    """

    def __init__(self, stage: str, module_file: Path | str, params: dict[str, Any], *, threads: int = 1) -> None:
        prepare()  # nearly always a case is new, or the stage would not run
        self.reused = 0
        self.secret = secrets.token_bytes(cache_dir.SECRET_BYTES)
        self.stage = stage
        self._run_cases = partial(run_cases, label=stage, threads=threads)
        self._warned = False
        self._cache_dir = None
        try:
            self._cache_dir = cache_dir.open_cache_dir()
        except OSError as error:
            self._warn(error.strerror)
        if self._cache_dir:
            self.secret = self._cache_dir.secret
            self._base = json.dumps([stage, params, code_version.describe(Path(module_file))])

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        inputs: Callable[[T], tuple[Sequence[str | Path], Any]],
        on_failure: Callable[[T, CaseError], R],
        name: Callable[[T], str] | None = None,
        files: Sequence[str] = ("{}",),
        out: Path = Path(),
        unit: str = "case",
    ) -> Generator[R, None, None]:
        """Map `function` over items as `map_cases` does, without computing results that the cache holds.

        Workers of this machine have begun when this returns; they end when the results are read, or closed.

        Args:
            function: picklable, with its result's type as annotation; it writes no other files than those that
                follow, and none without a `name`.
            items: the cases, or files.
            inputs: the files of an item whose bytes enter its key, and whatever else does, as JSON.
            on_failure: the result of an item that failed alone; never cached.
            name: what the files of an item are called by.
            files: the files that `function` writes at most, in `out`; {} stands for the name.
            out: the folder that it writes to.
            unit: the name of an item, for progress.
        """
        cached = None
        if self._cache_dir is not None:
            cached = _CachedFunction(self._cache_dir, self._base, function, name, tuple(files), inputs, out)
        results = self._map(cached or function, items, on_failure, unit)
        next(results)
        return results

    def _map(
        self,
        function: "Callable[[T], R] | _CachedFunction[T, R]",
        items: Sequence[T],
        on_failure: Callable[[T, CaseError], R],
        unit: str,
    ) -> Generator[Any, None, None]:
        """Yield None once the workers have begun, then the results."""
        if not isinstance(function, _CachedFunction):
            with closing(self._run_cases(function, items, on_failure=on_failure)) as values:
                yield None
                yield from progress(values, len(items), self.stage, unit)
            return
        with closing(self._results(function, items, on_failure)) as results:
            yield next(results)
            for result in progress(results, len(items), self.stage, unit):
                self.reused += result.reused
                if result.fault:
                    self._warn(result.fault)
                yield result.value

    def link(self, made: "Joined") -> bool:
        """Make the file that `remember` was told of a link to DVC's own copy, where there is one; return whether."""
        if self._cache_dir is None or not self._cache_dir.links:
            return False
        try:
            key = made.key(self._cache_dir, self._base)
        except OSError:  # an input cannot be read; who reads it has the better message
            return False
        return self._cache_dir.restore(key, TypeAdapter(bool), made.file) is not None

    def remember(self, made: "Joined") -> None:
        """Remember the hashes of a file that was joined from many cases; the file itself DVC keeps."""
        if self._cache_dir is None or not self._cache_dir.links:
            return
        try:
            key = made.key(self._cache_dir, self._base)
            self._cache_dir.keep(key, TypeAdapter(bool), True, made.file, copied=False)
        except OSError as error:
            self._warn(error.strerror)

    def _results(
        self, cached: "_CachedFunction[T, R]", items: Sequence[T], on_failure: Callable[[T, CaseError], R]
    ) -> Generator[Any, None, None]:
        """Yield None once the workers have begun, then results in order: workers compute those that are not cached."""

        def failed(item: T, error: CaseError) -> _Result[R]:
            return _Result(on_failure(item, error))

        with ThreadPoolExecutor(workers()) as threads:
            keys = list(threads.map(cached.known_key, items))
        unknown = [item for item, key in zip(items, keys, strict=True) if key is None]
        known = [(item, key) for item, key in zip(items, keys, strict=True) if key is not None]
        with (  # workers first: they can be forked from this process while it has no threads
            closing(self._run_cases(cached, unknown, on_failure=failed)) as computed,
            ThreadPoolExecutor(workers()) as threads,
            closing(_in_order(threads, cached.restore, known)) as restored,
        ):
            yield None
            for item, key in zip(items, keys, strict=True):
                result = next(computed if key is None else restored)
                if result is None:  # a damaged entry
                    yield from self._run_cases(cached, [item], on_failure=failed)
                else:
                    yield result

    def _warn(self, reason: str | None) -> None:
        if not self._warned:
            logger.warning(f"{self.stage}: results are not cached for later runs ({reason}; see FLAIRPREP_CACHE)")
        self._warned = True


class Joined(NamedTuple):
    """A file joined from many cases: the files that it depends on, and what else, as JSON."""

    inputs: Sequence[Path]
    others: Any
    file: Path

    def key(self, cache_dir: cache_dir.CacheDir, base: str) -> str:
        """Return the key of the entry.

        Raises:
            OSError: an input cannot be read.
        """
        digests = [cache_dir.digest_of([path]) for path in self.inputs]  # each is remembered, all together are not
        return cache_dir.digest("joined", base, json.dumps([digests, self.others]))


@dataclass(frozen=True)
class _Result(Generic[R]):
    """A result; reused: whether it was cached; fault: why it could not be."""

    value: R
    reused: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class _CachedFunction(Generic[T, R]):
    """The function of a stage, which a look into the cache precedes and a copy into it follows."""

    cache_dir: cache_dir.CacheDir
    base: str
    function: Callable[[T], R]
    name: Callable[[T], str] | None
    files: tuple[str, ...]
    inputs: Callable[[T], tuple[Sequence[str | Path], Any]]
    out: Path

    def known_key(self, item: T) -> str | None:
        """Return the key of a cached item, None where it is not, or where only reading its inputs could tell."""
        key = self._key(item, self.cache_dir.known_digest_of)
        return key if key and self.cache_dir.has(key) else None

    def restore(self, item_and_key: tuple[T, str]) -> _Result[R] | None:
        """Restore the result of an item under its key; return None where the entry is missing or damaged."""
        item, key = item_and_key
        value = self.cache_dir.restore(key, _adapter(self.function), *self._files(item))
        return None if value is None else _Result(value, reused=True)

    def __call__(self, item: T) -> _Result[R]:
        """Restore or compute the result of an item."""
        try:
            key = self._key(item, self.cache_dir.digest_of)
        except OSError:  # an input cannot be read; the function has the better message
            key = None
        if key is None:
            return _Result(self.function(item))
        if result := self.restore((item, key)):
            return result
        value = self.function(item)
        try:
            if self._key(item, self.cache_dir.digest_of) == key:  # else an input has changed since it was hashed
                self.cache_dir.keep(key, _adapter(self.function), value, *self._files(item))
        except (OSError, ValueError) as error:
            return _Result(value, fault=getattr(error, "strerror", None) or type(error).__name__)
        return _Result(value)

    def _files(self, item: T) -> list[Path]:
        return [self.out / file.format(self.name(item)) for file in self.files] if self.name else []

    def _key(self, item: T, digest_of: Callable[[Sequence[str | Path]], str | None]) -> str | None:
        paths, others = self.inputs(item)
        digest = digest_of(paths)
        return None if digest is None else self.cache_dir.digest(self.base, digest, json.dumps(others))


def _in_order(threads: ThreadPoolExecutor, function: Callable[[S], R], items: Sequence[S]) -> Generator[R, None, None]:
    """Map `function` over items by threads, in order; AHEAD items per worker begin before they are asked for."""
    futures: deque[Future[R]] = deque()
    try:
        for number in range(len(items) + AHEAD * workers()):
            if number < len(items):
                futures.append(threads.submit(function, items[number]))
            if number >= AHEAD * workers() and futures:
                yield futures.popleft().result()
    finally:
        for future in futures:
            future.cancel()


def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    """Return the adapter of the result's type, which `function` has as its annotation."""
    while isinstance(function, partial):
        function = function.func
    return _adapters(get_type_hints(function)["return"])


@cache
def _adapters(result_type: Any) -> TypeAdapter[Any]:
    return TypeAdapter(result_type)
