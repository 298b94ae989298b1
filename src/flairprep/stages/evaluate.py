"""evaluate: judge whether the network learned: declared and selected numbers, kept apart, verdict and diagnosis."""

import json
from pathlib import Path

from flairprep.core import console, files, params
from flairprep.core.tables import read_csv, write_csv
from flairprep.evaluation import diagnosis, predictions
from flairprep.evaluation.baselines import against_baselines, told
from flairprep.evaluation.measures import EvaluateParams, measure, null_of
from flairprep.evaluation.verdict import of_test_fold, sentence
from flairprep.network import model_config, train_config

TRAIN = Path("data/train")
SPLIT = Path("data/split/split.csv")
CASES = Path("data/ingest/cases.csv")
AUDIT = Path("reports/audit.json")
BASELINES = Path("data/audit/baselines.csv")
OUT = Path("reports/metrics.json")
PLOTS = Path("reports/evaluate")
BY = ("plane", "manufacturer", "sex")


class CommandParams(params.Section, extra="ignore"):
    """Swept values that the diagnosis puts into its command."""

    lr: float
    epochs: int
    val_fold: int
    test_fold: int | None


def main() -> None:
    """Read data/train, split.csv, ingest's cases.csv and audit.json, write metrics.json and the tables of the plots."""
    section, swept = params.load(EvaluateParams, "evaluate"), params.load(CommandParams)
    model = params.load(model_config.ModelParams, "model")
    trained = train_config.resolve(params.load(train_config.TrainParams, "train"), model.name)
    split = read_csv(SPLIT)
    validation = predictions.from_tables(read_csv(TRAIN / "val_predictions.csv"), split)
    audit = json.loads(AUDIT.read_text()) if AUDIT.is_file() else {"items": [], "strata": {}}
    strata, leaked = predictions.strata_of(validation, audit["strata"]), predictions.leaked(validation, audit["items"])
    measures = measure(validation, trained.monitor, section, strata, leaked)
    measures |= of_test_fold(read_csv(TRAIN / "test_predictions.csv"), split)
    held_out = {swept.val_fold, swept.test_fold}
    diagnosed = diagnosis.diagnose(
        read_csv(TRAIN / "history.csv").astype(float),
        *(validation.y_true, validation.y_prob),
        train_labels=split.loc[~split["fold"].astype(int).isin(held_out), "label"].to_numpy(int),
        ranks=measures["p_auc"] < section.alpha,
        **swept.model_dump(),
        folds=split["fold"].nunique(),
        network=model_config.resolve(model),
        config=trained,
    )
    measures = {key: files.number(value) if isinstance(value, float) else value for key, value in measures.items()}
    tables = {
        **predictions.charts(validation.y_true, validation.declared),
        "cases": predictions.per_case(validation),
        "epochs": predictions.over_epochs(validation),
        "decision": predictions.decision_curve(validation),
        "null": null_of(validation, section),
        "baselines": against_baselines(validation, read_csv(BASELINES) if BASELINES.is_file() else None),
        "reliability": predictions.reliability(validation.y_true, validation.declared),
        "groups": predictions.by_group(validation, read_csv(CASES, ("case_id", *BY)), BY),
    }
    with files.atomic_folder(PLOTS) as out:
        for name, table in tables.items():
            write_csv(out / f"{name}.csv", table)
        files.write_json(out / "diagnosis.json", diagnosed.as_dict())
        files.write_json(OUT, measures | {"diagnosis": diagnosed.diagnosis})
    wrong = tables["cases"].loc[tables["cases"]["wrong"] == 1, "case_id"]
    console.say(sentence(measures, section.alpha))
    if beside := told(tables["baselines"], "\n    "):
        console.say(f"  {beside}")
    console.say(f"  wrong in every epoch: {', '.join(wrong) or 'no case'}; see reports/evaluate/cases.csv")
    console.say(str(diagnosed))


if __name__ == "__main__":
    console.run(main, "evaluate")
