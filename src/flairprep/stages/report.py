"""report: one page for people, reports/index.html, with maps and charts in reports/assets."""

from pathlib import Path

from flairprep.core import console, files, params
from flairprep.network import train_config

DATA = Path("data")
REPORTS = Path("reports")
OUT = REPORTS / "index.html"
ASSETS = REPORTS / "assets"
PREVIEW = REPORTS / "preview"
LOCK = Path("dvc.lock")
LATER = ("normalize", "select_slices", "export")  # stages after ingest in which a case may fail


class ReportParams(params.Section):
    """Section `report` of params.yaml: the cohort's name and where its labels come from, as text, or null."""

    cohort: str | None
    """The name of the cohort on the page, e.g. BraTS 2021; null: the folder of its scans."""
    assay: str | None
    """How the labels were measured, as the page says it; null: not stated."""
    cut_off: str | None
    """From which value on a label is 1."""
    dates: str | None
    """When scan and tissue were taken, relative to surgery."""


class BackgroundUsed(params.Section, extra="ignore"):
    """Part of section `normalize` that report needs: the value of all that is not tissue."""

    background: float


class EvaluateUsed(params.Section, extra="ignore"):
    """Part of section `evaluate` that report needs: the best epoch's band uses the permutations of p_selection."""

    alpha: float
    permutations: int
    seed: int


class ModelUsed(params.Section, extra="ignore"):
    """Part of section `model` that report needs, to know what a null train.monitor means."""

    name: str


def main() -> None:
    """Read the outs of the stages that ran; write reports/index.html and reports/assets."""
    # Only here: commands that read params need neither pandas nor altair.
    from flairprep.report import explanations, outs

    section, evaluate = params.load(ReportParams, "report"), params.load(EvaluateUsed, "evaluate")
    background, values = params.load(BackgroundUsed, "normalize").background, params.read_params()
    network = params.load(ModelUsed, "model").name
    monitor = train_config.resolve(params.load(train_config.TrainParams, "train"), network).monitor
    ingested, split = outs.optional_csv(DATA / "ingest/cases.csv"), outs.optional_csv(DATA / "split/split.csv")
    balance, audit, sanity = (outs.optional_json(REPORTS / f"{name}.json") for name in ("balance", "audit", "sanity"))
    trained = outs.trained() if split is not None else None
    scored = trained.scored if trained else None
    with files.atomic_folder(ASSETS) as out, explanations.begun(scored, background, out) as drawn_maps:
        # Meanwhile, workers make the maps.
        from flairprep.report import (
            captions,
            case_overview,
            case_pictures,
            charts,
            figures,
            html,
            interactive,
            provenance,
            quality,
            ratings,
            results,
        )

        result = results.collect(trained, split, monitor, **evaluate.model_dump())
        previewed = case_pictures.read(PREVIEW)
        before = {case: one.shown for case, one in previewed.acquired.items()}
        measured = quality.compare(previewed.qualities)
        later = {stage: outs.optional_csv(DATA / stage / "cases.csv") for stage in LATER}
        cases = case_overview.join(ingested, later, split, scored, before, previewed.seen)
        faults = [*case_overview.of_cases(cases), *case_overview.of_audit(audit), *case_overview.of_sanity(sanity)]
        faults = sorted([*faults, *case_overview.of_labels(balance)], key=lambda fault: fault.level)
        drawn = {
            **{"labels": figures.labels(balance) if balance else None, "groups": result.get("groups")},
            **{"folds": figures.folds(split) if split is not None else None, "null": result.get("null")},
            "baselines": figures.baselines(audit, result["metrics"], result["beside"]) if audit else None,
            "scans": figures.quality(measured),
            "outcome": figures.outcome(result["metrics"], audit) if result["metrics"] else None,
        }
        interactive.write([*drawn.values(), *result.get("training", ()), *result.get("declared", ())], out)
        run, identity = provenance.identify(values, section.cohort), provenance.hashes(provenance.read_lock(LOCK))
        text = html.render(
            "report.html",
            **{**result, **drawn, "audit": audit, "sanity": sanity, "balance": balance, "cases": cases},
            faults=faults,
            counters=case_overview.counters(cases, audit, sanity),
            bar=figures.cohort_bar(split, values["val_fold"], values["test_fold"]) if split is not None else [],
            choices={name: case_overview.choices(cases, name) for name in ("status", "code", "plane", "fold", "label")},
            explained=drawn_maps(),
            run=run,
            provenance=section,
            identity=identity,
            quality=measured,
            measure_names=quality.NAMES,
            ratings_key=ratings.key(run.cohort, [case.case_id for case in cases], identity),
            values={key: params.value_of(value) for key, value in params.flatten(values).items()},
            captions=captions,
            outline=charts.outline,
        )
        files.write_text(OUT, text)
    console.say(f"report: {len(cases)} cases, {len(faults)} things to look at: open {OUT}")


if __name__ == "__main__":
    console.run(main, "report")
