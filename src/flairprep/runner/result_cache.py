"""What a stage made of a case, used again in every later run in which the case, params, code and packages are the same.

It lies under the user's cache folder, so that clones and DVC's temporary copies share it. An entry is found by a digest
of all that may change it, and a restored file is compared with its hash. Whatever is wrong with the store costs time,
never a byte of an out.
"""

import json
import logging
import secrets
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter

from flairprep.core.console import progress
from flairprep.core.outcomes import CaseError
from flairprep.runner import cache_dir, code_version
from flairprep.runner.map_cases import map_cases, prepare, run_cases
from flairprep.runner.pool import AHEAD, workers

logger = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")
R = TypeVar("R")


class ResultCache:
    """The results of one run of a stage.

    stage: whose results they are. given: the params that enter every case, as JSON. reused: how many cases came from
    the cache, once `map` has ended.
    secret: what ingest keys the identities of patients with; the same in every run with this store.
    """

    def __init__(self, stage: str, module_file: Path | str, given: dict[str, Any]) -> None:
        prepare()  # nearly always a case is new, or the stage would not run
        self.reused = 0
        self.secret = secrets.token_bytes(cache_dir.SECRET)
        self.stage = stage
        self._warned = False
        self._cache_dir = None
        try:
            self._cache_dir = cache_dir.open_cache_dir()
        except OSError as error:
            self._warn(error.strerror)
        if self._cache_dir:
            self.secret = self._cache_dir.secret
            self._base = json.dumps([stage, given, code_version.describe(Path(module_file))])

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        inputs: Callable[[T], tuple[Sequence[str | Path], Any]],
        on_failure: Callable[[T, CaseError], R],
        name: Callable[[T], str] | None = None,
        out: Path = Path(),
        unit: str = "case",
    ) -> Iterator[R]:
        """Map `function` over items as `map_cases` does, without computing cases that the cache knows.

        function: picklable, with its result's type as annotation; it writes at most one file, out / name(item), and
            none without a `name`.
        inputs: the files whose bytes count, and what else of the item does, as JSON.
        """
        if self._cache_dir is None:
            yield from map_cases(function, items, self.stage, on_failure=on_failure, unit=unit)
            return
        work = _Work(self._cache_dir, self._base, function, name, inputs, out)
        with closing(self._found(work, items, on_failure)) as results:
            for found in progress(results, len(items), self.stage, unit):
                self.reused += found.reused
                if found.fault:
                    self._warn(found.fault)
                yield found.result

    def _found(
        self, work: "_Work[T, R]", items: Sequence[T], on_failure: Callable[[T, CaseError], R]
    ) -> Generator["_Found[R]", None, None]:
        """What is known comes from the store by threads of this process, all else from workers, in the items' order."""

        def gone(item: T, error: CaseError) -> _Found[R]:
            return _Found(on_failure(item, error))

        with ThreadPoolExecutor(workers()) as threads:
            keys = list(threads.map(work.known, items))
            unknown = [item for item, key in zip(items, keys, strict=True) if key is None]
            known = [(item, key) for item, key in zip(items, keys, strict=True) if key is not None]
            with (
                closing(run_cases(work, unknown, self.stage, on_failure=gone)) as computed,
                closing(_in_order(threads, work.restored, known)) as restored,
            ):
                for item, key in zip(items, keys, strict=True):
                    found = next(computed if key is None else restored)
                    if found is None:  # it is damaged
                        yield from run_cases(work, [item], self.stage, on_failure=gone)
                    else:
                        yield found

    def _warn(self, reason: str | None) -> None:
        if not self._warned:
            logger.warning(f"{self.stage}: results are not kept for later runs ({reason}; see FLAIRPREP_CACHE)")
        self._warned = True


@dataclass(frozen=True)
class _Found(Generic[R]):
    """A result, whether the store had it, and why it could not be kept."""

    result: R
    reused: bool = False
    fault: str | None = None


@dataclass(frozen=True)
class _Work(Generic[T, R]):
    """The function of a stage, with a look into the store before it and a copy into the store after it."""

    cache_dir: cache_dir.CacheDir
    base: str
    function: Callable[[T], R]
    name: Callable[[T], str] | None
    inputs: Callable[[T], tuple[Sequence[str | Path], Any]]
    out: Path

    def known(self, item: T) -> str | None:
        """Return the key of an item that has an entry, where no input must be read to tell."""
        key = self._key(item, self.cache_dir.known_digest_of)
        return key if key and self.cache_dir.has(key) else None

    def restored(self, item_and_key: tuple[T, str]) -> _Found[R] | None:
        """Return what the cache holds of an item under its key; None where that is damaged."""
        item, key = item_and_key
        kept = self.cache_dir.restore(key, _adapter(self.function), self._file(item))
        return None if kept is None else _Found(kept, reused=True)

    def __call__(self, item: T) -> _Found[R]:
        try:
            key = self._key(item, self.cache_dir.digest_of)
        except OSError:  # of an input; the function says it better
            key = None
        if key is None:
            return _Found(self.function(item))
        if found := self.restored((item, key)):
            return found
        result = self.function(item)
        try:
            if self._key(item, self.cache_dir.digest_of) == key:  # else an input has changed since it was hashed
                self.cache_dir.keep(key, _adapter(self.function), result, self._file(item))
        except (OSError, ValueError) as error:
            return _Found(result, fault=getattr(error, "strerror", None) or type(error).__name__)
        return _Found(result)

    def _file(self, item: T) -> Path | None:
        return self.out / self.name(item) if self.name else None

    def _key(self, item: T, digest_of: Callable[[Sequence[str | Path]], str | None]) -> str | None:
        paths, rest = self.inputs(item)
        digest = digest_of(paths)
        return None if digest is None else self.cache_dir.digest(self.base, digest, json.dumps(rest))


def _in_order(threads: ThreadPoolExecutor, function: Callable[[S], R], items: Sequence[S]) -> Generator[R, None, None]:
    """`function` of each item, in their order; at most AHEAD a worker are begun before they are asked for."""
    begun: deque[Future[R]] = deque()
    try:
        for number in range(len(items) + AHEAD * workers()):
            if number < len(items):
                begun.append(threads.submit(function, items[number]))
            if number >= AHEAD * workers() and begun:
                yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    while isinstance(function, partial):
        function = function.func
    return _adapters(get_type_hints(function)["return"])


@cache
def _adapters(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
