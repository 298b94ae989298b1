"""flairprep card: the model card and the data set card of the last run."""

import argparse
import json
from pathlib import Path

from flairprep.card import croissant, facts, model_card, questions, references
from flairprep.cli import sections
from flairprep.core import console, files, params
from flairprep.core.errors import FlairprepError
from flairprep.report import provenance


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
    written = write(finished, answers, options.out)
    if not questions.FILE.exists():
        files.write_text(questions.FILE, questions.blank())
    console.say(f"card: {', '.join(map(str, written))}")
    if still := len(questions.QUESTIONS) - len(answers):
        console.say(
            f"  {still} of {len(questions.QUESTIONS)} questions to the author are open: answer them in {questions.FILE}"
        )
    if lacking := croissant.missing(json.loads(written[1].read_text(encoding="utf-8"))):
        wanted = ", ".join(f"{name} ({key})" if key else name for name, key in lacking.items())
        console.say(f"  {written[1].name} lacks what Croissant requires, until {questions.FILE} gives it: {wanted}")


def write(finished: facts.RunFacts, answers: dict[str, str], out: Path) -> tuple[Path, Path]:
    """Write both cards of a run; return their paths."""
    card = model_card.write(finished, answers, provenance.hashes(facts.read_lock(facts.LOCK)))
    plain = {key: references.plain(text) for key, text in card.passages.items()}
    described = croissant.card(finished, plain, answers, croissant.files(finished.info), out)
    out.mkdir(parents=True, exist_ok=True)
    markdown, jsonld = out / "MODEL_CARD.md", out / "croissant.jsonld"
    files.write_text(markdown, card.text)
    files.write_json(jsonld, described)
    return markdown, jsonld
