"""Make the pictures of docs/pictures: the pages in Chromium, and a terminal, of a demo study.

    python docs/pictures.py             makes the study in a temporary folder first, 20 minutes on 2 cores
    python docs/pictures.py STUDY       takes the one that an earlier call kept with --keep STUDY

It needs .venv/dev and Chromium. The pictures show what a study says, so no path or name of this computer is in them.
"""

import argparse
import io
import os
import pty
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import termios
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

OUT = Path(__file__).resolve().parent / "pictures"
SECOND = Path("other")  # of the study: another cohort, to validate on
ELSEWHERE = re.compile(r"@font-face {{.*?}}|<!--.*?-->", re.DOTALL)  # what rich's SVG has of other hosts
CONTROL = re.compile(r"\r|\n|\x1b\[([0-9;?]*)([A-Za-z])")
WEBGL = ("--enable-unsafe-swiftshader",)  # without a graphics card
PIXELS = 1.25  # of a picture per pixel of CSS
QUALITY = 82  # of WebP
CASE = "00056"  # of the demo, with a tumour; flairprep view shows it
COLUMNS = "(Experiment|lr|val_fold|accuracy|auc|p_auc|predicted_positive|best_accuracy|diagnosis)$"
SHOW = ("dvc", "exp", "show", "--drop", ".*", "--keep", COLUMNS)


@dataclass(frozen=True)
class Shot:
    """A picture of a page: its name, the page in the study, the place in it, the window's height.

    ready: a selector of what is there when the page is; wait: milliseconds after that.
    """

    name: str
    page: str
    place: str = ""
    height: int = 800
    ready: str = "main"
    wait: int = 500  # a sticky line moves after the jump


SHOTS = (
    Shot("report", "reports/index.html", height=760),
    Shot("curves", "reports/index.html", "#training", 610),
    Shot("looks", "reports/index.html", "#looks", 860),
    Shot("cases", "reports/index.html", "#cases", 1080),
    Shot("audit", "reports/index.html", "#audit", 560),
    Shot("compare", "reports/compare.html", height=650),
    Shot("validation", "reports/validation/validation.html", height=690),
)
VIEW = Shot("view", "", height=760, ready="#status:empty", wait=4_000)  # without a graphics card it draws for seconds


def make(study: Path) -> None:
    """Make a finished demo study: a run, three experiments, their comparison, and another cohort to validate on."""
    call(("flairprep", "init", str(study), "--demo"), study.parent)
    call(("dvc", "repro"), study)
    call(("git", "add", "--all"), study)
    call(("git", "commit", "--quiet", "--message", "First run"), study)
    for name, change in (("lower", "lr=1e-5"), ("between", "lr=3e-5"), ("fold-1", "val_fold=1")):
        call(("dvc", "exp", "run", "--temp", "--name", name, "--set-param", change), study)
    call(("flairprep", "explain", CASE), study)
    call(("flairprep", "compare", "--html"), study)
    call(("flairprep", "demo", "--cases", "24", "--seed", "7", "--out", str(SECOND)), study)
    call(("flairprep", "validate", str(SECOND / "train"), str(SECOND / "train_labels.csv")), study)


def environment() -> dict[str, str]:
    """Return the variables of the commands: this Python's programs first, and an author of commits."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    author = {f"GIT_{who}_{what}": "demo" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    return {**os.environ, "PATH": path, **author, **quiet}


def call(command: Sequence[str], folder: Path) -> None:
    """Run a command; end with its status where it fails."""
    print("$", *command, flush=True)
    done = subprocess.run(command, cwd=folder, env=environment(), check=False)
    if done.returncode:
        sys.exit(done.returncode)


def screen(raw: str) -> list[str]:
    """Return the lines that a terminal shows after `raw`, colours kept: of its controls, those that rich's bar uses."""
    lines, row, start = [""], 0, 0
    for control in CONTROL.finditer(raw):
        lines[row] += raw[start : control.start()]
        start = control.end()
        if control[0] == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif control[2] == "A":
            row -= int(control[1] or 1)
        elif control[2] == "K":
            lines[row] = ""
        elif control[2] == "m":
            lines[row] += control[0]
    lines[row] += raw[start:]
    return lines


def on_terminal(command: Sequence[str], folder: Path, width: int, until: str = "") -> list[str]:
    """Return what a terminal of `width` columns shows when the command has ended, or first shows `until`, a pattern."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (50, width))
    process = subprocess.Popen(
        command, cwd=folder, env=environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    )
    os.close(slave)
    raw = b""
    with process:
        while True:
            try:
                piece = os.read(master, 65536)
            except OSError:  # the end, as Linux tells it
                piece = b""
            raw += piece
            if not piece or (until and re.search(until, Text.from_ansi("\n".join(screen(raw.decode()))).plain)):
                break
        process.terminate()
    os.close(master)
    lines = screen(raw.decode())
    while lines and not Text.from_ansi(lines[-1]).plain.strip():
        lines.pop()
    return lines


def draw_terminal(name: str, typed: Sequence[str], lines: Sequence[str], width: int) -> None:
    """Write a terminal of `width` columns as an SVG, which asks the network for nothing."""
    console = Console(record=True, width=width, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for line in (f"\x1b[1m$ {shlex.join(typed)}\x1b[0m", *lines):
        text = Text.from_ansi(line)
        for row in text.divide(range(width, len(text), width)):
            console.print(row, no_wrap=True)
    svg = console.export_svg(title="flairprep", unique_id=name, code_format=ELSEWHERE.sub("", CONSOLE_SVG_FORMAT))
    (OUT / f"{name}.svg").write_text(re.sub(r"[ \t]+$", "", svg, flags=re.MULTILINE), encoding="utf-8")


def draw_terminals(study: Path) -> None:
    """Draw the verdict, DVC's table of runs, and a training on its way."""
    draw_terminal("verdict", ("flairprep", "verdict"), on_terminal(("flairprep", "verdict"), study, 100), 100)
    table = on_terminal((*SHOW, "--no-pager"), study, 200)
    draw_terminal("runs", SHOW, table, max(len(Text.from_ansi(line)) for line in table))
    with tempfile.TemporaryDirectory() as folder:
        there = Path(folder)
        shutil.copy(study / "params.yaml", there)
        (there / "data").mkdir()
        (there / "data/export").symlink_to((study / "data/export").resolve())
        core = str(min(os.sched_getaffinity(0)))  # one of them, so that an epoch lasts long enough for a bar
        train = ("python", "-m", "flairprep.stages.train")
        lines = on_terminal(
            ("env", f"FLAIRPREP_CACHE={there / 'cache'}", "taskset", "--cpu-list", core, *train),
            there,
            110,
            until=r"epoch ([89]|1\d) of \d+ .*1\d/",
        )
        draw_terminal("training", train, lines, 110)


def photograph(browser: Browser, address: str, shot: Shot) -> None:
    """Write a picture of a page in light colours, 1280 pixels wide."""
    page = browser.new_page(viewport={"width": 1280, "height": shot.height}, device_scale_factor=PIXELS)
    page.goto(address + shot.place)
    page.wait_for_load_state("networkidle")
    page.locator(shot.ready).first.wait_for(state="attached", timeout=60_000)
    page.wait_for_timeout(shot.wait)
    Image.open(io.BytesIO(page.screenshot())).convert("RGB").save(OUT / f"{shot.name}.webp", quality=QUALITY, method=6)
    page.close()


def draw_pages(study: Path) -> None:
    """Photograph the pages that lie in the study, and the one that `flairprep view` serves.

    Raises:
        SystemExit: the study has not all of them.
    """
    for path in (study / name for name in (*(shot.page for shot in SHOTS), f"reports/explain/{CASE}.nii.gz")):
        if not path.is_file():
            sys.exit(f"{path}: no such file; python docs/pictures.py --keep STUDY makes a study that has it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=WEBGL)
        for shot in SHOTS:
            photograph(browser, (study / shot.page).resolve().as_uri(), shot)
        command = ("flairprep", "view", CASE, "--no-browser")
        with subprocess.Popen(command, cwd=study, env=environment(), stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                photograph(browser, server.stdout.readline().split()[-1], VIEW)
            finally:
                server.terminate()
        browser.close()


def main() -> None:
    """Make the study unless there is one, then all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", type=Path, metavar="STUDY")
    parser.add_argument("--keep", type=Path, metavar="STUDY", help="make the study here and keep it")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = options.study or options.keep or Path(folder) / "study"
        if options.study is None:
            make(study.resolve())
        OUT.mkdir(exist_ok=True)
        draw_pages(study)
        draw_terminals(study)
    for path in sorted(OUT.iterdir()):
        print(f"{path.stat().st_size / 1000:6.0f} kB  {path.name}")


if __name__ == "__main__":
    main()
