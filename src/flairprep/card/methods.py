"""Write the methods of a run to paste into a manuscript, their numbers taken from the run."""

from collections.abc import Mapping

PARAGRAPHS = (
    ("criteria", "flow", "labels", "partition"),
    ("preprocessing",),
    ("model", "init", "training", "selection", "output"),
    ("measures", "tests", "robustness", "software"),
)


def text(passages: Mapping[str, str]) -> str:
    """Return four paragraphs: cases, preprocessing, network, evaluation; marks cite references.WORKS.

    passages: subject -> sentences of the run.
    """
    return "\n\n".join(" ".join(passages[subject] for subject in subjects) for subjects in PARAGRAPHS)
