"""The author's part of the cards: what no run can know, asked for in card.yaml and read from there."""

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from flairprep.core.errors import FlairprepError
from flairprep.core.params import suggest

FILE = Path("card.yaml")
HEAD = """\
The author's part of the cards that `flairprep card` writes: what the run cannot know.
Replace null by text; what stays null is asked as an open question. The command reads this file and never changes it.
Name no patient and nothing that identifies one.
"""


@dataclass(frozen=True)
class Question:
    """Something to ask the author. key: in card.yaml; text: the question, with an example where the form matters."""

    key: str
    text: str


SECTIONS: dict[str, tuple[Question, ...]] = {
    "The cards": (
        Question("model_name", "What is the network called?"),
        Question("authors", "Who made it, as names to be printed: A. Author; B. Author"),
        Question("contact", "Whom does a reader ask: a mail address or a page?"),
        Question("model_licence", "Under which licence is the network given away: an SPDX identifier, cc-by-4.0"),
        Question("model_url", "At which address will the network be found?"),
        Question("citation", "How is it cited: a reference or BibTeX?"),
        Question("data_name", "What is the data set called?"),
        Question("data_url", "At which address will the data set be found, as https://..."),
        Question(
            "data_licence", "Under which licence: an address such as https://creativecommons.org/licenses/by/4.0/"
        ),
        Question("data_published", "On which day is the data set published: 2027-01-31"),
    ),
    "Introduction": (
        Question("background", "What is the clinical problem, and which other methods or models address it?"),
        Question("intended_use", "What is the network for, at which point of care?"),
        Question("users", "Who is to use it, with what training?"),
        Question("out_of_scope", "What must it not be used for?"),
        Question("population", "For which patients is it meant?"),
        Question("inequalities", "Which differences in health or care between groups of people are known here?"),
        Question("objectives", "What did the study aim at: develop a model, evaluate one, both; which hypothesis?"),
    ),
    "Patients and scans": (
        Question("design", "Were the data collected for this study (prospective) or before it (retrospective)?"),
        Question("sources", "Where do the scans and labels come from: hospitals, registry, public data set?"),
        Question("setting", "How many centres took part, of which kind, and where?"),
        Question("accrual", "Between which dates were the patients scanned?"),
        Question("eligibility", "Which patients were eligible, and how were the cases chosen among them?"),
        Question("treatments", "Which treatments came before the scan, and how were they handled?"),
        Question("protocol_scan", "Which protocol were the scans acquired with, beyond what the headers say?"),
        Question("deidentification", "How were the raw data de-identified before they came here?"),
        Question("demographics", "What else is known of the patients: clinical findings, ethnicity?"),
        Question("sample_size", "Why this many cases?"),
    ),
    "Labels": (
        Question("label_meaning", "What do label 1 and label 0 mean?"),
        Question("assay", "How was the label measured, with which cut-off, and when relative to the scan?"),
        Question("assay_reason", "Why this reference standard?"),
        Question("annotators", "Who determined it, with what qualification, blinded to the scans or not?"),
        Question("rater_agreement", "How well do repeated determinations agree?"),
    ),
    "Evaluation": (
        Question(
            "search", "How many settings were tried before this one (`flairprep verdict` counts), and why this one?"
        ),
        Question("explainability", "How was looked into what the network uses: maps, their control, by whom?"),
        Question("external", "Was it tested on data from elsewhere, with what result?"),
        Question("fairness", "What was done about fairness between groups of people, and why?"),
        Question("updating", "Was the model updated or recalibrated after evaluation, with what result?"),
    ),
    "Discussion": (
        Question("interpretation", "What do the results mean beside earlier studies and the objectives?"),
        Question("limitations", "Which limitations are there beyond those that the run shows?"),
        Question("implications", "What follows for practice, and what has to be shown next?"),
        Question("deployment", "What must a site provide: scans of which quality, what when one is missing?"),
    ),
    "Other information": (
        Question("ethics", "Which committee approved the study, and was consent given or waived?"),
        Question("registration", "Where is the study registered, under which number?"),
        Question("protocol", "Where can the study protocol be read?"),
        Question("funding", "Who paid, and what was the funders' part?"),
        Question("conflicts", "Which competing interests do the authors declare?"),
        Question("availability", "Where and under which conditions are data, network and code to be had?"),
        Question("involvement", "How did patients or the public take part? None is an answer."),
    ),
}
QUESTIONS = {question.key: question.text for questions in SECTIONS.values() for question in questions}


def blank() -> str:
    """Return card.yaml with every question as a comment above its key, and null where the answer goes."""
    document = CommentedMap()
    document.yaml_set_start_comment(HEAD)
    for title, questions in SECTIONS.items():
        for index, question in enumerate(questions):
            document[question.key] = None
            before = f"\n{title}\n\n{question.text}" if index == 0 else question.text
            document.yaml_set_comment_before_after_key(question.key, before=before)
    yaml, text = YAML(), io.StringIO()
    yaml.representer.add_representer(
        type(None), lambda dumper, _: dumper.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.dump(document, text)
    return text.getvalue()


def read(path: Path = FILE) -> dict[str, str]:
    """Read the author's answers: key -> text, without the open ones; {} where there is no file.

    Raises:
        FlairprepError: not YAML, an unknown key, or an answer that is not text.
    """
    if not path.is_file():
        return {}
    try:
        values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8")) or {}
    except (YAMLError, UnicodeDecodeError) as error:
        raise FlairprepError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from error
    if not isinstance(values, Mapping):
        raise FlairprepError(f"{path}: must map keys to text, is {type(values).__name__}; move it away for a new one")
    answers = {}
    for key, value in values.items():
        if key not in QUESTIONS:
            raise FlairprepError(f"{path}: unknown key {key!r}; {suggest(str(key), tuple(QUESTIONS))}")
        if isinstance(value, list | Mapping | bool):
            raise FlairprepError(f"{path}: {key}: {value!r}: must be text; quote it, or write | and indent lines below")
        if value is not None and (text := str(value).strip()):
            answers[str(key)] = text
    return answers
