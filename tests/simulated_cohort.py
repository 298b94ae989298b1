"""A simulated cohort for the audit: labels and folds, no features."""

import numpy as np

from flairprep.audit.shortcuts import Cohort


def cohort(n: int = 60, seed: int = 0, groups: np.ndarray | None = None) -> Cohort:
    """Return a cohort with half of the cases of each label, in five folds of equal shares."""
    ids = np.array([f"{index:05d}" for index in range(n)])
    labels = np.arange(n) % 2
    order = np.random.default_rng(seed).permutation(n)
    return Cohort(ids, labels[order], ids if groups is None else groups, (np.arange(n) // 2 % 5)[order])
