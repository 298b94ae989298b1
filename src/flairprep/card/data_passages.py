"""Say in sentences what the run knows of its data: cases, scans, labels, preprocessing, partitions."""

from typing import Any

from flairprep.card import cohort as cohorts
from flairprep.card import wording
from flairprep.card.cohort import Cohort
from flairprep.card.facts import RunFacts

MAPS = {
    "zscore": "mapped to mean 0 and standard deviation 1 (z-score)",
    "percentile": "mapped linearly so that their 1st and 99th percentiles became -1 and 1",
    "white_stripe": "standardised by mean and standard deviation of normal-appearing white matter (WhiteStripe) "
    "[@stripe]",
    "none": "left as acquired",
}
SLICES = {
    "centre": "the middle {count} slices as acquired, padded where there are fewer",
    "uniform": "{count} axial slices, evenly spaced from the first acquired slice to the last",
    "foreground": "{count} axial slices, evenly spaced over the head from the vertex down to at most 170 mm below it",
    "resample": "{count} axial slabs of equal thickness that fill the whole extent",
}

PREDICTORS = (
    "The voxels of the preprocessed scan are the only predictors, all of them; nobody read, marked or measured "
    "anything in the scans for the network."
)


def passages(facts: RunFacts, cohort: Cohort) -> dict[str, str]:
    """Return the sentences by subject; a mark [@key] cites one of references.WORKS."""
    values = facts.values
    return {
        "criteria": _criteria(values["ingest"]),
        "flow": _flow(cohort),
        "acquisition": _acquisition(cohort),
        "patients": _patients(cohort),
        "labels": _labels(values, cohort),
        "assay": _assay(values["report"]),
        "deidentification": _deidentification(cohort),
        "missing": _missing(cohort),
        "preprocessing": _preprocessing(facts, cohort),
        "quality": _quality(facts),
        "predictors": PREDICTORS,
        "partition": _partition(values, cohort),
        "disjoint": _disjoint(facts),
    }


def _criteria(section: dict[str, Any]) -> str:
    excluded = len(section["exclude"])
    by_hand = f" Excluded by hand, by a list in params.yaml: {excluded}." if excluded else ""
    return (
        f"A case was read if it held one MR series or volume of the sequence {section['sequence']} with at least "
        f"{section['min_slices']} slices on a regular grid; otherwise it failed with a code that names the "
        f"reason.{by_hand}"
    )


def _flow(cohort: Cohort) -> str:
    groups = wording.plural(cohort.used["group"].nunique(), "patient or group", "patients or groups")
    later = f", {_with_codes(cohort.dropped)} failed in preprocessing" if cohort.dropped else ""
    warned = f" Read with a warning: {_with_codes(cohort.warned)}." if cohort.warned else ""
    return (
        f"Of {wording.plural(cohort.found, 'case')} with scans, {_with_codes(cohort.failed)} could not be "
        f"read{later} and {cohort.unlabelled} had no label, which left {wording.plural(len(cohort.used), 'case')} of "
        f"{groups}. Labels without a scan: {cohort.without_scan}.{warned}"
    )


def _with_codes(counts: dict[str, int]) -> str:
    """Format "2 (BLANK_VOLUME 1, MISSING_SLICES 1)"."""
    return f"{sum(counts.values())} ({wording.listed(counts)})" if counts else "none"


def _acquisition(cohort: Cohort) -> str:
    told = []
    for column, what in (
        ("manufacturer", "manufacturers"),
        ("field_strength", "field strengths in T"),
        ("plane", "planes"),
        ("acquisition_type", "acquisition"),
        ("contrast_agent", "contrast agent"),
    ):
        if column in cohort.used:
            values = [f"{value}:" if value else "" for value in cohort.used[column]]
            told.append(f"{what} {wording.listed(wording.counted(values))}")
    measured = []
    for column, what, unit in (
        ("echo_time", "echo time", "ms"),
        ("repetition_time", "repetition time", "ms"),
        ("inversion_time", "inversion time", "ms"),
        ("spacing_x", "spacing in the plane", "mm"),
        ("spacing_z", "distance of slices", "mm"),
        ("slices", "slices", ""),
    ):
        if column in cohort.used:
            measured.append(f"{what} {wording.spread(cohort.used[column], unit)}")
    return f"Cases used, by header: {'; '.join(told)}. Median (range): {'; '.join(measured)}."


def _patients(cohort: Cohort) -> str:
    told = []
    for column, what in (("sex", "sex"), ("age_band", "age in years")):
        if column in cohort.used:
            counts = wording.counted(cohort.used[column])
            counts = dict(sorted(counts.items())) if column == "age_band" else counts
            told.append(f"{what} {wording.listed({f'{key}:': count for key, count in counts.items()})}")
    return f"Cases used: {'; '.join(told)}; by partition in the table of characteristics." if told else ""


def _labels(values: dict[str, Any], cohort: Cohort) -> str:
    positive = values["labels"]["positive"]
    meaning = f' (1: "{positive}")' if positive else ""
    return (
        f"The label was the column {values['labels']['label_column']} of the labels table{meaning}; "
        f"{wording.share(cohorts.ones(cohort.used), len(cohort.used))} cases used were of label 1."
    )


def _assay(section: dict[str, Any]) -> str:
    """Tell what params.yaml says of the labels, empty where it says nothing."""
    names = {"assay": "Method", "cut_off": "cut-off", "dates": "dates"}
    told = [f"{names[key]}: {section[key]}" for key in names if section[key]]
    return f"{'; '.join(told)}." if told else ""


def _deidentification(cohort: Cohort) -> str:
    heads = cohort.warned.get("WHOLE_HEAD", 0)
    return (
        "Tables and volumes that the pipeline writes hold a case id, sex, age in bands of ten years and technical "
        f"header fields, and no other header text. Volumes that are not skull-stripped and may show a face: {heads}."
    )


def _missing(cohort: Cohort) -> str:
    empty = {}
    for column in (*cohorts.COUNTED, *cohorts.MEASURED):
        if column in cohort.used and (lacking := int((cohort.used[column] == "").sum())):
            empty[column] = lacking
    told = wording.listed(empty, "none")
    return (
        "Cases without a usable scan or without a label were left out, see the flow of cases; nothing was imputed. "
        f"The network uses no header field. Empty header fields among the cases used: {told}."
    )


def _preprocessing(facts: RunFacts, cohort: Cohort) -> str:
    normalize, slices = facts.values["normalize"], facts.values["select_slices"]
    depth, height, width, _ = facts.info.image_shape
    stripped = int((cohort.used["skull_stripped"] == "yes").sum()) if "skull_stripped" in cohort.used else 0
    map_ = normalize["intensity"]
    clip = "" if map_ == "none" else f" and cut to [-{normalize['clip']:g}, {normalize['clip']:g}]"
    n4 = "The bias field was removed by N4 [@n4]. " if normalize["bias_field"] == "n4" else ""
    x, _, z = zip(*facts.spacings, strict=True)
    return (
        f"Volumes were reoriented to the nearest axes of {normalize['orientation']}. Tissue was all that differs "
        f"from exact zero in skull-stripped volumes ({stripped} of {len(cohort.used)}), and otherwise the largest "
        f"component above half of Otsu's threshold [@otsu], closed by 3 mm. {n4}Intensities of the tissue were "
        f"{MAPS[map_]}{clip}, scan by scan; everything else was set to {normalize['background']:g}. Each volume was "
        "resampled once, linearly, with Gaussian smoothing along axes that became coarser [@cardoso], to "
        f"{SLICES[slices['method']].format(count=depth)}, of {width} x {height} pixels that span the larger field of "
        f"view without stretching: spacing {wording.spread(x, 'mm')} in the plane and {wording.spread(z, 'mm')} "
        "between slices, median (range). No statistic of other scans took part."
    )


def _quality(facts: RunFacts) -> str:
    checks = wording.counted(check["verdict"] for check in facts.sanity["checks"])
    bad = [check["name"] for check in facts.sanity["checks"] if check["verdict"] in ("warn", "fail")]
    named = f" ({wording.joined(bad)})" if bad else ""
    return (
        f"Each scan was checked for geometry, missing and repeated slices and damage when read. Before training, "
        f"{wording.plural(len(facts.sanity['checks']), 'check')} of tensors, labels and network were made: "
        f"{wording.listed(checks)}{named}."
    )


def _partition(values: dict[str, Any], cohort: Cohort) -> str:
    split, parts = values["split"], cohort.parts
    together = (
        "all scans of a patient in one fold"
        if split["group_column"] is None
        else f"cases of one {split['group_column']} in one fold"
    )
    test = (
        "No fold was kept for testing."
        if "test" not in parts
        else f"Fold {values['test_fold']} ({_cases(parts['test'])}) was kept away from every choice and scored once."
    )
    strata = wording.joined(dict.fromkeys(["label", *split["stratify_by"]]))
    return (
        f"Cases were assigned to {split['folds']} folds at random (seed {split['seed']}), stratified by {strata}, "
        f"with {together}. Fold {values['val_fold']} ({_cases(parts['validation'])}) was the internal validation "
        f"set; the network was trained on the other folds ({_cases(parts['training'])}). {test}"
    )


def _cases(part: Any) -> str:
    return f"{wording.plural(len(part), 'case')}, {cohorts.ones(part)} of label 1"


def _disjoint(facts: RunFacts) -> str:
    leaks = [item for item in facts.audit["items"] if item["kind"] == "leak"]
    found = {item["name"]: len(item["cases"]) for item in leaks if item["verdict"] == "leak"}
    names = wording.joined(item["name"].replace("_", " ") for item in leaks)
    level = facts.values["split"]["group_column"] or "patient"
    told = f"found, with the number of cases concerned: {wording.listed(found)}" if found else "none was found"
    m = facts.metrics
    without = (
        f" Without them the AUC is {wording.number(m['auc_without_leaks'])}, {wording.p_value(m['p_without_leaks'])}."
        if m["leaked"]
        else ""
    )
    return (
        f"Partitions are disjoint by {level}. An audit looked for what two folds share ({names}): "
        f"{told}. Validation cases concerned: {m['leaked']} of {m['n']}.{without}"
    )
