// An image that can be zoomed, with the outlines of its nuclei, by OpenSeadragon.

import { take } from "./keys.js";
import { X, Y, button, checkbox, draft, make, nuclei } from "./tools.js";

const RING_PX = 8; // of the image: the radius of a nucleus's ring
const LEAST_RING_PX = 4; // of the screen
const LEAST_NUCLEUS_PX = 5; // of the screen: outlines of smaller nuclei cover the image and say nothing
const BLANK = "data:image/gif;base64,R0lGODlhAQABAAAAACH5BAEKAAEALAAAAAABAAEAAAICTAEAOw==";

let outlinesShown = true; // on the next image, too

/** Draw nuclei: their outlines, in those of their cells if there are any, or rings around their centres. */
function drawNuclei(found) {
  // Tables and outlines count from the centre of the first pixel, the image from its corner.
  const paths = (outlines, kind) =>
    outlines.map((corners) => draft("path", { class: kind, d: `M${corners.join(" ")}Z`, transform: "translate(0.5 0.5)" }));
  if (found.outlines) return [...paths(found.cells ?? [], "cell"), ...paths(found.outlines, "nucleus")];
  return found[X].map((x, index) => draft("circle", { cx: x + 0.5, cy: found[Y][index] + 0.5 }));
}

/** Return the diameter of the middle one of the outlines, in px of the image. */
function diameterOf(outlines) {
  const widths = outlines.map((corners) => {
    const columns = corners.filter((_, index) => index % 2 === 0);
    return Math.max(...columns) - Math.min(...columns) + 1;
  });
  return widths.sort((one, other) => one - other)[widths.length >> 1] ?? 2 * RING_PX;
}

/**
 * A zoomable image.
 *
 * label: what it shows. tools: further elements above it. slide: true for the look of slides. nucleiIn: takes a part of
 * the image ({left, top, right, bottom} in px, and scale) and returns the nuclei in it; without it, `showNuclei` says
 * which there are. diameter: of a nucleus of nucleiIn, in px. valuesAt: takes a column and a row, returns text, maybe later.
 */
export class Picture {
  constructor(parent, { label, tools = [], slide = false, nucleiIn = null, diameter = null, valuesAt = null }) {
    Object.assign(this, { slide, nucleiIn, diameter, valuesAt, found: null, asked: 0, scale: 1, size: null });
    this.box = make("div", { class: slide ? "image slide" : "image" });
    this.box.picture = this;
    this.message = make("span", { role: "status" });
    this.values = make("output", { class: "values", "aria-label": "pixel in the middle, or under the pointer" });
    const [outlines, input] = checkbox("outlines", "Show the nuclei's outlines (o)", outlinesShown, (checked) => {
      outlinesShown = checked;
      this.svg.classList.toggle("off", !checked);
    });
    const shown = make("div", { class: "tools" },
      button("+", "Zoom in (+)", () => this.zoom(2)),
      button("−", "Zoom out (-)", () => this.zoom(0.5)),
      button("Fit", "Whole image (0)", () => this.viewer.viewport.goHome()),
      button("1:1", "One pixel of the image is one of the screen", () =>
        this.viewer.viewport.zoomTo(this.item.imageToViewportZoom(1)),
      ),
      outlines,
      ...tools,
      this.message,
    );
    parent.append(shown, make("div", { class: "framed" }, this.box, this.values));
    take({ o: ["outlines", () => input.click()] });
    this.start(label);
  }

  get item() {
    return this.viewer.world.getItemAt(0);
  }

  zoom(factor) {
    this.viewer.viewport.zoomBy(factor).applyConstraints();
  }

  /** Create the viewer and what lies over the image. */
  start(label) {
    const viewer = OpenSeadragon({
      element: this.box,
      drawer: "canvas", // works without WebGL too
      showNavigationControl: false, // the buttons above have names
      showNavigator: this.slide,
      navigatorAutoFade: false,
      animationTime: 0.4,
      maxZoomPixelRatio: 20,
      visibilityRatio: 0.5,
      gestureSettingsMouse: { clickToZoom: false, dblClickToZoom: true },
    });
    this.viewer = viewer;
    viewer.canvas.setAttribute("role", "application"); // it handles the keys itself
    viewer.canvas.setAttribute("aria-label", `${label}: arrow keys move, + and - zoom, 0 shows all`);
    viewer.addHandler("canvas-key", (event) => {
      // Letters are keys of the page; rotating and flipping would leave the nuclei where they are.
      if (/^[a-z]$/i.test(event.originalEvent.key)) event.preventDefaultAction = true;
    });
    this.pixels = make("canvas", { class: "pixels" });
    this.density = make("canvas", { class: "pixels density", hidden: "" });
    this.svg = draft("svg", { class: outlinesShown ? "nuclei" : "nuclei off" });
    this.group = draft("g");
    this.svg.append(this.group);
    viewer.canvas.append(this.pixels, this.density, this.svg);
    viewer.addHandler("update-viewport", () => this.place());
    let isWhole = true; // the whole image is in view, and stays so in a window of another size
    viewer.addHandler("resize", () => {
      if (isWhole) requestAnimationFrame(() => viewer.viewport?.goHome(true)); // after it has kept the zoom
    });
    viewer.addHandler("animation-finish", () => {
      isWhole = viewer.viewport.getZoom() < 1.01 * viewer.viewport.getHomeZoom();
    });
    for (const event of ["open", "animation-finish", "resize"]) viewer.addHandler(event, () => this.draw());
    this.box.addEventListener("pointermove", (event) => this.point(event));
  }

  /** Show an image of this size, whose pixels `pixels` gets; one of the same size keeps the view. */
  open(width, height) {
    if (this.size?.[0] === width && this.size[1] === height) {
      this.place();
      return;
    }
    const tileSource = { width, height, tileSize: Math.max(width, height), minLevel: 0, maxLevel: 0, getTileUrl: () => BLANK };
    this.openTiles(tileSource, width, height);
  }

  /** Show a source of tiles. */
  openTiles(tileSource, width, height) {
    this.size = [width, height];
    this.viewer.open(tileSource);
  }

  /** Move all that lies over the image to where it is drawn now. */
  place() {
    if (!this.item) return;
    const [width] = this.size;
    const corner = (x) => this.item.imageToViewerElementCoordinates(new OpenSeadragon.Point(x, 0));
    const start = corner(0);
    this.scale = (corner(width).x - start.x) / width;
    this.group.setAttribute("transform", `translate(${start.x} ${start.y}) scale(${this.scale})`);
    this.svg.style.setProperty("--radius", `${Math.max(RING_PX, LEAST_RING_PX / this.scale)}px`);
    for (const canvas of [this.pixels, this.density]) {
      const side = Number(canvas.dataset.side ?? width / Math.max(1, canvas.width));
      canvas.style.transform = `translate(${start.x}px, ${start.y}px) scale(${this.scale * side})`;
    }
    const smooth = this.scale < 1; // else pixels are squares
    this.pixels.classList.toggle("squares", !smooth);
    if (this.smooth !== smooth) this.viewer.drawer.setImageSmoothingEnabled((this.smooth = smooth));
    const clutter = this.isClutter;
    this.svg.classList.toggle("clutter", clutter);
    if (this.found && this.clutter !== clutter) this.count();
  }

  /** True where nuclei are too small on the screen for outlines. */
  get isClutter() {
    return (this.diameter ?? 2 * RING_PX) * this.scale < LEAST_NUCLEUS_PX;
  }

  /** Show the nuclei of an image that has all of them at once. */
  showNuclei(found) {
    this.found = { ...found, count: found[X].length };
    this.diameter = found.outlines ? diameterOf(found.outlines) : null;
    this.group.replaceChildren(...drawNuclei(found));
    this.place();
    this.count();
  }

  /** Ask for the nuclei in view, and draw them. */
  async draw() {
    if (!this.item) return;
    this.place();
    if (!this.nucleiIn) return;
    const { x, y, width, height } = this.item.viewportToImageRectangle(this.viewer.viewport.getBounds(true));
    const mine = ++this.asked;
    try {
      const view = { left: x, top: y, right: x + width, bottom: y + height, scale: this.scale };
      const found = await this.nucleiIn(view, this.isClutter);
      if (mine !== this.asked) return;
      this.found = found;
    } catch (error) {
      this.message.textContent = error.message;
      return;
    }
    this.group.replaceChildren(...drawNuclei(this.found));
    this.count();
  }

  /** Write how many nuclei there are. */
  count() {
    this.clutter = this.isClutter;
    const { count, note = "" } = this.found;
    const hidden = count && (this.clutter || this.found[X].length !== count);
    const where = this.nucleiIn ? " in view" : "";
    this.message.textContent = `${nuclei(count)}${hidden ? `${where || " here"}: zoom in to see them` : where}${note}`;
  }

  /** Write the values of the pixel under the pointer. */
  async point(event) {
    if (!this.item || !this.valuesAt) return;
    const box = this.box.getBoundingClientRect();
    const at = new OpenSeadragon.Point(event.clientX - box.left, event.clientY - box.top);
    await this.tell(this.item.viewerElementToImageCoordinates(at));
  }

  /** Write the values of the pixel in the middle of the view. */
  async pointToMiddle() {
    if (!this.item || !this.valuesAt) return;
    const { x, y } = this.viewer.viewport.getCenter(true);
    await this.tell(this.item.viewportToImageCoordinates(x, y));
  }

  async tell({ x, y }) {
    const [column, row] = [Math.floor(x), Math.floor(y)];
    const [width, height] = this.size;
    const mine = (this.pointed = (this.pointed ?? 0) + 1);
    const inImage = column >= 0 && row >= 0 && column < width && row < height;
    const text = inImage ? await this.valuesAt(column, row) : "";
    if (mine === this.pointed) this.values.textContent = text ? `x ${column}, y ${row}: ${text}` : "";
  }

  destroy() {
    this.viewer.destroy();
  }
}
