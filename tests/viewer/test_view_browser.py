"""The page of a case in headless Chromium: what is drawn, where, and that nothing leaves the machine."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import viewed
from browsing import NEEDS_CHROMIUM, Visit
from PIL import Image
from viewed import EXPLAINED, MAPS, PEAK

from flairprep.core.tables import read_rows
from flairprep.viewer.server import LocalServer

nib = pytest.importorskip("nibabel", reason="nibabel is the other reader")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe looks for barriers")
pytestmark = [pytest.mark.slow, pytest.mark.browser, NEEDS_CHROMIUM]

Look = Callable[..., Visit]
SMALL = 400  # pixels: the processor draws what a graphics card would
BEYOND = """(width) => [...document.querySelectorAll("body *")].filter((e) => {
  const box = e.getBoundingClientRect();
  return box.width && box.height && !e.closest(".skip") && (box.left < -0.5 || box.right > width + 0.5);
}).map((e) => e.outerHTML.slice(0, 120))"""
CUT = """() => [...document.querySelectorAll("main *, header *")].filter((e) =>
  e.clientWidth && getComputedStyle(e).display !== "inline" && e.scrollWidth > e.clientWidth + 1
).map((e) => e.outerHTML.slice(0, 120))"""


def picture(visit: Visit) -> np.ndarray:
    """What the canvas shows, without the crosshair: (rows, columns, red green blue)."""
    visit.page.locator("#cross").uncheck()
    visit.page.wait_for_timeout(300)
    shown = Image.open(io.BytesIO(visit.page.locator("#volume").screenshot()))
    return np.asarray(shown.convert("RGB")).astype(int)


def reds(pixels: np.ndarray) -> int:
    return int((pixels[..., 0] > pixels[..., 2] + 60).sum())


def blues(pixels: np.ndarray) -> int:
    return int((pixels[..., 2] > pixels[..., 0] + 60).sum())


def switch(visit: Visit, *names: str) -> None:
    """Switches these layers on and all others off."""
    for box in visit.page.locator(".layers input[type=checkbox]").all():
        name = box.evaluate("(e) => e.closest('li').dataset.name")
        box.set_checked(name in names)
    wanted = " ".join(f"{name}.nii.gz" for name in ("scan", "input", "mask", "map", "control") if name in names)
    visit.until(f"document.body.dataset.drawn === '{wanted}'")


def told(visit: Visit, layer: str) -> float:
    """The value that stands beside a layer."""
    return float(visit.page.locator(f"#layer-{layer} output").inner_text())


def test_the_page_opens_at_the_largest_response_with_the_values_of_the_files(look: Look) -> None:
    visit = look()
    scan = nib.load(f"data/ingest/volumes/{EXPLAINED}.nii.gz")
    assert told(visit, "map") == 0.5
    assert told(visit, "scan") == scan.get_fdata()[PEAK]
    (row,) = read_rows(MAPS / "explain.csv")
    sides = {"x": "RL", "y": "AP", "z": "IS"}  # below and above 0 in LPS
    where = visit.page.locator("#where").inner_text().removesuffix(" mm").split(", ")
    for (axis, letters), text in zip(sides.items(), where, strict=True):
        value = float(row[f"peak_{axis}"])
        assert text[0] == letters[value > 0]
        assert float(text[2:]) == pytest.approx(abs(value), abs=0.15)
    switch(visit, "scan", "control", "mask", "input")
    assert told(visit, "control") == pytest.approx(-0.05)
    assert told(visit, "mask") == 1
    seen = nib.load(f"data/select_slices/{EXPLAINED}.nii.gz")
    there = np.linalg.inv(seen.affine) @ scan.affine @ (*PEAK, 1)
    assert np.abs(there - there.round()).max() < 0.45, "no tie between two voxels"
    expected = seen.get_fdata()[tuple(there[:3].round().astype(int))]
    assert told(visit, "input") == pytest.approx(expected, abs=2e-3)
    assert visit.errors == []


def test_each_layer_is_drawn_in_its_colours_and_goes_when_it_is_switched_off(look: Look) -> None:
    visit = look()
    switch(visit, "scan")
    plain = picture(visit)
    assert len(np.unique(plain[..., 0])) > 20, "shades of noise"
    assert (reds(plain), blues(plain)) == (0, 0)
    switch(visit, "scan", "map")
    assert reds(picture(visit)) > 50
    switch(visit, "scan", "control")
    assert blues(picture(visit)) > 50
    switch(visit, "scan", "mask")
    masked = picture(visit)
    assert reds(masked) > 5000, "yellow over all of the tissue"
    visit.page.locator("#layer-mask input[type=range]").fill("0")
    assert reds(picture(visit)) == 0
    switch(visit, "input")
    assert len(np.unique(picture(visit)[..., 0])) > 20
    switch(visit)
    assert picture(visit).max() == 0 or visit.page.locator("#status").inner_text()
    assert visit.errors == []


def test_nothing_is_asked_of_another_host(look: Look, served: LocalServer) -> None:
    visit = look(width=SMALL)
    switch(visit, "scan", "input", "mask", "map", "control")
    origin = f"http://127.0.0.1:{served.server_address[1]}/{served.gate.token}/"
    assert len([url for url in visit.asked if url.endswith(".nii.gz")]) == 5
    assert [url for url in visit.asked if not url.startswith((origin, "data:", "blob:"))] == []
    assert (
        visit.page.evaluate("document.cookie + JSON.stringify([{...localStorage}, {...sessionStorage}])") == "[{},{}]"
    )


def test_the_policy_of_the_page_stops_what_would_leave_the_machine(look: Look) -> None:
    visit = look(width=SMALL)
    fetched = visit.page.evaluate("fetch('http://127.0.0.2:9/').then(() => 'sent', () => 'stopped')")
    ran = "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s);"
    visit.page.evaluate(f"() => {{ {ran} }}")
    assert (fetched, visit.page.evaluate("window.ran ?? 0")) == ("stopped", 0)
    assert any("Content Security Policy" in error for error in visit.errors)


def test_the_keyboard_moves_the_crosshair_and_turns_to_the_next_case(look: Look) -> None:
    visit = look(width=SMALL)
    page = visit.page
    switch(visit, "scan")
    page.locator("#volume").focus()
    places = []
    for key in ("ArrowLeft", "ArrowRight", "ArrowUp", "ArrowDown", "PageUp", "PageDown"):
        page.keyboard.press(key)
        places.append(page.locator("#where").inner_text())
    assert places[1] == places[3] == places[5], "there and back"
    assert len({places[0], places[1], places[2], places[4]}) == 4
    page.keyboard.press("n")
    page.wait_for_url("**/00002/")
    visit.until("Boolean(document.body.dataset.drawn)")
    page.locator("#case").focus()
    page.keyboard.press("n")
    assert page.url.endswith("/00002/"), "a letter in the list of cases chooses there"
    page.locator("#volume").focus()
    page.keyboard.press("p")
    page.wait_for_url(f"**/{EXPLAINED}/")
    visit.until("Boolean(document.body.dataset.drawn)")
    page.locator("#case").select_option("00003")
    page.wait_for_url("**/00003/")
    assert visit.errors == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1920, 1280, 800, 400])
def test_nothing_is_cut_and_axe_finds_no_serious_fault(width: int, scheme: str, look: Look) -> None:
    for case in (EXPLAINED, "00003") if width == 400 else (EXPLAINED,):
        page = look(case, width, scheme).page
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.evaluate(BEYOND, width) == []
        assert page.evaluate(CUT) == []
        box = page.locator("#volume").bounding_box()
        assert box is not None
        assert box["width"] >= 0.6 * min(width, 800)
        assert box["y"] + box["height"] <= 800, "the picture is on the first screen"
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in {"serious", "critical"}] == []


def test_what_cannot_be_drawn_is_said(look: Look) -> None:
    without = look(width=SMALL, before="HTMLCanvasElement.prototype.getContext = () => null;")
    without.until("document.getElementById('status').textContent.includes('WebGL 2')")
    visit = look(width=SMALL)
    Path(f"data/normalize/{EXPLAINED}.nii.gz").unlink()
    visit.page.locator("#layer-mask input[type=checkbox]").click()  # the page may take the tick away at once
    visit.until("document.getElementById('status').textContent.startsWith('Mask')")
    assert not visit.page.locator("#layer-mask input[type=checkbox]").is_checked()
    visit.page.locator("#layer-control input[type=checkbox]").check()
    visit.until("document.body.dataset.drawn === 'scan.nii.gz map.nii.gz control.nii.gz'")


def test_a_map_that_is_made_meanwhile_shows_after_a_reload(look: Look) -> None:
    visit = look("00002", SMALL)
    assert "flairprep explain 00002" in visit.page.locator("#layer-map").inner_text()
    (MAPS / "00002.nii.gz").write_bytes((MAPS / f"{EXPLAINED}.nii.gz").read_bytes())
    visit.page.reload()
    visit.until("document.body.dataset.drawn === 'scan.nii.gz map.nii.gz'")
    viewed.write_map()
