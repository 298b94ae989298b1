"""The model that each section of params.yaml is checked against, none of which takes tensorflow to import."""

from flairprep.cohort.labels import LabelsParams
from flairprep.core.params import Section
from flairprep.evaluation.measures import EvaluateParams
from flairprep.network.model_config import ModelParams
from flairprep.network.train_config import SweepParams, TrainParams
from flairprep.stages.audit import AuditParams
from flairprep.stages.balance import BalanceParams
from flairprep.stages.export import ExportParams
from flairprep.stages.ingest import IngestParams
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
