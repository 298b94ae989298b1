"""Say in sentences what the run knows of its network: architecture, training, evaluation, results."""

from collections.abc import Mapping
from typing import Any

from flairprep.card import cohort as cohorts
from flairprep.card import wording
from flairprep.card.cohort import Cohort
from flairprep.card.facts import RunFacts
from flairprep.core.params import choose
from flairprep.evaluation.predictions import LEAST_OF_A_LABEL
from flairprep.evaluation.verdict import MEANING
from flairprep.network import model_config, train_config
from flairprep.stats import power

NORMS = {
    "after_conv": "batch normalisation [@batchnorm] (momentum {momentum:g}) after each convolution",
    "after_pool": "batch normalisation [@batchnorm] (momentum {momentum:g}) after each pooling",
    "group": "group normalisation [@groupnorm] after each convolution",
    "none": "no normalisation",
}
INITS = {"he_normal": "He's normal", "glorot_uniform": "Glorot's uniform"}
SCHEDULES = {
    "constant": "constant",
    "exponential": "lowered by 4 % every 100,000 steps",
    "cosine": "annealed along a cosine to zero [@cosine]",
}
AUGMENTS = {
    "none": "no augmentation",
    "flip": "random mirroring from left to right as augmentation",
    "shift": "random shifts by up to 6 voxels along each axis as augmentation",
    "flip_shift": "random mirroring from left to right and shifts by up to 6 voxels along each axis as augmentation",
}
MONITORS = {"val_accuracy": "validation accuracy", "val_loss": "validation loss", "val_auc": "validation AUC"}


def passages(facts: RunFacts, cohort: Cohort) -> dict[str, str]:
    """Return the sentences by subject; a mark [@key] cites one of references.WORKS."""
    network = model_config.resolve(choose(model_config.ModelParams, facts.values, "model"))
    training = train_config.resolve(choose(train_config.TrainParams, facts.values, "train"), _name(facts))
    return {
        "model": _model(facts, network),
        "layers": _layers(facts),
        "software": _software(facts),
        "init": _init(facts, network),
        "training": _training(facts, training),
        "selection": _selection(facts, training),
        "ensemble": _ensemble(facts),
        "output": _output(facts),
        "imbalance": _imbalance(cohort, training),
        "measures": _measures(),
        "tests": _tests(facts, cohort),
        "robustness": _robustness(facts),
        "internal": _internal(facts, cohort),
        "size": _size(facts, cohort),
        "performance": _performance(facts),
        "calibration": _calibration(facts),
        "subgroups": _subgroups(facts),
        "failures": _failures(facts),
        "shortcuts": _shortcuts(facts),
        "baselines": _baselines(facts),
        "verdict": _verdict(facts),
        "limits": _limits(facts, cohort),
        "code": _code(facts),
    }


def _name(facts: RunFacts) -> str:
    """Return model.name as it is called now."""
    return choose(model_config.ModelParams, facts.values, "model").name


def _model(facts: RunFacts, network: model_config.NetworkConfig) -> str:
    archive = facts.network
    z, y, x, _ = archive.input_shape
    named = {
        "resnet3d": "a small residual 3D CNN [@resnet]",
        "tutorial_cnn": "the plain 3D CNN of a Keras tutorial on CT scans [@zunair]",
    }[_name(facts)]
    filters = wording.joined(map(str, network.filters))
    blocks = (
        f"{wording.plural(len(network.filters), 'block')} of {wording.plural(network.convs, 'convolution')} each, of "
        f"3 x 3 x 3 voxels ({filters} filters)"
    )
    halves = "a strided first convolution" if network.strided else "max pooling after the convolutions"
    shortcut = "shortcuts around the convolutions" if network.skip else "no shortcuts"
    pooling = "global average and maximum pooling" if network.global_max else "global average pooling"
    head = [pooling]
    if network.dense:
        head.append(f"a dense layer of {network.dense} units")
    if network.dropout:
        head.append(f"dropout at rate {network.dropout:g} [@dropout]")
    halved = "The input was first averaged over 2 x 2 x 2 voxels. " if network.halve_input else ""
    return (
        f"The network ({_name(facts)}) was {named} from {z} x {y} x {x} voxels to the probability of label 1. "
        f"{halved}It had {blocks}, each halving its map by {halves}, with ReLU, {shortcut} and "
        f"{NORMS[network.norm].format(momentum=network.norm_momentum)}; then {wording.joined(head)} and a sigmoid. "
        f"It held {archive.parameters:,} numbers (weights, and averages of batch normalisation)."
    )


def _layers(facts: RunFacts) -> str:
    layers = facts.network.layers
    return f"The network has {sum(layers.values())} layers: {wording.listed(layers)}."


def _software(facts: RunFacts) -> str:
    packages = wording.joined(f"{name} {version}" for name, version in facts.packages.items())
    return f"Keras {facts.network.keras} trained the network. Versions installed when this was written: {packages}."


def _init(facts: RunFacts, network: model_config.NetworkConfig) -> str:
    start = ", and the output's bias so that it starts at the share of label 1" if network.start_at_prior else ""
    return (
        f"Weights were drawn anew, by {INITS[network.init]} initialisation [@{network.init}]{start} "
        f"(seed {facts.values['seed']}); nothing was pretrained."
    )


def _training(facts: RunFacts, config: train_config.TrainConfig) -> str:
    values = facts.values
    rate = train_config.scaled_rate(config, values["lr"], values["batch_size"])
    weights = "classes weighted equally" if config.class_weight == "balanced" else "no class weights"
    stop = (
        f"training stopped after {config.patience} epochs without a better {MONITORS[config.monitor]}"
        if config.patience
        else "training never stopped early"
    )
    mixed = " in mixed precision (float16, with a scaled loss)" if config.precision == "mixed_float16" else ""
    return (
        f"It was trained{mixed} by Adam [@adam] on the binary cross-entropy, at a learning rate of {rate:g} "
        f"({SCHEDULES[config.schedule]}), in batches of {values['batch_size']}, for {facts.epochs} of at most "
        f"{values['epochs']} epochs, with {AUGMENTS[config.augment]} and {weights}; {stop}. Seed {values['seed']}."
    )


def _selection(facts: RunFacts, config: train_config.TrainConfig) -> str:
    epochs = facts.metrics["declared_epochs"]
    return (
        "No epoch was chosen by its result: the declared prediction of a case was the mean probability of the "
        f"networks after the last {wording.plural(epochs, 'epoch')}, a rule fixed before the run. The epoch with the "
        f"best {MONITORS[config.monitor]} is reported beside it, with a p-value that replays its choice."
    )


def _ensemble(facts: RunFacts) -> str:
    members, every = facts.network.members, facts.network.all_parameters
    if members == 1:
        return "The saved network is that of the only epoch; no ensemble."
    return f"The saved network averages the answers of {members} networks of the same run ({every:,} stored numbers)."


def _output(facts: RunFacts) -> str:
    return (
        "The output was the probability of label 1; above 0.5, a threshold fixed before the run, a case was called 1."
    )


def _imbalance(cohort: Cohort, config: train_config.TrainConfig) -> str:
    part = cohort.parts["training"]
    weighted = (
        "the loss weighted both labels equally, and probabilities were not recalibrated after it"
        if config.class_weight == "balanced"
        else "neither label was weighted or sampled more often"
    )
    return f"Training cases of label 1: {wording.share(cohorts.ones(part), len(part))}; {weighted}."


def _measures() -> str:
    return (
        "Measures were the area under the ROC curve (AUC), accuracy, sensitivity, specificity, balanced accuracy, "
        "predictive values, Matthews' correlation, average precision, Brier score [@brier], log loss, calibration "
        "intercept and slope [@cox], reliability and decision curves [@vickers]."
    )


def _several(cohort: Cohort) -> bool:
    """Tell whether a patient or group has several validation cases."""
    return bool(cohort.parts["validation"]["group"].duplicated().any())


def _tests(facts: RunFacts, cohort: Cohort) -> str:
    section = facts.values["evaluate"]
    shares = (
        "Wilson's method [@wilson], widened for patients with several scans"
        if _several(cohort)
        else "Clopper and Pearson's exact method [@clopper]"
    )
    return (
        f"95 % confidence intervals are Newcombe's [@newcombe] for the AUC and by {shares} for accuracy. The AUC was "
        f"tested by {section['permutations']:,} permutations of the patients' labels [@phipson] (seed "
        f"{section['seed']}), the accuracy by an exact one-sided binomial test against always guessing the larger "
        f"class; level {section['alpha']:g}. Differences to baselines on the same cases are DeLong's [@delong], with "
        "Holm's correction [@holm]."
    )


def _robustness(facts: RunFacts) -> str:
    audit, tests = facts.values["audit"], [item for item in facts.audit["items"] if item["kind"] == "shortcut"]
    return (
        f"Shortcuts were looked for by {len(tests)} tests on header fields, geometry and intensities "
        f"({audit['permutations']:,} permutations, Holm's correction [@holm], level {audit['alpha']:g}), and the AUC "
        "was tested again within strata of those found and without cases that leak. The run is one fold and one "
        f"seed ({facts.values['seed']})."
    )


def _internal(facts: RunFacts, cohort: Cohort) -> str:
    part, fold = cohort.parts["validation"], facts.values["val_fold"]
    test = "" if "test" not in cohort.parts else f" and once on test fold {facts.values['test_fold']}"
    return (
        f"Evaluated on fold {fold} ({len(part)} cases), which no weight was fitted on{test}. Choices of params made "
        "after looking at this fold are not undone by that."
    )


def _size(facts: RunFacts, cohort: Cohort) -> str:
    part = cohort.parts["validation"]
    ones = cohorts.ones(part)
    least = power.detectable_auc(ones, len(part) - ones, facts.values["evaluate"]["alpha"])
    shown = (
        f"detect a true AUC of {least:.3f} with 80 % power [@obuchowski]"
        if least < 1
        else "detect no AUC with 80 % power"
    )
    return (
        f"All labelled cases that could be read were used: {_numbers(cohort)}. {len(part)} validation cases, {ones} "
        f"of label 1, {shown} (one-sided, level {facts.values['evaluate']['alpha']:g})."
    )


def _numbers(cohort: Cohort) -> str:
    parts = [(name, part) for name, part in cohort.parts.items() if name != "all"]
    return wording.joined(f"{len(part)} for {name} ({cohorts.ones(part)} of label 1)" for name, part in parts)


def _performance(facts: RunFacts) -> str:
    m = facts.metrics
    test = ""
    if "test_auc" in m:
        test = (
            f" Test fold, scored once: AUC {wording.interval(m, 'test_auc')}, accuracy "
            f"{wording.number(m['test_accuracy'])} ({wording.p_value(m['test_p_nir'])} against the larger class)."
        )
    return (
        f"Validation fold, {m['n']} cases: AUC {wording.interval(m, 'auc')}, {wording.p_value(m['p_auc'])}; accuracy "
        f"{wording.interval(m, 'accuracy')} beside {m['nir']:.3f} of always guessing the larger class, "
        f"{wording.p_value(m['p_nir'])}; sensitivity {wording.interval(m, 'sensitivity')}, specificity "
        f"{wording.interval(m, 'specificity')} at 0.5.{test}"
    )


def _calibration(facts: RunFacts) -> str:
    m = facts.metrics
    return (
        f"Brier score {m['brier']:.3f}, log loss {m['log_loss']:.3f} (of always answering the share of label 1: "
        f"{m['log_loss_prior']:.3f}), calibration intercept {wording.interval(m, 'calibration_intercept', 2)}, slope "
        f"{wording.interval(m, 'calibration_slope', 2)}."
    )


def _subgroups(facts: RunFacts) -> str:
    told = [
        f"{row['by']} {row['value']} {_numeric(row, 'auc')}" for row in facts.groups.to_dict("records") if row["auc"]
    ]
    few = len(facts.groups) - len(told)
    return (
        f"AUC by plane, manufacturer and sex: {'; '.join(told) or 'of no group'}. Groups with fewer than "
        f"{LEAST_OF_A_LABEL} cases of a label, for which none is given: {few}."
    )


def _numeric(row: Mapping[Any, Any], key: str) -> str:
    """Format a cell of a table of text with its interval."""
    return wording.interval({name: float(row[name]) for name in (key, f"{key}_low", f"{key}_high")}, key)


def _failures(facts: RunFacts) -> str:
    always = int((facts.scored["wrong"].astype(float) == 1).sum())
    right = int(((facts.scored["probability"].astype(float) > 0.5) == (facts.scored["label"] == "1")).sum())
    return (
        f"Declared predictions wrong at 0.5: {wording.share(len(facts.scored) - right, len(facts.scored))}; wrong in "
        f"every epoch: {always}. Diagnosis of the training: {facts.diagnosis['diagnosis']} "
        f"({facts.diagnosis['reason']})."
    )


def _shortcuts(facts: RunFacts) -> str:
    found = [item["name"].replace("_", " ") for item in facts.audit["items"] if item["verdict"] == "shortcut"]
    within = facts.metrics["p_within"]
    strata = "" if within is None else f" Within strata of these the network's AUC has {wording.p_value(within)}."
    return f"Shortcuts found, which may give the label away: {wording.joined(found) or 'none'}.{strata}"


def _baselines(facts: RunFacts) -> str:
    told = "; ".join(" ".join(row) for row in baselines(facts))
    return f"Simple classifiers on the same cases, with their AUC, and the network's AUC minus it: {told or 'none'}."


def baselines(facts: RunFacts) -> list[list[str]]:
    """Return rows of the table of baselines: name, AUC, and the network's AUC minus it with its interval."""
    return [
        [row["baseline"], wording.number(float(row["auc"])), _numeric(row, "difference")]
        for row in facts.baselines.to_dict("records")
        if row["auc"]
    ]


def _verdict(facts: RunFacts) -> str:
    verdict = facts.metrics["verdict"]
    return f"Verdict of the run: {verdict}: {MEANING[verdict]}."


def _limits(facts: RunFacts, cohort: Cohort) -> str:
    m = facts.metrics
    told = [f"one fold of {m['n']} validation cases was scored, with one seed"]
    if m["auc_low"] is not None:
        told.append(f"the interval of its AUC is {m['auc_high'] - m['auc_low']:.2f} wide")
    if "test" not in cohort.parts:
        told.append("no test fold was kept away from the choice of params")
    if any(item["verdict"] == "shortcut" for item in facts.audit["items"]):
        told.append("shortcuts were found")
    if m["leaked"]:
        told.append(f"{m['leaked']} validation cases leak from training folds")
    told.append("data from elsewhere were not tested by this run")
    return f"Seen by the run: {'; '.join(told)}."


def _code(facts: RunFacts) -> str:
    commit = facts.commit
    if commit is None:
        return "The run is not under git."
    edited = f", with later edits of {wording.joined(commit.changed)}" if commit.changed else ""
    return (
        f"The run is commit {commit.revision} of {commit.date}{edited}; its pipeline is dvc.yaml, its params are "
        "params.yaml, and dvc.lock holds the hashes of code, data and results."
    )
