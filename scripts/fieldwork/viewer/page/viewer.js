// The page: a list of the results, and one of them. The address after # names it:
// #/plates/{plate}/{well}/{row of fields.csv}, #/slides/{slide}, #/stacks/{stack}, #/screen/{entry}. ../server.py sends
// its content.
"use strict";

const X = "Nuclei_Location_Center_X";
const Y = "Nuclei_Location_Center_Y";
const SVG = "http://www.w3.org/2000/svg";
const RING_PX = 8; // of the image: the radius of a nucleus's ring
const LEAST_RING_PX = 4; // of the screen
const MAX_ROWS = 2000; // of a stack's table; more are slow to lay out
const VIRIDIS = ["#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725"];

const COMPARED = "what came out"; // the entry of the page that compares plates

let openImage = null; // the OpenSeadragon viewer on the page
let listed = null; // the contents that the list shows
let mapped = null; // the plate and wells that the map shows; null without a map
let turn = 0; // counts requests for a page; an answer to an earlier one comes too late

// --- small tools -----------------------------------------------------------------------------------------------------

/** Create an element. Children are elements or text: text from a table is never taken for markup. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Join names to a path in which every name is exactly one step. */
const path = (...names) => names.map(encodeURIComponent).join("/");

/** Return the address of an answer of the server. */
const api = (...names) => `api/${path(...names)}`;

/** Ask the server for JSON. */
async function ask(address) {
  const response = await fetch(address);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

const count = (number, noun, nouns = `${noun}s`) =>
  `${Number(number).toLocaleString("en")} ${Number(number) === 1 ? noun : nouns}`;
const nuclei = (number) => count(number, "nucleus", "nuclei");
/** Create the links to the tables of a plate, slide or stack, or, without a name, of all plates together. */
const tables = (kind, name, ...files) =>
  make(
    "p",
    {},
    "Tables: ",
    ...files.flatMap((file) => [
      make("a", { href: `results/${path(...[kind, name, file].filter(Boolean))}`, download: "" }, file),
      " ",
    ]),
  );

// --- the list --------------------------------------------------------------------------------------------------------

function plateSummary({ wells, nuclei: found, fields, failed }) {
  const failures = failed ? [`${failed} of ${count(fields, "field")} failed`] : [];
  return [count(wells, "well"), nuclei(found), ...failures].join(", ");
}

/** Fill the list; return kind and name of its first entry. */
async function showContents() {
  const contents = await ask(api("contents"));
  const { folder, plates, slides, stacks, screen } = contents;
  const compared = screen.summary || screen.pictures.length ? [{ name: COMPARED }] : [];
  document.getElementById("folder").textContent = folder;
  const lists = [
    ["Plates", "plates", plates, plateSummary],
    ["Slides", "slides", slides, (one) => (one.status === "ok" ? "" : "failed")],
    ["Stacks", "stacks", stacks, () => ""],
    ["Together", "screen", compared, () => ""],
  ];
  const found = lists.filter(([, , items]) => items.length);
  const first = found.length ? [found[0][1], found[0][2][0].name] : [];
  if (JSON.stringify(contents) === listed) return first; // the list keeps the keyboard's focus
  listed = JSON.stringify(contents);
  document
    .getElementById("contents")
    .replaceChildren(
      ...found.flatMap(([title, kind, items, remark]) => [
        make("h2", {}, title),
        make(
          "ul",
          {},
          ...items.map((one) =>
            make("li", {}, make("a", { href: `#/${path(kind, one.name)}` }, one.name, make("small", {}, remark(one)))),
          ),
        ),
      ]),
    );
  if (!found.length) document.getElementById("contents").textContent = "No plate, slide or stack is finished yet.";
  return first;
}

// --- a plate ---------------------------------------------------------------------------------------------------------

/** Return row and column of a well, from 0: A01 is 0, 0; AA01 is 26, 0. */
function placeOf(well) {
  const [, letters, number] = /^([A-Z]+)(\d+)$/.exec(well);
  return [[...letters].reduce((row, letter) => row * 26 + letter.charCodeAt(0) - 64, 0) - 1, Number(number) - 1];
}

const lettersOf = (row) => (row < 26 ? "" : lettersOf(Math.floor(row / 26) - 1)) + String.fromCharCode(65 + (row % 26));
const wellAt = (row, column) => lettersOf(row) + String(column + 1).padStart(2, "0");

/** Write a mean in few characters: 17.5, 171. */
const short = (number) => String(Number(Number(number).toFixed(number < 100 ? 1 : 0)));

/** Return the colour of a share from 0 to 1. */
function viridis(share) {
  const place = share * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [from, to] = [low, low + 1].map((index) =>
    [1, 3, 5].map((start) => parseInt(VIRIDIS[index].slice(start, start + 2), 16)),
  );
  return `rgb(${from.map((value, index) => Math.round(value + (to[index] - value) * (place - low))).join(" ")})`;
}

async function showPlate(main, plate, well, field) {
  const mine = turn;
  const { wells, format } = await ask(api("plates", plate));
  if (mine !== turn) return;
  const map = JSON.stringify([plate, wells]);
  if (mapped !== map) {
    mapped = map;
    main.replaceChildren(
      make("h2", {}, `Plate ${plate}`),
      make(
        "div",
        { class: "plate" },
        make("section", { "aria-label": "Wells" }, ...heatmap(plate, wells, format)),
        make("section", { id: "well", "aria-label": "Fields" }),
      ),
    );
  }
  for (const link of main.querySelectorAll(".wells a")) {
    if (link.dataset.well === well) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const panel = document.getElementById("well");
  if (well) await showWell(panel, plate, well, field);
  else panel.replaceChildren(make("p", {}, "Choose a well to see its fields. Arrow keys go from well to well."));
}

/** Create a table of links, one for every well with images. */
function heatmap(plate, wells, [rows, columns]) {
  // The mean: a well with a failed field has a smaller sum.
  const counts = wells.filter((well) => well.Mean_Count_Nuclei !== "").map((well) => Number(well.Mean_Count_Nuclei));
  const [low, high] = counts.length ? [Math.min(...counts), Math.max(...counts)] : [0, 0];
  const many = columns > 12;
  const here = new Map(wells.map((well) => [well.Metadata_Well, well]));

  const cell = (name) => {
    const well = here.get(name);
    if (!well) return make("td", {}, make("span", { class: "missing", title: `${name}: no images` }));
    const failed = Number(well.Fields_Failed);
    const all = failed === Number(well.Fields_Total);
    const link = make("a", { href: `#/${path("plates", plate, name)}`, "data-well": name, tabindex: -1 });
    const platemap = Object.keys(well).filter((column) => /^Metadata_(?!Plate$|Well$)/.test(column) && well[column]);
    const about = [
      all ? "no nuclei counted" : `${nuclei(short(well.Mean_Count_Nuclei))} per field, ${well.Count_Nuclei} in all`,
      ...(failed ? [`${failed} of ${count(well.Fields_Total, "field")} failed`] : []),
      ...platemap.map((column) => `${column.slice(9)} ${well[column]}`),
    ];
    link.title = `${name}: ${about.join(", ")}`;
    link.setAttribute("aria-label", link.title);
    if (all) {
      link.className = "failed";
      link.append("✕");
    } else {
      const share = high > low ? (well.Mean_Count_Nuclei - low) / (high - low) : 0.5;
      link.style.background = viridis(share);
      link.style.color = share > 0.45 ? "#000" : "#fff";
      if (failed) link.className = "partly";
      if (!many) link.append(short(well.Mean_Count_Nuclei));
    }
    return make("td", {}, link);
  };
  const range = (length) => [...Array(length).keys()];
  const table = make(
    "table",
    { class: many ? "wells many" : "wells" },
    make(
      "thead",
      {},
      make("tr", {}, make("td"), ...range(columns).map((column) => make("th", { scope: "col" }, String(column + 1)))),
    ),
    make(
      "tbody",
      {},
      ...range(rows).map((row) =>
        make(
          "tr",
          {},
          make("th", { scope: "row" }, lettersOf(row)),
          ...range(columns).map((column) => cell(wellAt(row, column))),
        ),
      ),
    ),
  );
  moveByArrows(table, here);

  const scale = make("i", { class: "scale" });
  scale.style.background = `linear-gradient(to right, ${VIRIDIS.join(",")})`;
  const partly = make("i", { class: "partly" });
  partly.style.background = VIRIDIS[3];
  return [
    make("div", { class: "scroll" }, table),
    make(
      "p",
      { class: "key" },
      make("span", {}, short(low), scale, `${short(high)} nuclei per field, mean of the well`),
      make("span", {}, partly, "some fields failed"),
      make("span", {}, make("i", { class: "failed" }), "all fields failed"),
      make("span", {}, make("i", { class: "missing" }), "no images"),
    ),
    tables("plates", plate, "wells.csv", "fields.csv", "nuclei.parquet"),
  ];
}

/** Turn a table of wells into one stop of the tab key: arrow keys reach all wells, row by row or column by column. */
function moveByArrows(table, here) {
  const places = new Map([...here.keys()].map((well) => [well, placeOf(well)]));
  const [byRow, byColumn] = [0, 1].map((axis) =>
    [...here.keys()].sort((one, other) => {
      const [from, to] = [places.get(one), places.get(other)];
      return from[axis] - to[axis] || from[1 - axis] - to[1 - axis];
    }),
  );
  const STEPS = { ArrowUp: [byColumn, -1], ArrowDown: [byColumn, 1], ArrowLeft: [byRow, -1], ArrowRight: [byRow, 1] };
  const linkOf = (well) => table.querySelector(`a[data-well="${well}"]`);
  const first = table.querySelector("a");
  if (first) first.tabIndex = 0;
  table.addEventListener("focusin", (event) => {
    for (const link of table.querySelectorAll('a[tabindex="0"]')) link.tabIndex = -1;
    event.target.tabIndex = 0;
  });
  table.addEventListener("keydown", (event) => {
    if (!STEPS[event.key] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [order, step] = STEPS[event.key];
    const next = order[order.indexOf(event.target.dataset.well) + step];
    if (next) linkOf(next).focus();
  });
}

async function showWell(panel, plate, well, number) {
  const mine = turn;
  const { fields } = await ask(api("plates", plate, "wells", well));
  if (mine !== turn) return;
  const field =
    fields.find((one) => String(one.field) === number) ?? fields.find((one) => one.Image_Status === "ok") ?? fields[0];
  const nameOf = ({ Metadata_Site: site, Metadata_Timepoint: time, Metadata_ZPlane: z }) =>
    [`site ${site}`, ...(time ? [`t${time}`] : []), ...(z ? [`z${z}`] : [])].join(" ");
  const links = fields.map((one) =>
    make(
      "a",
      { href: `#/${path("plates", plate, well, one.field)}`, "aria-current": one === field ? "true" : null },
      `${nameOf(one)}: ${one.Image_Status === "ok" ? one.Image_Count_Nuclei : "✕ failed"}`,
    ),
  );
  const focused = [...panel.querySelectorAll(".fields a")].indexOf(document.activeElement);
  panel.replaceChildren(
    make("h3", {}, `Well ${well}: ${count(fields.length, "field")}, nuclei in each`),
    make("ul", { class: "fields" }, ...links.map((link) => make("li", {}, link))),
  );
  if (focused >= 0) links[focused]?.focus();
  panel.append(make("p", { class: "file" }, [field.PathName_DNA, field.FileName_DNA].filter(Boolean).join("/")));
  if (field.Image_Status !== "ok") {
    panel.append(make("p", { class: "error" }, `${nameOf(field)} failed: ${field.Image_Error}`));
    return;
  }
  const found = await ask(api("plates", plate, "fields", field.field, "nuclei"));
  if (mine !== turn) return;
  found.count = found[X].length;
  showImage(panel, {
    label: `Well ${well}, ${nameOf(field)}`,
    tileSources: { type: "image", url: api("plates", plate, "fields", field.field, "image.png"), buildPyramid: false },
    nucleiIn: () => found,
  });
}

// --- a slide ---------------------------------------------------------------------------------------------------------

async function showSlide(main, slide) {
  const mine = turn;
  const facts = await ask(api("slides", slide));
  if (mine !== turn) return;
  main.replaceChildren(make("h2", {}, `Slide ${slide}`));
  if (facts.status !== "ok") {
    main.append(make("p", { class: "error" }, `This slide failed: ${facts.error}`));
    return;
  }
  const [[width, height]] = facts.levels;
  const size = `${width.toLocaleString("en")} x ${height.toLocaleString("en")} px`;
  main.append(make("p", {}, facts.mpp ? `${size} of ${facts.mpp[1].toPrecision(3)} µm` : size));
  const torn = facts.failed_tiles?.length;
  if (torn) main.append(make("p", { class: "error" }, `${count(torn, "tile")} could not be decoded: white here.`));
  main.append(tables("slides", slide, "nuclei.parquet", "tiles.parquet", "slide.json"));
  const tiles = api("slides", slide, "tiles");
  showImage(main, {
    label: `Slide ${slide}`,
    slide: true,
    tileSources: {
      width,
      height,
      tileSize: facts.tile,
      tileOverlap: 0,
      minLevel: 0,
      maxLevel: facts.levels.length - 1, // OpenSeadragon counts from the coarsest level
      getTileUrl: (level, column, row) => `${tiles}/${facts.levels.length - 1 - level}/${column}/${row}`,
    },
    nucleiIn: (view) => ask(`${api("slides", slide, "nuclei")}?${new URLSearchParams(view)}`),
  });
}

// --- an image with its nuclei ----------------------------------------------------------------------------------------

/** Create an element of a drawing. */
function draft(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Draw nuclei: their outlines, in those of their cells if there are any, or rings around their centres. */
function drawNuclei(found) {
  // Tables and outlines count from the centre of the first pixel, the image from its corner.
  const paths = (outlines, kind) =>
    outlines.map((corners) => draft("path", { class: kind, d: `M${corners.join(" ")}Z`, transform: "translate(0.5 0.5)" }));
  if (found.outlines) return [...paths(found.cells ?? [], "cell"), ...paths(found.outlines, "nucleus")];
  return found[X].map((x, index) => draft("circle", { cx: x + 0.5, cy: found[Y][index] + 0.5 }));
}

/**
 * Show an image, zoomable, with its nuclei: outlines, or rings around their centres.
 *
 * nucleiIn takes a part of the image ({left, top, right, bottom} in px) and returns the nuclei in it: their count, and
 * the lists X and Y, which are empty if they are too many to draw; outlines (and cells, theirs), if there are
 * any, are lists x, y, x, y, ..
 */
function showImage(parent, { label, slide, tileSources, nucleiIn }) {
  const box = make("div", { class: slide ? "image slide" : "image" });
  const message = make("span", { role: "status" });
  const rings = make("input", { type: "checkbox", checked: "" });
  const button = (text, title, act) => {
    const one = make("button", { type: "button", title, "aria-label": title }, text);
    one.addEventListener("click", act);
    return one;
  };
  const zoom = (factor) => viewer.viewport.zoomBy(factor).applyConstraints();
  parent.append(
    make(
      "div",
      { class: "tools" },
      button("+", "Zoom in", () => zoom(2)),
      button("−", "Zoom out", () => zoom(0.5)),
      button("Whole image", "Whole image", () => viewer.viewport.goHome()),
      button("1:1", "One pixel of the image is one of the screen", () =>
        viewer.viewport.zoomTo(viewer.world.getItemAt(0).imageToViewportZoom(1)),
      ),
      make("label", {}, rings, " nuclei"),
      message,
    ),
    box,
  );
  const viewer = OpenSeadragon({
    element: box,
    tileSources,
    drawer: "canvas", // works without WebGL too
    showNavigationControl: false, // the buttons above have names
    showNavigator: Boolean(slide),
    navigatorAutoFade: false,
    animationTime: 0.4,
    maxZoomPixelRatio: 20,
    visibilityRatio: 0.5,
    gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
  });
  openImage = viewer;
  viewer.canvas.setAttribute("role", "application"); // it handles the keys itself
  viewer.canvas.setAttribute("aria-label", `${label}: arrow keys move, + and - zoom, 0 shows all`);
  viewer.addHandler("canvas-key", (event) => {
    // Rotating and flipping would leave the nuclei where they are.
    if ("rRfF".includes(event.originalEvent.key)) event.preventDefaultAction = true;
  });
  viewer.addHandler("open-failed", async () => {
    const reason = await ask(tileSources.url).catch((error) => error.message);
    box.replaceWith(make("p", { class: "error" }, `The image cannot be shown: ${reason}`));
  });

  const svg = draft("svg", { class: "nuclei" });
  const group = draft("g", {});
  svg.append(group);
  viewer.canvas.append(svg);
  rings.addEventListener("change", () => svg.classList.toggle("off", !rings.checked));

  let smooth = true;
  /** Move the nuclei to where the image is drawn now. */
  const place = () => {
    const image = viewer.world.getItemAt(0);
    if (!image) return;
    const { x: width } = image.getContentSize();
    const start = image.imageToViewerElementCoordinates(new OpenSeadragon.Point(0, 0));
    const scale = (image.imageToViewerElementCoordinates(new OpenSeadragon.Point(width, 0)).x - start.x) / width;
    group.setAttribute("transform", `translate(${start.x} ${start.y}) scale(${scale})`);
    svg.style.setProperty("--radius", `${Math.max(RING_PX, LEAST_RING_PX / scale)}px`);
    if (smooth !== scale < 1) viewer.drawer.setImageSmoothingEnabled((smooth = scale < 1)); // pixels are squares
  };
  let drawn = null;
  let asked = 0;
  /** Draw the nuclei in view. */
  const draw = async () => {
    const image = viewer.world.getItemAt(0);
    if (!image) return;
    const { x, y, width, height } = image.viewportToImageRectangle(viewer.viewport.getBounds(true));
    const mine = ++asked;
    try {
      const found = await nucleiIn({ left: x, top: y, right: x + width, bottom: y + height });
      if (mine !== asked || found === drawn) return;
      drawn = found;
    } catch (error) {
      message.textContent = error.message;
      return;
    }
    group.replaceChildren(...drawNuclei(drawn));
    message.textContent =
      drawn[X].length === drawn.count ? nuclei(drawn.count) : `${nuclei(drawn.count)} here: zoom in to see them`;
  };
  viewer.addHandler("update-viewport", place);
  viewer.addHandler("open", draw);
  viewer.addHandler("animation-finish", draw);
  viewer.addHandler("resize", draw);
}

// --- a stack ---------------------------------------------------------------------------------------------------------

async function showStack(main, stack) {
  const mine = turn;
  const { columns, rows } = await ask(api("stacks", stack));
  if (mine !== turn) return;
  const shown = columns.map((name, index) => [name, index]).filter(([name]) => name !== "Metadata_Stack");
  const cut = rows.length > MAX_ROWS ? ` The first ${MAX_ROWS.toLocaleString("en")} are shown.` : "";
  main.replaceChildren(
    make("h2", {}, `Stack ${stack}`),
    make("p", {}, `${count(rows.length, "frame")}.${cut}`),
    tables("stacks", stack, "frames.csv"),
    make(
      "div",
      { class: "scroll", tabindex: 0, role: "region", "aria-label": "Frames" },
      make(
        "table",
        { class: "rows" },
        make("thead", {}, make("tr", {}, ...shown.map(([name]) => make("th", { scope: "col" }, name)))),
        make(
          "tbody",
          {},
          ...rows
            .slice(0, MAX_ROWS)
            .map((row) => make("tr", {}, ...shown.map(([, index]) => make("td", {}, row[index])))),
        ),
      ),
    ),
  );
}

// --- what came out ---------------------------------------------------------------------------------------------------

async function showScreen(main) {
  const mine = turn;
  const { screen } = await ask(api("contents"));
  if (mine !== turn) return;
  main.replaceChildren(make("h2", {}, "What came out"));
  if (screen.summary) {
    main.append(make("p", {}, make("a", { href: `results/${path(screen.summary)}` }, "in words, with settings and versions")));
  }
  if (screen.tables.length) main.append(tables("screen", null, ...screen.tables));
  for (const name of screen.pictures) {
    const source = `results/${path("screen", "plots", name)}`;
    main.append(
      make("h3", {}, name.replace(/\.png$/, "")),
      make("a", { href: source }, make("img", { src: source, alt: name, class: "picture" })),
    );
  }
}

// --- the address -----------------------------------------------------------------------------------------------------

const PAGES = { plates: showPlate, slides: showSlide, stacks: showStack, screen: showScreen };

async function show() {
  const mine = ++turn;
  openImage?.destroy();
  openImage = null;
  const main = document.getElementById("main");
  try {
    const first = await showContents();
    if (mine !== turn) return;
    const asked = location.hash.slice(2).split("/").filter(Boolean).map(decodeURIComponent);
    const [kind, name, ...rest] = asked.length ? asked : first;
    for (const link of document.querySelectorAll("#contents a")) {
      if (kind && link.hash === `#/${path(kind, name)}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    if (kind !== "plates") mapped = null;
    if (PAGES[kind]) await PAGES[kind](main, name, ...rest);
    else main.replaceChildren();
    document.title = name ? `${name} - Fieldwork` : "Fieldwork";
  } catch (error) {
    if (mine !== turn) return;
    mapped = null;
    main.replaceChildren(make("p", { class: "error" }, error.message));
  }
}

window.addEventListener("hashchange", show);
show();
