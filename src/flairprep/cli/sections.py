"""Check all of params.yaml against the stages' models, none of which takes tensorflow to import."""

from typing import Any

from flairprep.cohort.labels import LabelsParams
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.core.params import Section
from flairprep.dicom.ingest_params import IngestParams
from flairprep.evaluation.measures import EvaluateParams
from flairprep.network.model_config import ModelParams
from flairprep.network.train_config import SweepParams, TrainParams
from flairprep.stages.audit import AuditParams
from flairprep.stages.balance import BalanceParams
from flairprep.stages.export import ExportParams
from flairprep.stages.normalize import NormalizeParams
from flairprep.stages.report import ReportParams
from flairprep.stages.sanity import SanityParams
from flairprep.stages.select_slices import SelectSlicesParams
from flairprep.stages.split import SplitParams

SWEPT = SweepParams  # the values at the top
SECTIONS: dict[str, type[Section]] = {
    "labels": LabelsParams,
    "ingest": IngestParams,
    "normalize": NormalizeParams,
    "select_slices": SelectSlicesParams,
    "balance": BalanceParams,
    "split": SplitParams,
    "audit": AuditParams,
    "export": ExportParams,
    "sanity": SanityParams,
    "model": ModelParams,
    "train": TrainParams,
    "evaluate": EvaluateParams,
    "report": ReportParams,
}


def faults(values: dict[str, Any]) -> list[str]:
    """List the faults of all values of params.yaml, of each section alone and then of one beside another."""
    found: list[str] = []
    try:
        params.check_keys(values)
    except FlairprepError as error:
        return [str(error)]
    models: list[tuple[str | None, type[Section]]] = [(None, SWEPT), *SECTIONS.items()]
    for name, cls in models:
        try:
            params.choose(cls, values, name)
        except FlairprepError as error:
            found += str(error).splitlines()
    return list(dict.fromkeys(found)) or _folds(values)


def _folds(values: dict[str, Any]) -> list[str]:
    """List the faults of folds that split does not make, and of a split that leaves none to train on."""
    run, folds = params.choose(SWEPT, values, None), params.choose(SplitParams, values, "split").folds
    chosen = {"val_fold": run.val_fold, "test_fold": run.test_fold}
    found = [
        f"params.yaml: {key}: {fold}: split.folds is {folds}, so folds are 0 to {folds - 1}"
        for key, fold in chosen.items()
        if fold is not None and fold >= folds
    ]
    if not found and run.test_fold is not None and folds == 2:
        return [f"params.yaml: test_fold: {run.test_fold}: no fold is left to train on; raise split.folds"]
    return found
