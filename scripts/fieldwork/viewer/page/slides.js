// The page of a slide: its tiles, the outlines of its nuclei, and where they are dense.

import { take } from "./keys.js";
import { Picture } from "./picture.js";
import { api, ask, checkbox, count, gallery, make, tables, viridis } from "./tools.js";

const DENSITY_ALPHA = 150; // of 255
const POINTER_PAUSE_MS = 60;

let picture = null;
let densityShown = false;

export function leaveSlide() {
  picture?.destroy();
  picture = null;
}

export async function showSlide(main, isCurrent, slide) {
  const facts = await ask(api("slides", slide));
  if (!isCurrent()) return;
  leaveSlide();
  main.replaceChildren(make("h2", {}, `Slide ${slide}`));
  if (facts.status !== "ok") {
    main.append(make("p", { class: "error" }, `This slide failed: ${facts.error}`));
    return;
  }
  const [[width, height]] = facts.levels;
  const size = `${width.toLocaleString("en")} x ${height.toLocaleString("en")} px`;
  main.append(make("p", { class: "hint" }, facts.mpp ? `${size} of ${facts.mpp[1].toPrecision(3)} µm` : size));
  const torn = facts.failed_tiles?.length;
  if (torn) main.append(make("p", { class: "error" }, `${count(torn, "tile")} could not be decoded: white here.`));
  const [label, input] = checkbox("density", "Where nuclei are dense (d)", densityShown, (checked) => {
    densityShown = checked;
    showDensity(slide, facts, legend);
  });
  const legend = make("span", { class: "legend" });
  const tiles = api("slides", slide, "tiles");
  picture = new Picture(main, {
    label: `Slide ${slide}`,
    slide: true,
    tools: [label, legend],
    diameter: facts.diameter,
    nucleiIn: (view, tooSmall) => nucleiIn(slide, view, tooSmall),
    valuesAt: pixelsOf(slide),
  });
  picture.openTiles(
    {
      width,
      height,
      tileSize: facts.tile,
      tileOverlap: 0,
      minLevel: 0,
      maxLevel: facts.levels.length - 1, // OpenSeadragon counts from the coarsest level
      getTileUrl: (level, column, row) => `${tiles}/${facts.levels.length - 1 - level}/${column}/${row}`,
    },
    width,
    height,
  );
  take({
    d: ["density of nuclei", () => input.click()],
    p: ["values of the pixel in the middle of the image", () => picture.pointToMiddle()],
  });
  main.append(tables("slides", slide, facts.tables), gallery(facts.pictures.map((name) => ["slides", slide, name])));
  await showDensity(slide, facts, legend);
}

/** Ask for the nuclei in a part of a slide; where they are too small on the screen, for their number alone. */
async function nucleiIn(slide, view, tooSmall) {
  const query = new URLSearchParams(tooSmall ? { ...view, scale: 0 } : view);
  return ask(`${api("slides", slide, "nuclei")}?${query}`);
}

/** Return a function that asks for a pixel's values; while the pointer moves, not for every one. */
function pixelsOf(slide) {
  let last = 0;
  return async (column, row) => {
    const mine = ++last;
    await new Promise((resolve) => setTimeout(resolve, POINTER_PAUSE_MS));
    if (mine !== last) return "";
    const values = await ask(api("slides", slide, "pixels", column, row)).catch(() => ({}));
    return Object.entries(values).map(([name, value]) => `${name} ${value}`).join(", ");
  };
}

/** Draw how many nuclei each square has, or nothing where that is not wanted. */
async function showDensity(slide, facts, legend) {
  const canvas = picture.density;
  canvas.hidden = !densityShown;
  legend.textContent = "";
  if (!densityShown) return;
  const { side, rows, columns, counts } = await ask(api("slides", slide, "density"));
  if (canvas !== picture?.density) return;
  Object.assign(canvas, { width: columns, height: rows });
  canvas.dataset.side = side;
  const most = counts.reduce((one, other) => Math.max(one, other), 1);
  const image = new ImageData(columns, rows);
  counts.forEach((number, index) => number && image.data.set([...viridis(number / most), DENSITY_ALPHA], 4 * index));
  canvas.getContext("2d").putImageData(image, 0, 0);
  const area = facts.mpp ? (side * side * facts.mpp[0] * facts.mpp[1]) / 1e6 : null;
  legend.textContent = area
    ? `up to ${Math.round(most / area).toLocaleString("en")} nuclei per mm²`
    : `up to ${count(most, "nucleus", "nuclei")} in ${side} x ${side} px`;
  picture.place();
}
