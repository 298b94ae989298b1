"""Correct a run's p for the search that it came from: the runs on the same validation cases."""

from functools import partial
from typing import NamedTuple

from flairprep.experiments.inference import enough_permutations, learned_p_values, strata_of
from flairprep.experiments.runs import WORKSPACE, ExperimentRun, KnownRuns
from flairprep.experiments.settings import declared_table, select_comparable


class Searched(NamedTuple):
    """How many runs there are on the validation cases of a run, and its p corrected for all of them.

    p_within: the same within the strata of the audit's shortcuts; None where no run has any.
    """

    runs: int
    p_auc: float
    p_within: float | None


def searched(known: KnownRuns, *, alpha: float, permutations: int, seed: int) -> Searched | None:
    """Return the count and the p of the workspace's run; None where it is not among the readable runs.

    Every network is a member of the family, further seeds of a setting too: to run one again and keep the better is a
    search. Step-down minP as in `comparison.compare`.

    Args:
        known: of `runs.read_runs`.
        alpha: level, which the permutations must be able to reach.
        permutations, seed: number and seed of the permutations; more where the runs are many.
    """
    name = known.same_as.get(WORKSPACE, WORKSPACE)
    own = next((run for run in known.runs if run.name == name), None)
    if own is None:
        return None
    comparable, _ = select_comparable(known.runs, name)
    family = [own, *(run for run in comparable if run.name != name and _cases(run) == _cases(own))]
    tables = [declared_table([run]) for run in family]
    enough = enough_permutations(permutations, len(family), alpha)
    p_values = partial(learned_p_values, tables, own.folds, permutations=enough, seed=seed)
    strata = strata_of(family)
    return Searched(len(family), p_values()[0], None if strata is None else p_values(strata=strata)[0])


def _cases(run: ExperimentRun) -> tuple[str, ...]:
    return tuple(run.validation.case_ids)
