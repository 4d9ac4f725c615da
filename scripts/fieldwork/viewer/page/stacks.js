// The page of a stack: its frames one after another, with their nuclei, and their table.

import { Channels } from "./channels.js";
import { take } from "./keys.js";
import { Picture } from "./picture.js";
import { X, Y, api, ask, button, count, gallery, make, path, rounded, tables } from "./tools.js";

const MOST_ROWS = 2000; // of the table; more are slow to lay out
const PLAY_MS = 150; // a frame, at least

let shown = null; // the stack on the page: its player

export function leaveStack() {
  shown?.player?.destroy();
  shown = null;
}

export async function showStack(main, isCurrent, stack, frame) {
  const facts = await ask(api("stacks", stack));
  if (!isCurrent()) return;
  const key = JSON.stringify([stack, facts]);
  if (shown?.key !== key) {
    leaveStack();
    shown = { key };
    await build(main, isCurrent, stack, facts);
  }
  if (isCurrent() && shown?.player) await shown.player.show(frame === undefined ? shown.player.first : Number(frame));
}

async function build(main, isCurrent, stack, facts) {
  const { columns, rows } = facts;
  main.replaceChildren(make("h2", {}, `Stack ${stack}`), make("p", { class: "hint" }, count(rows.length, "frame")));
  const contrast = facts.frames ? await ask(api("stacks", stack, "contrast")).catch(() => null) : null;
  if (!isCurrent()) return;
  if (contrast) shown.player = new Player(main, stack, facts, contrast);
  else main.append(make("p", { class: "hint" }, "Its frames are not on this machine's disk, or from before this version: here is their table."));
  main.append(tables("stacks", stack, facts.tables), gallery(facts.pictures.map((name) => ["stacks", stack, name])));
  main.append(tableOf(stack, columns, rows));
}

/** Shows the frames one after another. */
class Player {
  constructor(main, stack, { columns, rows }, contrast) {
    Object.assign(this, { stack, timer: null, wanted: null });
    const at = (name) => columns.indexOf(name);
    const good = rows.filter((row) => row[at("Image_Status")] === "ok");
    this.good = good.map((row) => Number(row[at("Metadata_Frame")]));
    const sideOf = (row, name) => Number(row[at(name)]);
    this.sizes = new Map(good.map((row, index) => [this.good[index], ["Image_Width", "Image_Height"].map((name) => sideOf(row, name))]));
    [this.first] = this.good;
    const stage = make("div", { class: "stage" });
    this.slider = make("input", { type: "range", min: 0, max: this.good.length - 1, "aria-label": "frame" });
    this.slider.addEventListener("input", () => this.go(this.good[this.slider.valueAsNumber]));
    this.text = make("output", {});
    this.play = button("▶", "Play or stop (space)", () => this.toggle());
    const player = make("div", { class: "player" },
      button("◀", "The frame before (,)", () => this.step(-1)), this.play,
      button("▶|", "The next frame (.)", () => this.step(1)), this.slider, this.text);
    main.append(stage);
    this.channels = new Channels({
      scope: `contrast of stack ${stack}`,
      channels: [{ name: "intensity", colour: "ffffff" }],
      contrast: { intensity: contrast },
      draw: () => requestAnimationFrame(() => this.channels.paint(this.picture.pixels)),
      load: () => {},
    });
    this.picture = new Picture(stage, {
      label: `Stack ${stack}`,
      valuesAt: (column, row) => this.channels.valuesAt(column, row, this.width),
    });
    stage.querySelector(".tools").after(player, this.channels.element);
    take({
      ",": ["the frame before", () => this.step(-1)],
      ".": ["the next frame", () => this.step(1)],
      " ": ["play or stop", () => this.toggle()],
      a: ["contrast by all frames", () => this.channels.auto()],
      s: ["contrast by this frame", () => this.channels.fit()],
      p: ["values of the pixel in the middle of the image", () => this.picture.pointToMiddle()],
    });
  }

  step(by) {
    const next = this.good[this.good.indexOf(this.frame) + by];
    if (next !== undefined) this.go(next);
  }

  /** Go to a frame: its number becomes part of the address. */
  go(frame) {
    history.replaceState(null, "", `#/${path("stacks", this.stack, frame)}`);
    this.show(frame);
  }

  /** Show a frame; of several that are wanted while one is read, the last. */
  async show(frame) {
    this.wanted = this.good.includes(frame) ? frame : this.first;
    if (this.reading || this.wanted === undefined) return;
    this.reading = true;
    while (this.wanted !== this.frame) {
      const number = this.wanted;
      try {
        const [found] = await Promise.all([
          ask(api("stacks", this.stack, "frames", number, "nuclei")),
          this.channels.read(() => api("stacks", this.stack, "frames", number, "pixels"), { anew: true }),
        ]);
        if (!this.picture) return;
        this.frame = number;
        const plane = this.channels.planes.get("intensity"); // reduced, of a large frame
        const [width, height] = this.sizes.get(number).map((side, axis) => side || [plane.width, plane.height][axis]);
        this.width = width;
        this.channels.paint(this.picture.pixels);
        this.picture.open(width, height);
        this.picture.showNuclei(found);
      } catch (error) {
        this.frame = number;
        if (this.picture) {
          this.channels.planes = new Map(); // nothing is left of the frame before
          this.channels.paint(this.picture.pixels);
          this.picture.showNuclei({ [X]: [], [Y]: [] });
          this.picture.message.textContent = error.message;
        }
      }
      this.update();
    }
    this.reading = false;
  }

  update() {
    this.slider.value = this.good.indexOf(this.frame);
    this.slider.setAttribute("aria-valuetext", `frame ${this.frame}`);
    this.text.textContent = `frame ${this.frame} of ${this.good.at(-1)}`;
    for (const row of document.querySelectorAll(".rows tr[data-frame]")) {
      if (row.dataset.frame === String(this.frame)) row.setAttribute("aria-current", "true");
      else row.removeAttribute("aria-current");
    }
  }

  toggle() {
    if (this.timer) {
      clearInterval(this.timer);
      this.timer = null;
    } else {
      this.timer = setInterval(() => {
        if (!this.reading) this.go(this.good[(this.good.indexOf(this.frame) + 1) % this.good.length]);
      }, PLAY_MS);
    }
    this.play.setAttribute("aria-pressed", String(Boolean(this.timer)));
  }

  destroy() {
    clearInterval(this.timer);
    this.picture.destroy();
    this.picture = null;
  }
}

/** Create the table of frames; the number of a frame leads to it. */
function tableOf(stack, columns, rows) {
  const listed = columns.map((name, index) => [name, index]).filter(([name]) => name !== "Metadata_Stack");
  const number = columns.indexOf("Metadata_Frame");
  const cell = (row, name, index) =>
    index === number ? make("a", { href: `#/${path("stacks", stack, row[index])}` }, row[index]) : rounded(row[index]);
  const body = rows.slice(0, MOST_ROWS).map((row) =>
    make("tr", { "data-frame": row[number] }, ...listed.map(([name, index]) => make("td", {}, cell(row, name, index)))),
  );
  const head = listed.map(([name]) => make("th", { scope: "col" }, name.replace(/^(Metadata|Image|ImageQuality)_/, "")));
  const cut = rows.length > MOST_ROWS ? [make("p", {}, `The first ${MOST_ROWS.toLocaleString("en")} are shown.`)] : [];
  const table = make("table", { class: "rows" }, make("thead", {}, make("tr", {}, ...head)), make("tbody", {}, ...body));
  return make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Frames" }, ...cut, table);
}
