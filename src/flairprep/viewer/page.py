"""The pages of a study's cases and all that they load: the resources of the server, a table fixed at its start."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from urllib.parse import quote

from flairprep.report import html
from flairprep.viewer import cases, volumes
from flairprep.viewer.server import Resource

TEMPLATES = Path(__file__).with_name("templates")
AROUND = 250  # cases before and after this one that the page offers
HTML, CSS, SCRIPT = (f"text/{kind}; charset=utf-8" for kind in ("html", "css", "javascript"))
VOLUME = "application/gzip"


class Study:
    """The resources of the cases with these ids: CASE/ is a page, CASE/LAYER.nii.gz a volume, the rest files."""

    def __init__(self, case_ids: Sequence[str], places: volumes.Places) -> None:
        self._ids, self._places = list(case_ids), places
        self._cases = {place(case_id): case_id for case_id in case_ids}
        self._files = {
            "style.css": Resource(CSS, partial(_files, html.TEMPLATES / "style.css", TEMPLATES / "view.css")),
            "view.js": Resource(SCRIPT, partial(_files, TEMPLATES / "view.js")),
            "niivue.js": Resource(SCRIPT, partial(_files, TEMPLATES / "niivue.umd.js.gz"), gzipped=True),
            "niivue.LICENSE.txt": Resource(
                "text/plain; charset=utf-8", partial(_files, TEMPLATES / "niivue.LICENSE.txt")
            ),
        }
        self._parts: dict[str, tuple[str, Callable[[str], bytes]]] = {
            "": (HTML, self.page),
            **{f"{name}.nii.gz": (VOLUME, make) for name, make in volumes.contents(places).items()},
        }

    def find(self, path: str) -> Resource | None:
        """Return the resource of `path`, which is compared as it came; None where the table has none."""
        first, slash, part = path.partition("/")
        if not slash:
            return self._files.get(first)
        if first not in self._cases or part not in self._parts:
            return None
        media, make = self._parts[part]
        return Resource(media, partial(make, self._cases[first]))

    def page(self, case_id: str) -> bytes:
        """Render the page of a case, UTF-8.

        Raises:
            FlairprepError: a table cannot be read.
            OSError: the scan cannot be read.
        """
        facts = cases.facts(case_id, self._places.maps)
        here = self._ids.index(case_id)
        near = self._ids[max(0, here - AROUND) : here + AROUND + 1]
        text = html.render(
            "view.html",
            TEMPLATES,
            case_id=case_id,
            facts=facts,
            layers=volumes.layers(case_id, self._places, explainable=bool(facts.fold)),
            near=[(near_id, place(near_id)) for near_id in near],
            previous=place(self._ids[here - 1]) if here else None,
            following=place(self._ids[here + 1]) if here + 1 < len(self._ids) else None,
            number=here + 1,
            count=len(self._ids),
        )
        return text.encode()


def place(case_id: str) -> str:
    """Return the name of a case in an address."""
    return quote(case_id, safe="")


def _files(*paths: Path) -> bytes:
    return b"\n".join(path.read_bytes() for path in paths)
