"use strict";
// Charts: where a pointer comes to one, the same chart with tooltips takes its place; without scripts it stays a picture.
let library;
const load = (source) => new Promise((done, failed) => {
  const script = document.createElement("script");
  script.src = source;
  script.onload = done;
  script.onerror = failed;
  document.head.append(script);
});
const enliven = async (place) => {
  library ??= Promise.all(["vega.js", "charts.js"].map((name) => load(`${document.body.dataset.assets}/${name}`)));
  await library;
  const box = document.createElement("div");
  box.className = "live-chart";
  const picture = place.querySelector("svg");
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  // ast: expressions are interpreted, since the page forbids to make code of texts
  const options = { actions: false, ast: true, renderer: "svg", defaultStyle: false, tooltip: { theme } };
  await vegaEmbed(box, window.flairprepCharts[place.dataset.chart], options);
  const drawn = box.querySelector("svg");
  drawn.setAttribute("viewBox", picture.getAttribute("viewBox"));
  drawn.removeAttribute("width");
  drawn.removeAttribute("height");
  drawn.setAttribute("aria-hidden", "true");
  place.append(box);
  place.classList.add("live");
};
for (const place of document.querySelectorAll("[data-chart]")) {
  place.addEventListener("pointerenter", () => enliven(place).catch(() => {}), { once: true });
}

// What the page hands on as a file.
const handOn = (name, text, type) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
};
for (const place of document.querySelectorAll("figure > [data-chart]")) {
  const title = place.parentElement.querySelector("h3");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "save";
  button.textContent = "SVG";
  button.setAttribute("aria-label", `${title.textContent}: download as SVG`);
  button.addEventListener("click", () => {
    const drawing = place.querySelector("svg").cloneNode(true);
    const [, , width, height] = drawing.getAttribute("viewBox").split(" ");
    for (const [name, value] of Object.entries({ width, height, color: "black" })) drawing.setAttribute(name, value);
    handOn(`${place.dataset.chart}.svg`, new XMLSerializer().serializeToString(drawing), "image/svg+xml");
  });
  title.after(button);
}

// Contents: the section that is being read.
const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
const reading = () => {
  let current;
  for (const section of document.querySelectorAll("main section")) {
    if (section.getBoundingClientRect().top > 160) break;
    current = links.get(section.id) ?? current;
  }
  for (const link of links.values()) link.toggleAttribute("aria-current", link === current);
};
addEventListener("scroll", () => requestAnimationFrame(reading), { passive: true });
reading();

// Links into a closed list open it.
const unfold = () => {
  const name = location.hash.slice(1);
  document.getElementById(name)?.closest("details:not([open])")?.setAttribute("open", "");
};
addEventListener("hashchange", unfold);
unfold();

// Sort, filter and search of the cases; without it the page shows them all.
const list = document.getElementById("case-list");
const form = document.querySelector(".controls");
if (list && form) {
  const rows = [...list.children];
  const text = (row) => [...row.querySelectorAll(".facts, .inline")].map((part) => part.textContent).join(" ").toLowerCase();
  const texts = new Map(rows.map((row) => [row, text(row)]));
  const filters = [...form.querySelectorAll("[data-filter]")];
  const search = form.querySelector("[data-search]");
  const sort = form.querySelector("[data-sort]");
  const descending = form.querySelector("[data-descending]");
  const count = form.querySelector("[data-count]");
  const collator = new Intl.Collator("en", { numeric: true });

  const show = () => {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const kept = filters.every((filter) => !filter.value || row.dataset[filter.dataset.filter] === filter.value)
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !kept;
      shown += kept;
    }
    count.textContent = `${shown} of ${rows.length} cases`;
  };

  const order = () => {
    const key = sort.value, numeric = sort.selectedOptions[0].hasAttribute("data-number"), sign = descending.checked ? -1 : 1;
    const compare = (a, b) => {
      const one = a.dataset[key], other = b.dataset[key];
      if (!one !== !other) return one ? -1 : 1; // what has no value comes last, either way
      const difference = numeric ? one - other : collator.compare(one, other);
      return sign * difference || collator.compare(a.dataset.id, b.dataset.id);
    };
    const sorted = [...rows].sort(compare);
    if (sorted.some((row, place) => row !== list.children[place])) list.append(...sorted); // which loses focus and place
  };

  const reveal = () => {
    const name = location.hash.slice(1);
    const target = name && document.getElementById(name);
    if (!target) return;
    if (target.hidden) {
      form.reset();
      show();
      order();
    }
    if (target.matches(".case, tr")) {
      target.scrollIntoView();
      target.focus({ preventScroll: true });
    }
  };

  form.addEventListener("input", show);
  form.addEventListener("change", () => { show(); order(); });
  form.addEventListener("reset", () => setTimeout(() => { show(); order(); }));
  form.addEventListener("submit", (event) => event.preventDefault());
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-code]");
    const code = form.querySelector('[data-filter="code"]');
    if (!link || !code) return;
    form.reset();
    code.value = link.dataset.code;
    show();
  });
  addEventListener("hashchange", reveal);
  addEventListener("beforeprint", () => {
    for (const picture of document.querySelectorAll(".planes img")) picture.loading = "eager";
  });
  form.hidden = false;
  show();
  reveal();
}
