// The page of a case: loads its layers from this server into NiiVue, and obeys the controls beside the picture.
"use strict";

(() => {
  const RED = [255, 70, 20], BLUE = [40, 120, 255], YELLOW = [255, 210, 0]; // as in the report's pictures
  const WIDTH = 0.7; // of the crosshair, mm
  const STEPS = { // in voxels of the first layer; radiological: the patient's right is on the left
    ArrowLeft: [1, 0, 0], ArrowRight: [-1, 0, 0], ArrowUp: [0, 1, 0], ArrowDown: [0, -1, 0],
    PageUp: [0, 0, 1], PageDown: [0, 0, -1],
  };
  const IN_SCANNER = true; // without it NiiVue takes an oblique scan for a straight one
  const find = (id) => document.getElementById(id);
  const canvas = find("volume"), status = find("status");

  const choice = find("case");
  choice.addEventListener("change", () => { location.href = `../${choice.value}/`; });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, button")) return;
    const relation = { n: "next", p: "prev" }[event.key];
    document.querySelector(`nav a[rel="${relation}"]`)?.click();
  });

  const plain = ([r, g, b]) => ({ R: [r, r], G: [g, g], B: [b, b], A: [0, 255], I: [0, 255] });
  const FADING = 1; // of NiiVue's colour maps: opacity grows with the square of value / cal_min, here up to the end

  class Layer {
    constructor(item) {
      this.item = item;
      [this.switch, this.opacity] = item.querySelectorAll("input");
      this.output = item.querySelector("output");
      this.volume = null;
    }

    async load() {
      const { name, colour, negative, low, high } = this.item.dataset;
      this.volume ??= await niivue.NVImage.loadFromUrl({
        url: `${name}.nii.gz`, name: `${name}.nii.gz`, colormap: colour, colormapNegative: negative,
        cal_min: negative ? 0.999 * high : Number(low), cal_max: Number(high),
      });
      if (negative) this.volume.colormapType = FADING; // which loadFromUrl does not take
      this.volume.opacity = Number(this.opacity.value);
      return this.volume;
    }
  }

  async function start() {
    const nv = new niivue.Niivue({
      backColor: [0, 0, 0, 1], crosshairColor: [1, 0.82, 0, 0.7], crosshairWidth: WIDTH, crosshairWidthUnit: "mm",
      show3Dcrosshair: true, fontColor: [1, 1, 1, 1], fontSizeScaling: 0.3, showAllOrientationMarkers: true,
      multiplanarLayout: niivue.MULTIPLANAR_TYPE.GRID, multiplanarPadPixels: 14, isRadiologicalConvention: true,
      sagittalNoseLeft: true, multiplanarShowRender: niivue.SHOW_RENDER.ALWAYS, dragAndDropEnabled: false,
      loadingText: "", logLevel: "error", // it warns of every oblique scan
    });
    nv.addColormap("flairprep-for", plain(RED));
    nv.addColormap("flairprep-against", plain(BLUE));
    nv.addColormap("flairprep-mask", plain(YELLOW));
    const layers = [...document.querySelectorAll(".layers li[data-name]")].map((item) => new Layer(item));
    nv.onLocationChange = (location) => tell(location, layers);
    await nv.attachToCanvas(canvas);

    let asked = 0;
    const arrange = async () => {
      const turn = ++asked;
      const on = layers.filter((layer) => layer.switch.checked);
      status.textContent = on.every((layer) => layer.volume) ? "" : "Loading the volumes ...";
      const volumes = [];
      for (const layer of on) {
        try {
          volumes.push(await layer.load());
        } catch (error) {
          layer.switch.checked = false;
          status.textContent = `${layer.item.querySelector("label").textContent.trim()} cannot be loaded; reload the page.`;
          return;
        }
      }
      if (turn !== asked) return; // somebody switched another layer meanwhile
      const kept = nv.volumes.length && volumes.length ? nv.frac2mm(nv.scene.crosshairPos, 0, IN_SCANNER) : null;
      nv.volumes = volumes;
      nv.back = volumes[0] ?? null;
      nv.overlays = volumes.slice(1);
      nv.updateGLVolume();
      nv.setInterpolation(!find("smooth").checked);
      if (kept) go(nv, kept);
      layers.filter((layer) => !layer.switch.checked).forEach((layer) => { layer.output.textContent = ""; });
      status.textContent = volumes.length ? "" : "No layer is on.";
      if (!kept && volumes.length) first(nv);
      document.body.dataset.drawn = volumes.map((volume) => volume.name).join(" ");
    };
    for (const layer of layers) {
      layer.switch.addEventListener("change", arrange);
      layer.opacity.addEventListener("input", () => {
        const index = nv.volumes.indexOf(layer.volume);
        if (index >= 0) nv.setOpacity(index, Number(layer.opacity.value));
      });
    }
    controls(nv);
    await arrange();
  }

  function controls(nv) {
    find("slices").addEventListener("change", (event) => nv.setSliceType(Number(event.target.value)));
    find("smooth").addEventListener("change", (event) => nv.setInterpolation(!event.target.checked));
    find("cross").addEventListener("change", (event) => {
      nv.opts.show3Dcrosshair = event.target.checked;
      nv.setCrosshairWidth(event.target.checked ? WIDTH : 0);
    });
    find("centre").addEventListener("click", () => {
      nv.setPan2Dxyzmm([0, 0, 0, 1]);
      nv.scene.crosshairPos = [0.5, 0.5, 0.5];
      nv.createOnLocationChange();
      nv.drawScene();
    });
    find("peak")?.addEventListener("click", () => go(nv, peak()));
    canvas.addEventListener("keydown", (event) => {
      const step = STEPS[event.key];
      if (!step || !nv.volumes.length) return;
      event.preventDefault();
      event.stopImmediatePropagation();
      nv.moveCrosshairInVox(...step);
    }, true);
  }

  // Of explain.csv, LPS; NiiVue counts to the right and to the front.
  function peak() {
    const [x, y, z] = find("main").dataset.peak.split(" ").map(Number);
    return [-x, -y, z];
  }

  function first(nv) {
    if (find("main").dataset.peak) go(nv, peak());
    else nv.createOnLocationChange();
  }

  function go(nv, millimetres) {
    nv.scene.crosshairPos = nv.mm2frac(millimetres.slice(0, 3), 0, IN_SCANNER);
    nv.createOnLocationChange();
    nv.drawScene();
  }

  function tell({ mm, values }, layers) {
    const [x, y, z] = [-mm[0], -mm[1], mm[2]];
    const side = (value, over, under) => `${value < 0 ? under : over} ${Math.abs(value).toFixed(1)}`;
    find("where").textContent = `${[side(x, "L", "R"), side(y, "P", "A"), side(z, "S", "I")].join(", ")} mm`;
    for (const layer of layers) {
      const there = values.find(({ id }) => id === layer.volume?.id);
      if (there) layer.output.textContent = Number(there.value.toPrecision(4)).toString();
    }
  }

  start().catch((error) => {
    status.textContent = `The volumes cannot be drawn: ${error.message ?? error}. The browser needs WebGL 2.`;
  });
})();
