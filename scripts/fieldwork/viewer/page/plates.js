// The page of a plate: its wells as a map, its tables and pictures; in wells.js the fields of a well.

import { take } from "./keys.js";
import { VIRIDIS, api, ask, button, count, gallery, make, nuclei, pages, path, short, tables, treatmentText, viridis } from "./tools.js";
import { WellPanel } from "./wells.js";

const MOST_COLUMNS = 4; // of a platemap, that wells can show

let shown = null; // the plate on the page: what the map shows, and the panel of its well
let view = "numbers"; // what wells show

/** Forget the plate: another page is shown. */
export function leavePlate() {
  shown?.panel.destroy();
  shown = null;
}

export async function showPlate(main, isCurrent, plate, well, field) {
  const facts = await ask(api("plates", plate));
  if (!isCurrent()) return;
  const key = JSON.stringify([plate, facts]);
  if (shown?.key !== key) {
    leavePlate();
    const panel = new WellPanel(plate, facts);
    const map = make("section", { class: "map", "aria-label": "Wells" });
    main.replaceChildren(make("h2", {}, `Plate ${plate}`), make("div", { class: "plate" }, map, panel.element));
    map.append(...mapOf(plate, facts), tables("plates", plate, facts.tables), pages(facts.pages));
    map.append(gallery(facts.pictures.map((names) => ["plates", plate, ...names])));
    shown = { key, map, panel };
  }
  const isAsked = well !== undefined;
  well ??= Object.keys(facts.thumbnails)[0]; // so that cells are what is seen first
  for (const link of shown.map.querySelectorAll(".wells a")) {
    if (link.dataset.well === well) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
  const { map, panel } = shown;
  take({
    v: ["numbers, pictures or treatments in the wells", () => showNextView(map)],
    "[": ["the well before", () => goBy(map, well, -1)],
    "]": ["the next well", () => goBy(map, well, 1)],
  });
  await panel.show(isCurrent, well, field);
  const { top } = panel.element.getBoundingClientRect();
  if (isCurrent() && isAsked && top > innerHeight / 2) panel.element.scrollIntoView(); // it is below the map
}

/** Open the next well, or the one before, row by row. */
function goBy(map, well, step) {
  const links = [...map.querySelectorAll(".wells a")];
  const at = links.findIndex((link) => link.dataset.well === well);
  links[Math.max(0, at < 0 ? 0 : at + step)]?.click();
}

/** Return row and column of a well, from 0: A01 is 0, 0; AA01 is 26, 0. */
function placeOf(well) {
  const [, letters, number] = /^([A-Z]+)(\d+)$/.exec(well);
  return [[...letters].reduce((row, letter) => row * 26 + letter.charCodeAt(0) - 64, 0) - 1, Number(number) - 1];
}

const lettersOf = (row) => (row < 26 ? "" : lettersOf(Math.floor(row / 26) - 1)) + String.fromCharCode(65 + (row % 26));
const wellAt = (row, column) => lettersOf(row) + String(column + 1).padStart(2, "0");
const range = (length) => [...Array(length).keys()];

/** Create the map of wells: a table of links, one for every well with images, and what its marks mean. */
function mapOf(plate, { wells, format: [rows, columns], treatments, thumbnails }) {
  // The mean: a well with a failed field has a smaller sum.
  const counts = wells.filter((well) => well.Mean_Count_Nuclei !== "").map((well) => Number(well.Mean_Count_Nuclei));
  const [low, high] = counts.length ? [Math.min(...counts), Math.max(...counts)] : [0, 0];
  const many = columns > 12;
  const here = new Map(wells.map((well) => [well.Metadata_Well, well]));
  const cell = (name) => {
    const well = here.get(name);
    if (!well) return make("td", {}, make("span", { class: "missing", title: `${name}: no images` }));
    const share = high > low ? (well.Mean_Count_Nuclei - low) / (high - low) : 0.5;
    return make("td", {}, wellLink(plate, well, { share, treatment: treatments[name], field: thumbnails[name] }));
  };
  const header = range(columns).map((column) => make("th", { scope: "col" }, String(column + 1)));
  const body = range(rows).map((row) =>
    make("tr", {}, make("th", { scope: "row" }, lettersOf(row)), ...range(columns).map((column) => cell(wellAt(row, column)))),
  );
  const table = make(
    "table",
    { class: many ? "wells many" : "wells" },
    make("thead", {}, make("tr", {}, make("td"), ...header)),
    make("tbody", {}, ...body),
  );
  moveByArrows(table, here);
  return [viewsOf(table, here, treatments), make("div", { class: "scroll" }, table), keyOf(low, high)];
}

/** Create the link of a well: its number, or the thumbnail of its first good field. */
function wellLink(plate, well, { share, treatment, field }) {
  const name = well.Metadata_Well;
  const failed = Number(well.Fields_Failed);
  const all = failed === Number(well.Fields_Total);
  const about = [
    all ? "no nuclei counted" : `${nuclei(short(well.Mean_Count_Nuclei))} per field, ${well.Count_Nuclei} in all`,
    ...(failed ? [`${failed} of ${count(well.Fields_Total, "field")} failed`] : []),
    ...treatmentText(treatment),
  ];
  const title = `${name}: ${about.join(", ")}`;
  const link = make("a", { href: `#/${path("plates", plate, name)}`, "data-well": name, tabindex: -1, title });
  link.setAttribute("aria-label", title);
  if (all) {
    link.className = "failed";
    link.append("✕");
    return link;
  }
  link.style.background = `rgb(${viridis(share).join(" ")})`;
  link.style.color = share > 0.45 ? "#000" : "#fff";
  if (failed) link.className = "partly";
  link.append(make("span"));
  if (field !== undefined) link.dataset.thumbnail = api("plates", plate, "fields", field, "thumbnail.png");
  return link;
}

/** Create the choice of what wells show: numbers, thumbnails, or a column of the platemap. */
function viewsOf(table, here, treatments) {
  const columns = [...new Set(Object.values(treatments).flatMap(Object.keys))].slice(0, MOST_COLUMNS);
  const names = ["numbers", "pictures", ...columns];
  const choices = names.map((name) => button(name.replaceAll("_", " "), `${name} in the wells (v)`, () => choose(name)));
  const choose = (name) => {
    view = name;
    choices.forEach((choice, index) => choice.setAttribute("aria-pressed", String(names[index] === name)));
    table.classList.toggle("thumbnails", name === "pictures");
    table.classList.toggle("texts", columns.includes(name));
    for (const link of table.querySelectorAll("a:not(.failed)")) {
      const well = here.get(link.dataset.well);
      const text = columns.includes(name) ? (treatments[well.Metadata_Well]?.[name] ?? "") : short(well.Mean_Count_Nuclei);
      link.firstElementChild.textContent = text;
      const wanted = name === "pictures" && link.dataset.thumbnail && !link.querySelector("img");
      if (wanted) link.append(make("img", { src: link.dataset.thumbnail, alt: "", loading: "lazy" }));
    }
  };
  choose(names.includes(view) ? view : "numbers");
  return make("div", { class: "views", role: "group", "aria-label": "Wells show" }, "Wells: ", ...choices);
}

function showNextView(map) {
  const choices = [...map.querySelectorAll(".views button")];
  choices[(choices.findIndex((choice) => choice.getAttribute("aria-pressed") === "true") + 1) % choices.length].click();
}

function keyOf(low, high) {
  const scale = make("i", { class: "scale" });
  scale.style.background = `linear-gradient(to right, ${VIRIDIS.join(",")})`;
  const partly = make("i", { class: "partly" });
  partly.style.background = VIRIDIS[3];
  return make(
    "p",
    { class: "key" },
    make("span", {}, short(low), scale, `${short(high)} nuclei per field, mean of the well`),
    make("span", {}, partly, "some fields failed"),
    make("span", {}, make("i", { class: "failed" }), "all fields failed"),
    make("span", {}, make("i", { class: "missing" }), "no images"),
    make("span", { class: "hint" }, "A click on a well, or arrow keys and Enter, opens it."),
  );
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
