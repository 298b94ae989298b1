"""Pages of made-up projects, and visits to them in headless Chromium, for the tests of the pages."""

import os
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reports
from flairprep.imaging.quality import Quality
from flairprep.report import case_pictures, previews
from flairprep.report.case_pictures import Acquired, Drawn
from flairprep.report.previews import Histogram, Shown, Upright
from flairprep.stages import preview, report

CHROMIUM = shutil.which("chromium")
NEEDS_CHROMIUM = pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
MANY, FEW = 585, 12


class Visit:
    """A page in a browser, with what it asked for and complained of."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def until(self, script: str) -> None:
        """Waits until `script` is true; Playwright's own way needs `eval`, which the page forbids."""
        for _ in range(400):
            if self.page.evaluate(script):
                return
            self.page.wait_for_timeout(50)
        raise AssertionError(script)

    def choose(self, name: str, value: str) -> None:
        """Filters by `name`, or sorts where that is "sort"."""
        self.page.locator("[data-sort]" if name == "sort" else f"[data-filter={name}]").select_option(value)

    def shown(self) -> list[str]:
        """The case ids of the rows that are shown, in order."""
        script = "[...document.querySelectorAll('#case-list > li')].filter(r => !r.hidden).map(r => r.dataset.id)"
        return self.page.evaluate(script)

    def count(self) -> str:
        """What the page says of the number of rows."""
        return self.page.locator("[data-count]").inner_text()


def draw_once(cases: list[str], out: Path, _: float, *, measure: Callable[..., dict[str, Quality]]) -> Drawn:
    """In place of case_pictures.draw: the pictures of one noisy head, linked under the names of all cases."""
    z, y, x = np.indices((64, 128, 128)) - np.array([31.5, 63.5, 63.5]).reshape(3, 1, 1, 1)
    head = (z / 40) ** 2 + (y / 62) ** 2 + (x / 52) ** 2 < 1
    values = np.where(head, np.random.default_rng(0).normal(1, 0.05, head.shape) + 0.2 * np.sin(x / 5), 0)
    volume = Upright(values.astype(np.float32), (2.5, 2.0, 2.0))
    strip, bar = previews.planes(volume, (0.5, 1.5))
    sheet, _bar = previews.montage(volume, (0.5, 1.5))
    for kind, picture in (("before", strip), ("after", strip), ("slices", sheet)):
        previews.write(picture, out / kind / f"first{previews.SUFFIX}")
        for case_id in cases:
            if len(case_id) < 200 and "/" not in case_id:
                os.link(out / kind / f"first{previews.SUFFIX}", out / kind / f"{case_id}{previews.SUFFIX}")
        (out / kind / f"first{previews.SUFFIX}").unlink()
    shown = {case: Shown((0.5, 1.5), bar, Histogram(list(range(previews.BINS)), 0.0, 2.0)) for case in cases}
    measured = measure(cases, out)
    return Drawn({case: Acquired(one, measured.get(case, Quality())) for case, one in shown.items()}, shown)


def nothing_measured(*_: Any) -> dict[str, Quality]:
    """No measure of any case."""
    return {}


def all_measured(cases: list[str], _: Path) -> dict[str, Quality]:
    """Every measure, around 1."""
    values = np.random.default_rng(0).normal(1, 0.1, (len(cases), len(Quality._fields)))
    return {case: Quality(*row) for case, row in zip(cases, values.tolist(), strict=True)}


def made(
    folder: Path,
    count: int,
    hostile: bool = False,
    committed: bool = False,
    measure: Callable[..., dict[str, Quality]] = nothing_measured,
    **cohort: Any,
) -> Path:
    """A project of `count` cases in `folder` and its page; committed: its inputs are in git; cohort: section report."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(case_pictures, "draw", partial(draw_once, measure=measure))
        cases = reports.write_project(folder, count, pictures=False, **cohort)
        if hostile:
            for index, text in enumerate(reports.HOSTILE, 1):
                cases.loc[index, ["status", "code", "message", "manufacturer", "plane"]] = ["warned", *[text] * 4]
            cases.loc[[2, 3, 4], "case_id"] = [reports.HOSTILE[2], 'it\'s "100 %" #1?', reports.HOSTILE[4]]
            reports.write_cases(cases)
            reports.write_checks(reports.HOSTILE[1])
        if committed:
            identity = "-c user.name=n -c user.email=e@example.org -c commit.gpgsign=false"
            for command in ("git init -q", "git add params.yaml", f"git {identity} commit -qm run"):
                subprocess.run(command.split(), check=True)
        preview.main()
        report.main()
    return folder / "reports/index.html"
