"""Pages of made-up comparisons, whose runs have reports in git and pictures in DVC's cache."""

import hashlib
import json
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import simulated_runs
from dvc_project import shell
from ruamel.yaml import YAML
from workspace import PARAMS

from flairprep.core import params
from flairprep.experiments import compare_page, comparison
from flairprep.experiments.runs import ExperimentRun

REPORT = "<!doctype html><title>report of {name}</title><h1>{name}</h1><img src='preview/before/1.png'>"


def png() -> bytes:
    """Return a grey picture of 2 x 2 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(b"\0\x80\x80" * 2)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        (chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)), chunk(b"IDAT", rows), chunk(b"IEND", b""))
    )


class Repository:
    """A git repository whose commits hold a report each, and a cache that holds their pictures."""

    def __init__(self, root: Path) -> None:
        self.root, self.cache = root, root / ".dvc/cache/files/md5"
        for command in ("git init -q -b main", "git config user.email a@example.org", "git config user.name a"):
            shell(root, command)
        (root / ".dvc").mkdir()
        (root / "reports").mkdir()
        (root / "params.yaml").write_text(PARAMS.read_text())
        (root / ".gitignore").write_text(".dvc\n")
        self.commit("first")

    def cached(self, content: bytes, suffix: str = "") -> str:
        """Put `content` into the cache; return its hash with the suffix of a folder's list."""
        digest = hashlib.md5(content).hexdigest()
        place = self.cache / digest[:2] / f"{digest[2:]}{suffix}"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)
        return f"{digest}{suffix}"

    def commit(self, name: str, *, pictures: bool = True, own: bool = True) -> str:
        """Commit a run with its report, or (own: False) with one of another run; return its revision."""
        page = REPORT.format(name=name).encode()
        (self.root / "reports/index.html").write_bytes(page)
        digests = [
            self.cached(json.dumps([{"md5": self.cached(content), "relpath": path}]).encode(), ".dir")
            for path, content in (("before/1.png", png()), ("charts.js", name.encode()))
        ]
        if not pictures:
            digests[0] = f"{'0' * 32}.dir"
        outs = {
            "preview": [{"path": "reports/preview", "hash": "md5", "md5": digests[0]}],
            "report": [
                {"path": "reports/index.html", "hash": "md5", "md5": hashlib.md5(page if own else b"").hexdigest()},
                {"path": "reports/assets", "hash": "md5", "md5": digests[1]},
            ],
        }
        with (self.root / "dvc.lock").open("w") as file:
            stages = {stage: {"cmd": "x", "outs": made} for stage, made in outs.items()}
            YAML().dump({"schema": "2.0", "stages": stages}, file)
        shell(self.root, "git add -A")
        shell(self.root, f"git commit -q --allow-empty -m '{name}'")
        return repository_head(self.root)

    def experiment(self, name: str, **options: Any) -> str:
        """Make a run that only a reference of DVC's names; return its revision."""
        head = repository_head(self.root)
        revision = self.commit(name, **options)
        shell(self.root, f"git update-ref refs/exps/{head[:2]}/{head[2:]}/{name} {revision}")
        shell(self.root, f"git reset -q --hard {head}")
        return revision


def repository_head(root: Path) -> str:
    """Return the commit that is checked out."""
    return shell(root, "git rev-parse HEAD").strip()


def compared(runs: list[ExperimentRun], **options: Any) -> dict[str, Any]:
    """Return the comparison of simulated runs."""
    return comparison.compare(runs, simulated_runs.CURRENT, **{"alpha": 0.05, "permutations": 199, **options})


def written(root: Path, runs: list[ExperimentRun], out: Path, left_out: dict[str, str] | None = None) -> Path:
    """Write the page of `runs` as if in the repository `root`; return its path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        out.mkdir(parents=True, exist_ok=True)
        compare_page.write(out, compared(runs), runs, params.read_params(), left_out or {}, {"workspace": runs[0].name})
    return out / compare_page.PAGE


def few(there: Repository) -> list[ExperimentRun]:
    """Return runs of three settings over two folds; one of them has no pictures here, one no report."""
    runs = []
    for name, right, lr in (("good", 0.95, 1e-4), ("middling", 0.8, 5e-5), ("poor", 0.5, 1e-5)):
        for fold in (0, 1):
            run = simulated_runs.simulate_run(f"{name}-{fold}", right, fold, lr=lr)
            made = there.experiment(run.name, pictures=run.name != "poor-0", own=run.name != "poor-1")
            runs.append(replace(run, revision=made))
    picture = there.root / "reports/preview/before/1.png"
    picture.parent.mkdir(parents=True)
    picture.write_bytes(png())
    return [replace(runs[0], revision=None), *runs[1:]]


def many(there: Repository) -> list[ExperimentRun]:
    """Return 30 settings of several params with long names, one run each."""
    head = repository_head(there.root)
    blocks = ("after_conv", "after_pool", "group")
    return [
        replace(
            simulated_runs.simulate_run(
                f"run-{index}-{'x' * 30}" if index == 3 else f"run-{index}",
                *(0.5 + index / 70, 0),
                **{"lr": round(1e-5 * 1.3**index, 9), "model.norm": blocks[index % 3], "train.augment": "flip_shift"},
                **({"model.filters": [4, 8, 16, 32]} if index % 2 else {"model.filters": [8, 16, 32, 64]}),
            ),
            revision=head,
        )
        for index in range(30)
    ]
