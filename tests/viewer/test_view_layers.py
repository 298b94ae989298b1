"""The layers of a case, beside what nibabel reads from the files; the page and its table."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
import viewed
from viewed import BACKGROUND, CASES, EXPLAINED, MAPS, PLACES

from flairprep.core.errors import FlairprepError
from flairprep.viewer import cases, volumes
from flairprep.viewer.page import Study, place

nib = pytest.importorskip("nibabel", reason="nibabel is the other reader")
HOSTILE = ['it\'s "100 %" #1?', "<script>window.ran = 1</script>", "a+b&c=d", "..", "\u202egnp", "x" * 90]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("viewed")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        viewed.write(folder)
    return folder


@pytest.fixture
def study(written: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    monkeypatch.chdir(written)
    return Study(cases.listed(), PLACES)


def fetched(study: Study, path: str) -> bytes:
    resource = study.find(path)
    assert resource is not None
    return resource.content()


def read(study: Study, layer: str, case: str = EXPLAINED) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(fetched(study, f"{case}/{layer}.nii.gz")))


def same_grid(one: nib.Nifti1Image, other: nib.Nifti1Image) -> bool:
    return one.shape == other.shape and np.allclose(one.affine, other.affine, atol=1e-4)


@pytest.mark.parametrize(
    ("layer", "file"),
    [
        ("scan", f"data/ingest/volumes/{EXPLAINED}.nii.gz"),
        ("map", f"reports/explain/{EXPLAINED}.nii.gz"),
        ("control", f"reports/explain/{EXPLAINED}.control.nii.gz"),
    ],
)
def test_a_layer_of_the_scans_grid_is_its_file(layer: str, file: str, study: Study) -> None:
    handed, there = read(study, layer), nib.load(file)
    assert same_grid(handed, there)
    assert np.array_equal(handed.get_fdata(), there.get_fdata())
    assert np.ptp(there.get_fdata()) > 0
    assert same_grid(there, nib.load(f"data/ingest/volumes/{EXPLAINED}.nii.gz"))


def test_the_input_holds_what_reaches_the_network(study: Study) -> None:
    handed, there = read(study, "input"), nib.load(f"data/select_slices/{EXPLAINED}.nii.gz")
    assert same_grid(handed, there)
    values = there.get_fdata().astype(np.float32)
    assert np.array_equal(handed.get_fdata().astype(np.float32), values.astype(np.float16).astype(np.float32))
    assert not np.array_equal(values, values.astype(np.float16)), "the rounding shows"


def test_the_mask_lies_on_the_tissue_of_the_scan(study: Study) -> None:
    mask = read(study, "mask")
    values = nib.load(f"data/normalize/{EXPLAINED}.nii.gz").get_fdata()
    assert np.array_equal(mask.get_fdata(), np.abs(values - BACKGROUND) > 1e-6)
    scan = nib.load(f"data/ingest/volumes/{EXPLAINED}.nii.gz")
    places = [
        {tuple(place) for place in nib.affines.apply_affine(image.affine, np.argwhere(there)).round(2) + 0.0}
        for image, there in ((scan, scan.get_fdata() != 0), (mask, mask.get_fdata() == 1))
    ]
    assert places[0] == places[1], "in the scanner, although normalize turned the axes"
    assert len(places[0]) > 1000


def test_the_windows_are_those_of_the_tissue_and_a_map_goes_up_to_its_largest_response(study: Study) -> None:
    layers = {layer.name: layer for layer in volumes.layers(EXPLAINED, PLACES, explainable=True)}
    assert [name for name, layer in layers.items() if layer.shown] == ["scan", "map"]
    assert not any(layer.missing for layer in layers.values())
    tissue = read(study, "scan").get_fdata()
    tissue = tissue[tissue != 0]
    assert (layers["scan"].low, layers["scan"].high) == pytest.approx(tuple(np.percentile(tissue, (1, 99.5))))
    assert layers["input"].low > BACKGROUND
    assert layers["input"].high <= read(study, "input").get_fdata().max() + 1e-3
    assert (layers["map"].high, layers["control"].high) == pytest.approx((0.5, 0.05))


def test_what_is_missing_says_why_or_the_command_that_makes_it(study: Study) -> None:
    second = {layer.name: layer for layer in volumes.layers(CASES[1], PLACES, explainable=True)}
    for name in ("map", "control"):
        assert second[name].missing
        assert second[name].remedy == "flairprep explain 00002"
        assert study.find(f"00002/{name}.nii.gz") is not None, "it may be made while the server runs"
        with pytest.raises(OSError, match=r"00002.*\.nii\.gz"):
            fetched(study, f"00002/{name}.nii.gz")
    elsewhere = volumes.layers(CASES[1], PLACES._replace(maps=Path("my maps")), explainable=True)
    assert elsewhere[3].remedy == "flairprep explain 00002 --out 'my maps'"
    third = {layer.name: layer for layer in volumes.layers(CASES[2], PLACES, explainable=True)}
    assert "TIMED_OUT: took too long" in third["input"].missing
    assert (third["scan"].missing, third["mask"].missing, third["map"].remedy) == ("", "", "")
    (unlabelled,) = [layer for layer in volumes.layers(CASES[1], PLACES, explainable=False) if layer.name == "map"]
    assert unlabelled.missing
    assert not unlabelled.remedy


def test_a_volume_that_went_away_names_the_stage_that_makes_it(study: Study) -> None:
    path = Path("data/normalize/00002.nii.gz")
    kept = path.read_bytes()
    path.unlink()
    try:
        assert "dvc repro normalize" in volumes.layers("00002", PLACES, explainable=True)[2].missing
    finally:
        path.write_bytes(kept)


def test_the_page_names_the_facts_and_its_neighbours(study: Study) -> None:
    facts = cases.facts(EXPLAINED, MAPS)
    assert (facts.label, facts.fold, facts.correlation, facts.doubt) == ("1", "0, validated on", "0.1", "")
    assert facts.outcome.startswith("0.812")
    assert facts.acquired.startswith("coronal, 18 x 20 x 14 voxels of 2 x 2 x 3 mm")
    assert cases.facts("00002", MAPS).notice == "WHOLE_HEAD: not skull-stripped <b>"
    assert cases.facts("00002", MAPS).fold == "1, trained on"
    page = fetched(study, "00002/").decode()
    assert "not skull-stripped &lt;b&gt;" in page
    links = dict(re.findall(r'<a href="\.\./(\w+)/" rel="(\w+)"', page))
    assert links == {"00001": "prev", "00003": "next"}
    assert re.findall(r'data-name="(\w+)"', page) == ["scan", "input", "mask"]
    for address in re.findall(r'(?:href|src)="\.\./([^"]+)"', page):
        assert study.find(address) is not None, address


def test_a_map_that_says_little_is_doubted(study: Study) -> None:
    try:
        viewed.write_map(correlation="0.62")
        assert "control" in cases.facts(EXPLAINED, MAPS).doubt
        viewed.write_map(correlation="")
        assert "control" in cases.facts(EXPLAINED, MAPS).doubt
        viewed.write_map(probability=0.31)
        assert "0.310" in cases.facts(EXPLAINED, MAPS).doubt
    finally:
        viewed.write_map()


def test_before_a_run_the_page_says_what_makes_one(study: Study) -> None:
    table = Path("reports/evaluate/cases.csv")
    kept = table.read_text()
    table.unlink()
    try:
        assert "dvc repro" in cases.facts(EXPLAINED, MAPS).outcome
    finally:
        table.write_text(kept)


def test_the_table_holds_the_cases_that_have_a_volume_and_no_path(study: Study) -> None:
    assert cases.listed() == CASES
    named = [*(f"{case}/" for case in CASES), "style.css", "view.js", "niivue.js", "niivue.LICENSE.txt"]
    assert all(study.find(path) for path in named)
    for path in ("00004/", "00001/volume.nii.gz", "00001", "", "view.html", "../params.yaml", "00001/../view.js"):
        assert study.find(path) is None, path


@pytest.mark.parametrize("case", HOSTILE)
def test_an_id_with_any_character_is_one_part_of_an_address(case: str) -> None:
    study = Study([case], PLACES)
    assert re.fullmatch(r"[\w.~%-]+", place(case), re.ASCII)
    assert study.find(f"{place(case)}/scan.nii.gz") is not None
    assert case == place(case) or study.find(f"{case}/scan.nii.gz") is None


def test_an_id_that_is_a_path_is_no_case(study: Study) -> None:
    table = Path("data/ingest/cases.csv")
    kept = table.read_text()
    table.write_text(kept + "../volumes/00001,ok,,,,,,,,,\n")
    try:
        assert cases.listed() == CASES
    finally:
        table.write_text(kept)


@pytest.mark.parametrize(
    ("case", "named"),
    [("0001", ["00001"]), ("00004", ["BLANK_VOLUME", "all are 0"]), ("Z", ["00001", "data/ingest/cases.csv"])],
    ids=["misspelt", "failed", "unlike all"],
)
def test_a_case_without_a_volume_is_refused_with_what_helps(case: str, named: list[str], study: Study) -> None:
    with pytest.raises(FlairprepError) as refused:
        cases.check(case, cases.listed())
    assert all(text in str(refused.value) for text in named)
    assert "\n" not in str(refused.value)
