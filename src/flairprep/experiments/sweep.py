"""Plan a sweep: which runs of it are still to be made, the fewest commands that queue them, and how long they take."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from flairprep.core import params
from flairprep.experiments.runs import REPEATS, ExperimentRun, cohort_of, setting_of

RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
BARE = re.compile(r"[A-Za-z_][\w./-]*( [\w./-]+)*")
WORDS = {"null", "true", "false", "nan", "inf"}
OPEN = ("ingest.exclude", "ingest.pick")  # sections whose keys are cases
HASHED = ("data/ingest", "labels")  # of a run's cohort: what was read, beside the params

Combination = tuple[str, ...]


class Times(NamedTuple):
    """How long a run takes: seconds by stage, and the stages of which that is unknown."""

    known: dict[str, float]
    unknown: list[str]


def expand(assignment: str) -> str:
    """Write out the ranges among the values of KEY=VALUES: val_fold=0..2,4 becomes val_fold=0,1,2,4."""
    key, equals, values = assignment.partition("=")

    def written(value: str) -> str:
        if not (limits := RANGE.fullmatch(value)):
            return value
        first, last = int(limits[1]), int(limits[2])
        step = 1 if last >= first else -1
        return ",".join(map(str, range(first, last + step, step)))

    return f"{key}{equals}{','.join(written(value) for value in values.split(','))}"


def override_value(value: Any) -> str:
    """Write a value so that Hydra, the grammar of `dvc exp run -S`, reads it back."""
    if isinstance(value, list | tuple):
        return f"[{','.join(map(override_value, value))}]"
    if isinstance(value, Mapping):
        return f"{{{','.join(f'{key}:{override_value(one)}' for key, one in value.items())}}}"
    if not isinstance(value, str):
        return params.value_of(value)
    if BARE.fullmatch(value) and value.lower() not in WORDS:
        return value
    quoted = re.sub(r'(\\*)"', r"\1\1\\" + '"', value)
    trailing = len(quoted) - len(quoted.rstrip("\\"))
    return f'"{quoted}{quoted[len(quoted) - trailing :]}"'


def set_back(now: Mapping[str, Any], then: Mapping[str, Any], above: str = "") -> list[str]:
    """Return the overrides that make the values `now` those of `then`: KEY=VALUE, +KEY=VALUE and ~KEY.

    A section of OPEN is replaced where its keys differ. Not every text can be written: the caller must
    see whether Hydra makes `then` of them.
    """
    overrides = [f"~{above}{key}" for key in now if key not in then]
    for key, value in then.items():
        name = f"{above}{key}"
        if key not in now:
            overrides.append(f"+{name}={override_value(value)}")
        elif isinstance(value, Mapping) and isinstance(now[key], Mapping):
            if name in OPEN and set(value) != set(now[key]):
                overrides += [f"~{name}", f"+{name}={override_value(value)}"]
            else:
                overrides += set_back(now[key], value, f"{name}.")
        elif (type(value), value) != (type(now[key]), now[key]) and not _same_number(value, now[key]):
            overrides.append(f"{name}={override_value(value)}")
    return overrides


def _same_number(a: Any, b: Any) -> bool:
    """Return whether both are numbers, not truth values, and equal: 1 and 1.0."""
    return all(isinstance(x, int | float) and not isinstance(x, bool) for x in (a, b)) and bool(a == b)


def cover(combinations: Sequence[Combination]) -> list[list[list[str]]]:
    """Write a set of combinations as products, few of them: each the values by key, in the order given.

    Values of a key that go with the same values of the keys after it share a product. All products together hold each
    combination once.
    """
    if not combinations or not combinations[0]:
        return [[]] if combinations else []
    rest: dict[str, list[Combination]] = {}
    for first, *others in combinations:
        rest.setdefault(first, []).append(tuple(others))
    groups: dict[tuple[Combination, ...], list[str]] = {}
    for value, others_of in rest.items():
        groups.setdefault(tuple(dict.fromkeys(others_of)), []).append(value)
    return [[values, *product] for others_of, values in groups.items() for product in cover(others_of)]


def find_existing(
    values: Mapping[str, Any], runs: Sequence[ExperimentRun], reference: ExperimentRun
) -> ExperimentRun | None:
    """Find the run that `values` of params.yaml would repeat, on the data and by the code of the run `reference`.

    The params that count are those that the run's stages follow.

    Raises:
        FlairprepError: a value of model or train is not allowed.
    """
    flat = params.flatten(values)
    setting = setting_of(flat) | {"code": reference.setting.get("code")}
    cohort = cohort_of(flat, {key: reference.cohort[key] for key in HASHED})
    repeat = tuple(flat[key] for key in REPEATS)
    for run in runs:
        if (
            _agrees(setting, run.setting)
            and _agrees(cohort, run.cohort)
            and (run.seed, run.fold, run.split_seed) == repeat
        ):
            return run
    return None


def _agrees(planned: Mapping[str, Any], made: Mapping[str, Any]) -> bool:
    """Return whether everything that a run was made with is planned too."""
    return all(key in planned and planned[key] == value for key, value in made.items())


def stages_rerun(stages: Mapping[str, Any], keys: Sequence[str]) -> list[str]:
    """Return the stages of dvc.yaml that run again where the params `keys` change, in order.

    stages: of dvc.yaml, each with deps, params and outs.
    """
    rerun: list[str] = []
    changed: list[str] = []
    for name, stage in stages.items():
        followed = [
            param for entry in stage.get("params", ()) for param in ([entry] if isinstance(entry, str) else [""])
        ]
        own = any(_meets(param, key) for param in followed for key in keys)
        own = own or any(f"${{{key}}}" in str(dep) for dep in stage.get("deps", ()) for key in keys)
        if own or any(_holds(dep, out) for dep in stage.get("deps", ()) for out in changed):
            rerun.append(name)
            for entry in (*stage.get("outs", ()), *stage.get("metrics", ())):
                changed.append(entry if isinstance(entry, str) else next(iter(entry)))
    return rerun


def _meets(param: str, key: str) -> bool:
    """Return whether a stage that follows `param`, all of params.yaml where it is empty, follows `key`."""
    return not param or param == key or key.startswith(f"{param}.") or param.startswith(f"{key}.")


def _holds(dep: str, out: str) -> bool:
    return dep == out or dep.startswith(f"{out}/") or out.startswith(f"{dep}/")


def times_of(stages: Sequence[str], seconds: Mapping[str, float]) -> Times:
    """Return how long `stages` take, from the seconds of each one's last run."""
    known = {stage: seconds[stage] for stage in stages if stage in seconds}
    return Times(known, [stage for stage in stages if stage not in seconds])


def duration(seconds: float) -> str:
    """Say how long: 40 s, 12 min, 3 h 5 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if not hours:
        return f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"
