"""sanity: check the exported tensors and the network for faults that would make any result of training worthless."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from flairprep.core import console, files, memory, params
from flairprep.core.tables import read_csv
from flairprep.network.model_config import ModelParams
from flairprep.runner.map_cases import run_cases
from flairprep.runner.pool import workers
from flairprep.sanity.check import Check

EXPORT = Path("data/export")
SPLIT = Path("data/split/split.csv")
OUT = Path("reports/sanity.json")
GATE = Path("data/sanity/gate")


class SanityParams(params.Section):
    """Section `sanity` of params.yaml."""

    strict: bool
    """Whether a failed check stops the run before train."""
    seed: int = Field(ge=0, lt=2**32)
    """Of the first weights, the cases drawn and the permutations."""


def report(checks: Sequence[Check], band: tuple[float, float] | None) -> dict[str, Any]:
    """Return the content of reports/sanity.json; band: the usable rates."""
    numbers = ("value", "threshold")
    rows = [asdict(check) for check in checks]
    for row in rows:
        row |= {key: None if row[key] is None else files.number(row[key]) for key in numbers}
    rates = {"low": files.number(band[0]), "high": files.number(band[1])} if band else None
    return {"checks": rows, "learning_rate": rates}


def main() -> None:
    """Read data/export (and split.csv, if there), write reports/sanity.json and data/sanity/gate."""
    from flairprep.dataset.map_style import MapDataset
    from flairprep.sanity import tensor_summary

    section, network = params.load(SanityParams, "sanity"), params.load(ModelParams, "model")
    with console.out_of_memory("model.filters or select_slices.size"):
        memory.keep_memory()
        # Workers summarise the cases meanwhile: the import of tensorflow leaves all but one core idle.
        parts = tensor_summary.parts(EXPORT, max(1, workers() - 1))
        summarise = partial(tensor_summary.summaries, directory=EXPORT)
        with closing(run_cases(summarise, parts, "sanity")) as summaries:
            # Only here: the import takes seconds of one core, and `flairprep check` does without.
            from flairprep.dataset import tf_data
            from flairprep.sanity import suite

            suite.set_up_tensorflow()
            prior = float(np.mean(MapDataset(EXPORT).labels()))
            with tf_data.faults(EXPORT):
                of_model, band = suite.of_network(EXPORT, network, prior, section.seed)
            cases = [case for part in summaries for case in part]
        split = read_csv(SPLIT, ("case_id", "label", "group", "fold")) if SPLIT.exists() else None
        checks = [*suite.of_tensors(cases, split, section.seed), *of_model]
    for check in checks:
        console.say(f"sanity: {check.verdict}: {check.name}: {check.text}")
    files.write_json(OUT, report(checks, band))
    GATE.unlink(missing_ok=True)
    failed = [check.name for check in checks if check.verdict == "fail"]
    if failed and section.strict:
        raise SystemExit(f"error: sanity: failed: {', '.join(failed)}; see {OUT}, or set sanity.strict: false")
    files.write_text(GATE, "sanity\n")


if __name__ == "__main__":
    console.run(main, "sanity")
