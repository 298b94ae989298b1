"""flairprep card: the model card and the data set card of the last run."""

import argparse

from flairprep.card import croissant, facts, model_card, questions, references
from flairprep.cli import sections
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.report import provenance

MARKDOWN, JSONLD = "MODEL_CARD.md", "croissant.jsonld"


def run(options: argparse.Namespace) -> None:
    """Write MODEL_CARD.md and croissant.jsonld into options.out, and card.yaml where there is none.

    Raises:
        FlairprepError: the run is not finished, params.yaml is not its own, or card.yaml is faulty.
    """
    if options.out.exists() and not options.out.is_dir():
        raise FlairprepError(f"--out {options.out}: is a file; name a folder")
    if faults := sections.faults(params.read_params()):
        raise FlairprepError("\n       ".join(faults))
    finished = facts.read()
    answers = questions.read()
    card = model_card.write(finished, answers, provenance.hashes(provenance.read_lock(facts.LOCK)))
    plain = {key: references.plain(text) for key, text in card.passages.items()}
    described = croissant.card(finished, plain, answers, croissant.files(finished.info), options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_text(options.out / MARKDOWN, card.text)
    files.write_json(options.out / JSONLD, described)
    if not questions.FILE.exists():
        files.write_text(questions.FILE, questions.blank())
    console.say(f"card: {MARKDOWN} and {JSONLD} are in {options.out}")
    if card.asked:
        still = f"{len(card.asked)} of {len(questions.QUESTIONS)}"
        console.say(f"  {still} questions to the author are open: answer them in {questions.FILE}")
    if lacking := croissant.missing(described):
        wanted = ", ".join(f"{name} ({key})" if key else name for name, key in lacking.items())
        console.say(f"  {JSONLD} lacks what Croissant requires, until {questions.FILE} gives it: {wanted}")
