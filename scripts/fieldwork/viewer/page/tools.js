// Small tools of all pages: elements, addresses, numbers, colours.

export const X = "Nuclei_Location_Center_X";
export const Y = "Nuclei_Location_Center_Y";
export const VIRIDIS = [
  "#440154", "#472d7b", "#3b528b", "#2c728e", "#21918c", "#28ae80", "#5ec962", "#addc30", "#fde725",
];
const SVG = "http://www.w3.org/2000/svg";
const PICTURES = {
  calibration: "calibration", illumination: "illumination", quality: "image quality per well", densities: "density",
  focus: "best, median and worst focus", nuclei: "nuclei per well", fields: "nuclei per field by treatment",
  edge: "edge effect", doses: "dose-response", timepoints: "nuclei over time", hits: "hits, ranked",
  plates: "all plates", profiles: "profiles, principal components", replicates: "replicate plates",
  overview: "tissue and density of nuclei",
};

/** Create an element. Children are elements or text: text from a table is never taken for markup. */
export function make(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Create an element of a drawing. */
export function draft(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Create a button; its title says what it does, with its key in brackets. */
export function button(text, title, act) {
  const element = make("button", { type: "button", title }, text);
  if (!/[a-z]/i.test(text)) element.setAttribute("aria-label", title);
  element.addEventListener("click", act);
  return element;
}

/** Create a checkbox with its label. */
export function checkbox(text, title, checked, act) {
  const input = make("input", { type: "checkbox", checked: checked ? "" : null });
  input.addEventListener("change", () => act(input.checked));
  return [make("label", { title }, input, ` ${text}`), input];
}

/** Join names to a path in which every name is exactly one step. */
export const path = (...names) => names.map(encodeURIComponent).join("/");

/** Return the address of an answer of the server. */
export const api = (...names) => `api/${path(...names)}`;

/** Ask the server for JSON. */
export async function ask(address) {
  const response = await fetch(address);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error);
  return answer;
}

export const count = (number, noun, nouns = `${noun}s`) =>
  `${Number(number).toLocaleString("en")} ${Number(number) === 1 ? noun : nouns}`;
export const nuclei = (number) => count(number, "nucleus", "nuclei");

/** Write a mean in few characters: 17.5, 171. */
export const short = (number) => String(Number(Number(number).toFixed(number < 100 ? 1 : 0)));

/** Write a cell of a table: fractions with four digits, all else as it is. */
export const rounded = (text) => (/^-?\d*\.\d+(e[+-]?\d+)?$/i.test(text) ? String(Number(Number(text).toPrecision(4))) : text);

/** Return the colour of a share from 0 to 1, as red, green and blue. */
export function viridis(share) {
  const place = Math.min(1, Math.max(0, share)) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const [from, to] = [low, low + 1].map((index) => colourOf(VIRIDIS[index].slice(1)));
  return from.map((value, index) => Math.round(value + (to[index] - value) * (place - low)));
}

/** Return red, green and blue of RRGGBB. */
export const colourOf = (text) => [0, 2, 4].map((start) => parseInt(text.slice(start, start + 2), 16));

/** Create the links to the tables of a plate, slide or stack, or, without a name, of all plates together. */
export function tables(kind, name, files) {
  const links = files.flatMap((file) => [
    make("a", { href: `results/${path(...[kind, name, file].filter(Boolean))}`, download: "" }, file),
    " ",
  ]);
  return make("p", { class: "tables" }, "Tables: ", ...links);
}

/** Create the links to the pages of a run that its pictures are on, too. */
export function pages({ summary, report }) {
  const link = (name, text) => make("a", { href: `results/${path(name)}`, target: "_blank" }, text);
  return make(
    "p",
    { class: "tables" },
    "Pages: ",
    ...(summary ? [link(summary, "what came out, in words"), ", "] : []),
    report ? link(report, "report") : "no report yet (the run's command with --report results/report.html)",
  );
}

/** Return what a picture shows, by its name. */
export function titleOf(name) {
  const stem = name.replace(/\.png$/, "");
  return PICTURES[stem] ?? stem.replaceAll("_", " ");
}

/** Create small pictures that lead to the large ones; files are lists of folders and name below `results`. */
export function gallery(files) {
  const figure = (names) => {
    const source = `results/${path(...names)}`;
    const title = titleOf(names.at(-1));
    const image = make("img", { src: source, alt: title, loading: "lazy" });
    return make("figure", {}, make("a", { href: source, target: "_blank" }, image), make("figcaption", {}, title));
  };
  return make("div", { class: "gallery" }, ...files.map(figure));
}

/** Write what a platemap says of a well. */
export const treatmentText = (treatment) =>
  Object.entries(treatment ?? {}).map(([name, text]) => `${name.replaceAll("_", " ")} ${text}`);
