"""Write the methods of a run as a paragraph to paste, its numbers taken from the run."""

from collections.abc import Mapping

SUBJECTS = (
    *("criteria", "flow", "labels", "preprocessing", "partition"),
    *("model", "init", "training", "selection", "output", "tests", "robustness", "software"),
)


def paragraph(passages: Mapping[str, str]) -> str:
    """Return the paragraph, citing references.WORKS by marks; passages: subject -> sentences of the run."""
    return " ".join(passages[subject] for subject in SUBJECTS)
