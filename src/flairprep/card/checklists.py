"""Answer the items of reporting checklists from the run and from the author, or leave them as open questions.

The items' numbers are those of the checklists; their topics are in words of our own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from flairprep.card.questions import QUESTIONS


@dataclass(frozen=True)
class Item:
    """An item of a checklist. passages: what the run says to it; questions: what the author has to say."""

    number: str
    topic: str
    passages: tuple[str, ...] = ()
    questions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Answer:
    """An item as the card shows it. passages: subjects that the run answers; told: texts of the author.

    asked: key -> question, of what is not known yet.
    """

    item: Item
    passages: tuple[str, ...]
    told: tuple[str, ...]
    asked: dict[str, str]

    @property
    def state(self) -> Literal["answered", "open"]:
        """Return open where a question waits for the author."""
        return "open" if self.asked else "answered"


def _items(table: tuple[tuple[str, str, str, str], ...]) -> tuple[Item, ...]:
    return tuple(Item(number, topic, tuple(run.split()), tuple(author.split())) for number, topic, run, author in table)


# Item, topic, passages of the run, questions to the author.
CLAIM = _items(
    (
        ("1", "Title: names the kind of AI", "", "model_name"),
        ("2", "Abstract: structured", "verdict performance", "objectives interpretation"),
        ("3", "Background and intended use", "", "background intended_use"),
        ("4", "Aims and hypotheses", "", "objectives"),
        ("5", "Prospective or retrospective", "", "design"),
        ("6", "Goal of the study", "", "objectives"),
        ("7", "Sources of data", "acquisition", "sources accrual setting"),
        ("8", "Who is in and who is out", "criteria flow", "eligibility"),
        ("9", "Preprocessing", "preprocessing quality", ""),
        ("10", "Choice of subsets of the data", "preprocessing", "eligibility"),
        ("11", "De-identification", "deidentification", "deidentification"),
        ("12", "Missing data", "missing", ""),
        ("13", "Acquisition of the images", "acquisition", "protocol_scan"),
        ("14", "Reference standard: definition", "labels assay", "label_meaning assay"),
        ("15", "Reference standard: reason for the choice", "", "assay_reason"),
        ("16", "Reference standard: who determined it", "", "annotators"),
        ("17", "Reference standard of the test cases", "assay", "assay annotators"),
        ("18", "Agreement within and between raters", "", "rater_agreement"),
        ("19", "Assignment to partitions", "partition", ""),
        ("20", "Level at which partitions are disjoint", "disjoint", ""),
        ("21", "Intended size of the sample", "size", "sample_size"),
        ("22", "Model", "model layers output", ""),
        ("23", "Software", "software", ""),
        ("24", "First values of the parameters", "init", ""),
        ("25", "Training", "training", ""),
        ("26", "Choice of the final model", "selection", "search"),
        ("27", "Ensembles", "ensemble", ""),
        ("28", "Measures of performance", "measures", ""),
        ("29", "Significance and uncertainty", "tests", ""),
        ("30", "Robustness and sensitivity", "robustness shortcuts baselines", ""),
        ("31", "Explainability", "", "explainability"),
        ("32", "Evaluation on internal data", "internal", ""),
        ("33", "Testing on external data", "", "external"),
        ("34", "Registration of a trial", "", "registration"),
        ("35", "Numbers included and excluded", "flow", ""),
        ("36", "Characteristics by partition", "patients", "demographics"),
        ("37", "Results, with uncertainty", "performance calibration", ""),
        ("38", "Diagnostic performance, with precision", "performance subgroups", ""),
        ("39", "Analysis of failures", "failures", ""),
        ("40", "Limitations", "limits", "limitations"),
        ("41", "Implications for practice", "verdict", "implications intended_use"),
        ("42", "Protocol or further technical details", "code", "protocol"),
        ("43", "Availability of software, model and data", "code", "availability"),
        ("44", "Funding", "", "funding"),
    )
)
TRIPOD = _items(
    (
        ("1", "Title: develops or evaluates, for whom, which outcome", "", "model_name population"),
        ("2", "Abstract: by its own list", "verdict performance", "objectives interpretation"),
        ("3a", "Healthcare context and existing models", "", "background"),
        ("3b", "Target population, purpose and users", "", "population intended_use users"),
        ("3c", "Known health inequalities", "", "inequalities"),
        ("4", "Objectives", "", "objectives"),
        ("5a", "Sources of data", "acquisition", "sources"),
        ("5b", "Dates", "", "accrual"),
        ("6a", "Setting and centres", "", "setting"),
        ("6b", "Eligibility", "criteria", "eligibility"),
        ("6c", "Treatments", "", "treatments"),
        ("7", "Preparation and checking of data", "preprocessing quality", ""),
        ("8a", "Outcome: definition and assessment", "labels assay", "label_meaning assay assay_reason"),
        ("8b", "Outcome: who assessed it", "", "annotators"),
        ("8c", "Outcome: blinding", "", "annotators"),
        ("9a", "Predictors: choice before modelling", "predictors", ""),
        ("9b", "Predictors: definition and measurement", "acquisition preprocessing", "protocol_scan"),
        ("9c", "Predictors: who assessed them", "predictors", ""),
        ("10", "Size of the sample", "size", "sample_size"),
        ("11", "Missing data", "missing", ""),
        ("12a", "Use and partition of the data", "partition disjoint", ""),
        ("12b", "Handling of predictors", "preprocessing", ""),
        ("12c", "Type of model, building, internal validation", "model init training selection internal", "search"),
        ("12d", "Heterogeneity between clusters", "subgroups robustness", ""),
        ("12e", "Measures and plots of performance", "measures tests", ""),
        ("12f", "Updating of the model", "", "updating"),
        ("12g", "How predictions were computed", "selection ensemble", ""),
        ("13", "Imbalance of classes", "imbalance", ""),
        ("14", "Fairness", "", "fairness"),
        ("15", "Output and thresholds", "output", ""),
        ("16", "Differences of development and evaluation data", "internal", "external"),
        ("17", "Ethical approval and consent", "", "ethics"),
        ("18a", "Funding", "", "funding"),
        ("18b", "Competing interests", "", "conflicts"),
        ("18c", "Protocol", "", "protocol"),
        ("18d", "Registration", "", "registration"),
        ("18e", "Availability of data", "", "availability"),
        ("18f", "Availability of code", "code", "availability"),
        ("19", "Involvement of patients and the public", "", "involvement"),
        ("20a", "Flow of participants", "flow labels", ""),
        ("20b", "Characteristics of participants", "patients acquisition", "demographics accrual"),
        ("20c", "Comparison with the development data", "partition", "external"),
        ("21", "Numbers in each analysis", "size", ""),
        ("22", "The full model", "model layers code", "availability"),
        ("23a", "Performance, in subgroups too", "performance calibration subgroups", ""),
        ("23b", "Performance between clusters", "subgroups", ""),
        ("24", "Results of updating", "", "updating"),
        ("25", "Interpretation, fairness included", "verdict", "interpretation fairness"),
        ("26", "Limitations", "limits", "limitations"),
        ("27a", "Poor or missing input in use", "criteria", "deployment"),
        ("27b", "Users' part and expertise", "", "users"),
        ("27c", "Next steps", "", "implications"),
    )
)


def answer(items: tuple[Item, ...], passages: Mapping[str, str], answers: Mapping[str, str]) -> list[Answer]:
    """Answer each item, in order. passages: subject -> sentences of the run; answers: key -> text of the author."""
    return [
        Answer(
            item,
            passages=tuple(key for key in item.passages if passages[key]),
            told=tuple(dict.fromkeys(answers[key] for key in item.questions if key in answers)),
            asked={key: QUESTIONS[key] for key in item.questions if key not in answers},
        )
        for item in items
    ]
