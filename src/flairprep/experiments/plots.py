"""Draw the plots of dvc.yaml, as `dvc plots` does, on one page that loads nothing from elsewhere."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dvc.exceptions import DvcException
from dvc.render.match import match_defs_renderers
from dvc.repo import Repo
from dvc.scm import RevError
from dvc_render.exceptions import DvcRenderError  # type: ignore[import-untyped]
from markupsafe import Markup

from flairprep.core.errors import FlairprepError
from flairprep.report.html import render
from flairprep.report.interactive import library

logger = logging.getLogger(__name__)

SCHEMA = "5"  # major version of Vega-Lite that DVC's templates and those of .dvc/plots are written in


@dataclass(frozen=True)
class Plot:
    """A plot of dvc.yaml, with the data of its runs inside.

    revisions: the runs that have data. specification: of Vega-Lite; None for pictures, which are data: addresses.
    """

    name: str
    title: str
    revisions: tuple[str, ...]
    specification: dict[str, Any] | None = None
    pictures: tuple[str, ...] = ()


def read_plots(runs: Sequence[str] = ()) -> list[Plot]:
    """Read the plots of dvc.yaml that have data, of the workspace or of `runs`, which are overlaid.

    runs: experiments or revisions; "workspace" is one too.

    Raises:
        FlairprepError: no git and DVC repository here, or a run that neither knows.
    """
    try:
        with Repo() as repo:
            data = repo.plots.show(revs=list(runs) or None)
            matched = match_defs_renderers(data=data, templates_dir=repo.plots.templates_dir)
    except RevError as error:
        raise FlairprepError(f"{error}; `dvc exp list` names the experiments") from error
    except DvcException as error:
        raise FlairprepError(f"{error}; plots reads what `dvc plots show` shows") from error
    plots = []
    for renderer, _, _ in matched:
        name, title = renderer.name.removeprefix("dvc.yaml::"), renderer.properties.get("title") or renderer.name
        revisions = tuple(dict.fromkeys(point["rev"] for point in renderer.datapoints))
        if not revisions:
            logger.warning("plots: %s: no data; dvc repro makes it, or dvc pull", name)
        elif renderer.TYPE == "image":
            pictures = tuple(point["src"] for point in renderer.datapoints)
            plots.append(Plot(name, title, revisions, pictures=pictures))
        else:
            try:
                plots.append(Plot(name, title, revisions, renderer.get_filled_template()))
            except DvcRenderError as error:
                logger.warning("plots: %s: %s", name, error)
    return plots


def page(plots: Sequence[Plot]) -> str:
    """Return the HTML page of `plots`, whose content security policy forbids it to load anything.

    Raises:
        FlairprepError: no plot.
    """
    if not plots:
        raise FlairprepError("plots: no plot of dvc.yaml has data; `dvc repro` makes it")
    revisions = list(dict.fromkeys(revision for plot in plots for revision in plot.revisions))
    script = Markup(library(SCHEMA).replace("</script", "<\\/script"))
    return render("plots.html", plots=plots, revisions=revisions, library=script)
