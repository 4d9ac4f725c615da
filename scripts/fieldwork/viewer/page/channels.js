// The pixels of a field or frame in one or several channels: contrast, colours, values.

import { button, colourOf, make } from "./tools.js";

const ARRAYS = {
  u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
  f4: Float32Array, f8: Float64Array,
};
const SLIDER_STEPS = 1000;
const SLIDER_POWER = 3; // most of a slider is for low values, which most pixels have

/** Read a file of NumPy: {width, height, values, whole}. */
export async function readPixels(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error((await response.json()).error);
  const bytes = await response.arrayBuffer();
  const view = new DataView(bytes);
  const long = view.getUint8(6) > 1; // the format's version
  const start = long ? 12 : 10;
  const end = start + (long ? view.getUint32(8, true) : view.getUint16(8, true));
  const head = new TextDecoder().decode(new Uint8Array(bytes, start, end - start));
  const [, type] = /'descr': '[<|]([uif]\d)'/.exec(head);
  const [, height, width] = /\((\d+), (\d+)\)/.exec(head).map(Number);
  return { width, height, values: new ARRAYS[type](bytes.slice(end)), whole: type[0] !== "f" };
}

/** Write a pixel's value; of one that is no whole number, four digits, or all before the point. */
export const valueText = (value) =>
  Number.isInteger(value) || Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(4)));

/**
 * The channels of the fields of a plate, or of the frames of a stack: which are shown, in which colour and contrast.
 *
 * `scope` names what shares the contrast, which stays until the browser's tab is closed; `contrast` has for each channel
 * low, high, least and most; `draw` is called when the picture must be drawn again, `load` when a channel is new.
 */
export class Channels {
  constructor({ scope, channels, contrast, draw, load }) {
    Object.assign(this, { scope, contrast, draw, load, planes: new Map(), problems: new Map(), turn: 0 });
    this.channels = channels.filter(({ name }) => contrast[name]);
    const kept = JSON.parse(sessionStorage.getItem(scope) ?? "{}");
    this.states = new Map(
      this.channels.map(({ name }, index) => {
        const { low, high } = contrast[name];
        return [name, { shown: index === 0, low, high, ...kept[name] }];
      }),
    );
    this.rows = new Map(this.channels.map((channel, index) => [channel.name, this.rowOf(channel, index)]));
    this.element = make(
      "div",
      { class: "channels", role: "group", "aria-label": "Channels and contrast" },
      ...[...this.rows.values()].map((row) => row.element),
    );
    this.update();
  }

  get shown() {
    return this.channels.filter(({ name }) => this.states.get(name).shown).map(({ name }) => name);
  }

  /** Create the controls of a channel. */
  rowOf({ name, colour }, index) {
    const shown = make("input", { type: "checkbox", "aria-label": `show ${name}` });
    shown.addEventListener("change", () => this.toggle(name));
    const bounds = ["low", "high"].map((bound) => {
      const slider = make("input", { type: "range", min: 0, max: SLIDER_STEPS });
      slider.setAttribute("aria-label", `${name}: ${bound === "low" ? "black" : "white"} at`);
      slider.addEventListener("input", () => this.set(name, bound, this.valueAt(name, slider.valueAsNumber)));
      return slider;
    });
    const text = make("output", {});
    const swatch = make("i", { class: "swatch" });
    swatch.style.background = `#${colour}`;
    const label = make("label", { title: `Show ${name} (${index + 1})` }, shown, swatch, ` ${name}`);
    const auto = button("auto", `Contrast of ${name} by a sample of all fields (a: all channels)`, () => this.auto([name]));
    return { element: make("div", { class: "channel" }, label, ...bounds, text, auto), shown, bounds, text };
  }

  valueAt(name, step) {
    const { least, most } = this.contrast[name];
    const value = least + (most - least) * (step / SLIDER_STEPS) ** SLIDER_POWER;
    return most - least > 20 ? Math.round(value) : value;
  }

  stepOf(name, value) {
    const { least, most } = this.contrast[name];
    const share = most > least ? Math.min(1, Math.max(0, (value - least) / (most - least))) : 0;
    return Math.round(SLIDER_STEPS * share ** (1 / SLIDER_POWER));
  }

  set(name, bound, value) {
    const state = this.states.get(name);
    state[bound] = value;
    if (bound === "low") state.high = Math.max(state.high, value);
    else state.low = Math.min(state.low, value);
    this.changed();
  }

  /** Take the plate's contrast for some channels, by default all. */
  auto(names = [...this.states.keys()]) {
    for (const name of names) {
      const { low, high } = this.contrast[name];
      Object.assign(this.states.get(name), { low, high });
    }
    this.changed();
  }

  /** Take the contrast of the image that is shown, for all its channels. */
  fit() {
    for (const name of this.shown.filter((channel) => this.planes.has(channel))) {
      const { values } = this.planes.get(name);
      const sorted = values.filter((_, index) => index % 17 === 0).sort();
      const [low, high] = [0.01, 0.998].map((share) => sorted[Math.floor(share * (sorted.length - 1))]);
      Object.assign(this.states.get(name), { low, high });
    }
    this.changed();
  }

  /** Show or hide a channel; at least one stays. */
  toggle(name) {
    const state = this.states.get(name);
    if (!state) return;
    state.shown = !state.shown || this.shown.length === 1;
    this.changed();
    if (state.shown && !this.planes.has(name)) this.load();
  }

  changed() {
    sessionStorage.setItem(this.scope, JSON.stringify(Object.fromEntries(this.states)));
    this.update();
    this.draw();
  }

  update() {
    for (const [name, { element, shown, bounds, text }] of this.rows) {
      const state = this.states.get(name);
      shown.checked = state.shown;
      element.classList.toggle("off", !state.shown);
      bounds.forEach((slider, index) => {
        const value = index ? state.high : state.low;
        slider.value = this.stepOf(name, value);
        slider.setAttribute("aria-valuetext", valueText(value));
      });
      text.textContent = this.problems.get(name) ?? `${valueText(state.low)} – ${valueText(state.high)}`;
    }
    this.element.classList.toggle("merged", this.shown.length > 1);
  }

  /**
   * Read the shown channels of an image that are not there yet.
   *
   * addressOf takes a channel's name; anew: it is another image; missing: channels of which it has none.
   */
  async read(addressOf, { anew = false, missing = [] } = {}) {
    const wanted = this.shown.filter((name) => (anew || !this.planes.has(name)) && !missing.includes(name));
    const turn = anew ? ++this.turn : this.turn;
    const outcomes = await Promise.allSettled(wanted.map((name) => readPixels(addressOf(name))));
    if (turn !== this.turn) return; // another image is wanted meanwhile
    if (anew) {
      this.planes = new Map();
      this.problems = new Map(missing.map((name) => [name, "no image here"]));
    }
    outcomes.forEach(({ value, reason }, index) => {
      if (value) this.planes.set(wanted[index], value);
      else this.problems.set(wanted[index], reason.message);
    });
    this.update();
    if (!this.planes.size && outcomes.length) throw outcomes[0].reason;
  }

  /** Draw the shown channels: one in grey, several in their colours, added up. */
  paint(canvas) {
    const names = this.shown.filter((name) => this.planes.has(name));
    if (!names.length) {
      canvas.width = canvas.height = 1; // no image of the shown channels: nothing is left of the last
      return;
    }
    const { width, height } = this.planes.get(names[0]);
    if (canvas.width !== width || canvas.height !== height) Object.assign(canvas, { width, height });
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, height);
    const pixels = image.data.fill(0);
    const merged = this.shown.length > 1;
    for (const name of names) {
      const plane = this.planes.get(name);
      if (plane.values.length !== width * height) continue;
      const { colour } = this.channels.find((channel) => channel.name === name);
      addPlane(pixels, plane, this.states.get(name), merged ? colourOf(colour) : [255, 255, 255]);
    }
    for (let index = 3; index < pixels.length; index += 4) pixels[index] = 255;
    context.putImageData(image, 0, 0);
  }

  /** Write the values of a pixel, from 0, in the shown channels; nothing outside of the image. */
  valuesAt(column, row, width) {
    const texts = this.shown.filter((name) => this.planes.has(name)).map((name) => {
      const plane = this.planes.get(name);
      const factor = Math.ceil(width / plane.width); // a large image is reduced
      const value = plane.values[Math.floor(row / factor) * plane.width + Math.floor(column / factor)];
      return `${name} ${valueText(value)}${factor > 1 ? ` (mean of ${factor} x ${factor} px)` : ""}`;
    });
    return texts.join(", ");
  }
}

/** Add a channel to the pixels of a picture. */
function addPlane(pixels, { values, whole }, { low, high }, [red, green, blue]) {
  const scale = high > low ? 255 / (high - low) : 0;
  const levelOf = (value) => Math.min(255, Math.max(0, (value - low) * scale + 0.5)) | 0;
  let table = null;
  const bytes = values.BYTES_PER_ELEMENT;
  const offset = whole && bytes <= 2 && !(values instanceof Uint8Array || values instanceof Uint16Array) ? 2 ** (8 * bytes - 1) : 0;
  if (whole && bytes <= 2) table = Uint8Array.from({ length: 2 ** (8 * bytes) }, (_, index) => levelOf(index - offset));
  for (let index = 0, at = 0; index < values.length; index += 1, at += 4) {
    const level = table ? table[values[index] + offset] : levelOf(values[index]);
    if (!level) continue;
    if (red) pixels[at] += (level * red) / 255;
    if (green) pixels[at + 1] += (level * green) / 255;
    if (blue) pixels[at + 2] += (level * blue) / 255;
  }
}
