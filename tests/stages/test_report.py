"""report: the page says what the other stages left, and what they did not."""

import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image
from tables import put
from workspace import PARAMS, contents, write_params

import reports
from flairprep.core import params
from flairprep.core.errors import FlairprepError
from flairprep.stages import balance, evaluate, preview, report


class Texts(HTMLParser):
    """What a reader sees of a page, the ids of its places, and where its links and pictures lead."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.pictures: list[str] = []
        self._inside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag in {"style", "script", "title"}:
            self._inside.append(tag)
        self.ids += [given["id"] or ""] if "id" in given else []
        self.links += [given["href"] or ""] if tag == "a" else []
        self.pictures += [given["src"] or ""] if tag == "img" else []

    def handle_endtag(self, tag: str) -> None:
        if tag in self._inside:
            self._inside.remove(tag)

    def handle_data(self, data: str) -> None:
        if not self._inside:
            self.seen.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.seen).split())


@pytest.fixture(autouse=True)
def _one_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLAIRPREP_WORKERS", "1")


def written(pictures: bool = False) -> Texts:
    """The page that main() writes; with pictures of the cases, if wanted."""
    if pictures:
        preview.main()
    report.main()
    return Texts(Path("reports/index.html").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_the_page_and_its_pictures_are_whole_and_byte_stable(tmp_path: Path) -> None:
    reports.write_project(tmp_path)
    page = written(pictures=True)
    first = contents(Path("reports"))
    assert {path for path in page.pictures if not (Path("reports") / path).is_file()} == set()
    assert set(page.pictures) == {
        path.relative_to("reports").as_posix() for path in Path("reports/preview").rglob("*.webp")
    }
    for kind, count in (("before", 11), ("after", 11), ("slices", 11), ("outlines/before", 11), ("outlines/after", 11)):
        assert len(list(Path(f"reports/preview/{kind}").iterdir())) == count, kind
    with Image.open("reports/preview/after/00001.webp") as picture:
        assert picture.size == (528, 176)
    written(pictures=True)
    assert contents(Path("reports")) == first


def test_every_link_leads_to_a_place_and_no_place_is_there_twice(tmp_path: Path) -> None:
    reports.write_project(tmp_path)
    page = written()
    assert len(page.ids) == len(set(page.ids))
    assert all(link.startswith("#") for link in page.links)
    assert {link[1:] for link in page.links} <= set(page.ids)


def test_the_verdict_stands_on_top_with_declared_numbers_and_what_n_can_show(tmp_path: Path) -> None:
    reports.write_project(tmp_path, count=42)
    metrics = pd.read_json("reports/metrics.json", typ="series")
    text = written().text
    top = text[: text.index("To look at", text.index("Verdict: "))]
    assert f"{100 * metrics['accuracy']:.1f} %" in top
    assert f"{100 * metrics['accuracy_low']:.1f} %" in top
    assert f"AUC {metrics['auc']:.3f}" in top
    assert "13 validation cases" in top
    assert top.index("fixed before the run") < top.index("best one"), "the selected epoch comes after"


def test_every_fail_and_warning_is_told_and_links_to_its_place(tmp_path: Path) -> None:
    reports.write_project(tmp_path)
    page = written()
    text = page.text
    part = text[text.index("failures and") : text.index("Audit: leaks and shortcuts")]
    assert "4 failures and 2 warnings" in text  # ingest, leak, shortcut, sanity; ingest, sanity
    for told in ("BLANK_VOLUME", "WHOLE_HEAD", "leak item", "shortcut item", "fail check", "warn check"):
        assert told in part, told
    assert "pass check" not in part
    assert {"#audit-1", "#audit-2", "#sanity-1", "#sanity-2", "#case-00000", "#case-00001"} <= set(page.links)


def test_params_hashes_and_where_the_labels_come_from_are_there(tmp_path: Path) -> None:
    reports.write_project(tmp_path, assay="pyrosequencing", cut_off="8 % <of> CpG")
    put(
        "dvc.lock",
        "stages:\n"
        "  split:\n    outs:\n    - {path: data/split, hash: md5, md5: 0123abcd.dir}\n"
        "  report:\n    outs:\n    - {path: data/own, hash: md5, md5: feedfeed}\n",
    )
    text = written().text
    for told in ("pyrosequencing", "8 % <of> CpG", "not stated", "data/split 0123abcd.dir", "model.name resnet3d"):
        assert told in text, told


class Attributes(HTMLParser):
    """(name, value) of all attributes of a page, as a browser reads them."""

    def __init__(self) -> None:
        super().__init__()
        self.pairs: set[tuple[str, str | None]] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.pairs |= set(attrs)


@pytest.mark.slow
def test_hostile_texts_show_as_text(tmp_path: Path) -> None:
    cases = reports.write_project(tmp_path)
    for index, hostile in enumerate(reports.HOSTILE, 1):
        cases.loc[index, ["status", "code", "message", "manufacturer", "plane", "sex"]] = ["warned", *[hostile] * 5]
    cases.loc[2, "case_id"] = reports.HOSTILE[0]
    cases.loc[3, "case_id"] = reports.HOSTILE[1]
    cases.loc[4, "case_id"] = reports.HOSTILE[4]
    reports.write_cases(cases)
    reports.write_checks(reports.HOSTILE[0])
    page = written()
    raw = Path("reports/index.html").read_text(encoding="utf-8")
    assert raw.count("<script>") == 1, "the page's own"
    attributes = Attributes()
    attributes.feed(raw)
    assert not {name for name, _ in attributes.pairs if name.startswith("on")}, "what would run"
    assert ("src", "x") not in attributes.pairs
    for hostile in reports.HOSTILE:
        assert " ".join(hostile.split()) in page.text, hostile[:40]


def test_without_train_the_page_says_so_and_tells_no_former_verdict(tmp_path: Path) -> None:
    reports.write_project(tmp_path)
    shutil.rmtree("data/train")
    text = written().text
    assert "There is no verdict" in text
    assert "train and evaluate have not run" in text
    assert "12 cases" in text


def test_with_nothing_at_all_the_page_says_what_has_not_run(tmp_path: Path) -> None:
    write_params(tmp_path)
    text = written().text
    for told in (
        "There is no verdict",
        "no dvc.lock",
        "balance has not run",
        "audit has not run",
        "There are no cases",
    ):
        assert told in text, told


def test_with_every_case_failed_the_page_says_so(tmp_path: Path) -> None:
    write_params(tmp_path)
    cases = pd.DataFrame({"case_id": ["a", "b"], "status": "failed", "code": "NOT_MR", "message": "CT"})
    reports.write_cases(cases.assign(label=0, fold=0))
    Path("data/split/split.csv").unlink()
    text = written().text
    assert "Every case failed" in text
    assert "2 cases failed: NOT_MR: CT" in text


@pytest.mark.slow
def test_with_one_class_the_page_says_so(tmp_path: Path) -> None:
    cases = reports.write_project(tmp_path)
    cases["label"] = 1
    reports.write_cases(cases)
    reports.write_run(["00001", "00006", "00007"], [1, 1, 1])
    balance.main()
    evaluate.main()
    text = written().text
    assert "no AUC, since there is one label only" in text
    assert "There is no ROC curve" in text
    assert "no effect would be detected" in text


@pytest.mark.slow
def test_a_case_without_a_volume_has_no_picture_and_says_so(tmp_path: Path) -> None:
    reports.write_project(tmp_path)
    Path("data/ingest/volumes/00002.nii.gz").unlink()
    page = written(pictures=True)
    assert "preview/before/00002.webp" not in page.pictures
    assert "preview/after/00002.webp" in page.pictures
    assert "No picture as acquired" in page.text


def test_a_preview_that_is_damaged_is_named_with_its_remedy(tmp_path: Path) -> None:
    write_params(tmp_path)
    put("reports/preview/captions.json", '{"acquired": {"a": 3}}')
    with pytest.raises(FlairprepError, match=r"^reports/preview/captions.json: .*`dvc checkout reports/preview`"):
        report.main()


def test_params_are_checked(tmp_path: Path) -> None:
    write_params(tmp_path, report={"assay": 3})
    with pytest.raises(FlairprepError, match=r"report\.assay: 3"):
        params.load(report.ReportParams, "report")
    assert params.load(report.ReportParams, "report", PARAMS).assay is None
