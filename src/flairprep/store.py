"""What a stage made of a case, used again in every later run in which the case, params, code and packages are the same.

It lies under the user's cache folder, so that clones and DVC's temporary copies share it. An entry is found by a digest
of all that may change it, and a restored file is compared with its hash. Whatever is wrong with the store costs time,
never a byte of an out.
"""

import json
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Generic, TypeVar, get_type_hints

from pydantic import TypeAdapter

from flairprep import console, program, vault
from flairprep.cases import CaseError
from flairprep.pool import map_cases, prepare

T = TypeVar("T")
R = TypeVar("R")


class Store:
    """The results of one run of a stage.

    given: the params that enter every case, as JSON. reused: how many cases came from the store, once `map` has ended.
    secret: what ingest keys the identities of patients with; the same in every run with this store.
    """

    def __init__(self, stage: str, module_file: Path | str, given: dict[str, Any]) -> None:
        prepare()
        self.reused = 0
        self.secret = secrets.token_bytes(vault.SECRET)
        self._stage = stage
        self._warned = False
        self._vault = None
        try:
            self._vault = vault.opened()
        except OSError as error:
            self._warn(error.strerror)
        if self._vault:
            self.secret = self._vault.secret
            self._base = json.dumps([stage, given, program.describe(Path(module_file))])

    def map(
        self,
        function: Callable[[T], R],
        items: Sequence[T],
        *,
        name: Callable[[T], str],
        inputs: Callable[[T], tuple[Sequence[Path], Any]],
        out: Path,
        lost: Callable[[T, CaseError], R],
        unit: str = "case",
    ) -> Iterator[R]:
        """Like `pool.map_cases`, but a case that the store knows is not computed again.

        function: picklable, with its result's type as annotation; it writes at most one file, out / name(item).
        inputs: the files whose bytes count, and what else of the item does, as JSON.
        """
        if self._vault is None:
            yield from map_cases(function, items, self._stage, lost=lost, unit=unit)
            return
        work = _Work(self._vault, self._base, function, name, inputs, out)

        def gone(item: T, error: CaseError) -> _Found[R]:
            return _Found(lost(item, error))

        for found in map_cases(work, items, self._stage, lost=gone, unit=unit):
            self.reused += found.reused
            if found.fault:
                self._warn(found.fault)
            yield found.result

    def _warn(self, reason: str | None) -> None:
        if not self._warned:
            console.warn(f"{self._stage}: results are not kept for later runs ({reason}; see FLAIRPREP_CACHE)")
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

    vault: vault.Vault
    base: str
    function: Callable[[T], R]
    name: Callable[[T], str]
    inputs: Callable[[T], tuple[Sequence[Path], Any]]
    out: Path

    def __call__(self, item: T) -> _Found[R]:
        file = self.out / self.name(item)
        adapter = _adapter(self.function)
        try:
            key = self._key(item)
        except OSError:  # of an input; the function says it better
            return _Found(self.function(item))
        if (kept := self.vault.restore(key, adapter, file)) is not None:
            return _Found(kept, reused=True)
        result = self.function(item)
        try:
            if self._key(item) == key:  # else an input has changed since it was hashed
                self.vault.keep(key, adapter, result, file)
        except (OSError, ValueError) as error:
            return _Found(result, fault=getattr(error, "strerror", None) or type(error).__name__)
        return _Found(result)

    def _key(self, item: T) -> str:
        paths, rest = self.inputs(item)
        return self.vault.digest(self.base, self.vault.digest_of(paths), json.dumps(rest))


def _adapter(function: Callable[..., Any]) -> TypeAdapter[Any]:
    while isinstance(function, partial):
        function = function.func
    return _adapters(get_type_hints(function)["return"])


@cache
def _adapters(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
