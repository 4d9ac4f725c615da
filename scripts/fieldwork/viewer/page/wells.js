// The fields of a well: one of them as an image, in its channels, with its nuclei, and the panel that tunes them.

import { Channels, readPixels } from "./channels.js";
import { take } from "./keys.js";
import { Picture } from "./picture.js";
import { api, ask, button, count, make, path, treatmentText } from "./tools.js";
import { TuningPanel } from "./tuning.js";

const nameOf = ({ Metadata_Site: site, Metadata_Timepoint: time, Metadata_ZPlane: z }) =>
  [`site ${site}`, ...(time ? [`t${time}`] : []), ...(z ? [`z${z}`] : [])].join(" ");

export class WellPanel {
  constructor(plate, facts) {
    Object.assign(this, { plate, facts, picture: null, channels: null, tuning: null, field: null });
    this.list = make("div", {});
    this.stage = make("div", { class: "stage" });
    this.element = make("section", { id: "well", "aria-label": "Fields" }, this.list, this.stage);
  }

  /** Show a field of a well, by default its first good one. */
  async show(isCurrent, well, number) {
    if (!well) {
      this.list.replaceChildren(make("p", {}, "No field of this plate is good. A well says why."));
      this.clear();
      return;
    }
    const { fields } = await ask(api("plates", this.plate, "wells", well));
    if (!isCurrent()) return;
    const field =
      fields.find((one) => String(one.field) === number) ?? fields.find((one) => one.Image_Status === "ok") ?? fields[0];
    this.showList(well, fields, field);
    if (field.Image_Status !== "ok") {
      this.clear(make("p", { class: "error" }, `${nameOf(field)} failed: ${field.Image_Error}`));
      return;
    }
    try {
      await this.showField(isCurrent, well, field);
    } catch (error) {
      if (isCurrent()) this.clear(make("p", { class: "error" }, `The image cannot be shown: ${error.message}`));
    }
  }

  /** List the fields of the well, with what the platemap says of it. */
  showList(well, fields, field) {
    const links = fields.map((one) => {
      const good = one.Image_Status === "ok";
      const isSeen = good && !/^\w+:\/\//.test(one.PathName_DNA);
      const link = make(
        "a",
        { href: `#/${path("plates", this.plate, well, one.field)}`, "aria-current": one === field ? "true" : null },
        ...(isSeen ? [make("img", { src: this.addressOf(one, "thumbnail.png"), alt: "", loading: "lazy" })] : []),
        make("span", {}, `${nameOf(one)}: ${good ? one.Image_Count_Nuclei : "✕ failed"}`),
      );
      return make("li", {}, link);
    });
    const focused = [...this.list.querySelectorAll(".fields a")].indexOf(document.activeElement);
    const treatment = treatmentText(this.facts.treatments[well]);
    this.list.replaceChildren(
      make("h3", {}, `Well ${well}`, ...(treatment.length ? [make("span", { class: "treatment" }, treatment.join(" · "))] : [])),
      make("p", { class: "hint" }, `${count(fields.length, "field")}, nuclei in each:`),
      make("ul", { class: "fields" }, ...links),
      make("p", { class: "file", title: [field.PathName_DNA, field.FileName_DNA].filter(Boolean).join("/") }, field.FileName_DNA),
    );
    if (focused >= 0) links[focused]?.firstChild.focus();
    const go = (step) => links[fields.indexOf(field) + step]?.firstChild.click();
    take({ ",": ["the field before", () => go(-1)], ".": ["the next field", () => go(1)] });
  }

  addressOf({ field }, ...rest) {
    return api("plates", this.plate, "fields", field, ...rest);
  }

  async showField(isCurrent, well, field) {
    if (!this.picture) await this.build(isCurrent, field);
    if (!isCurrent()) return;
    this.field = field;
    const pixelsOf = (name) => this.addressOf(field, "pixels", name);
    const missing = (field.Image_Channels_Missing ?? "").split(";").filter(Boolean);
    const [found] = await Promise.all([
      ask(this.addressOf(field, "nuclei")),
      this.channels.read(pixelsOf, { anew: true, missing }),
    ]);
    if (!isCurrent()) return;
    this.width = Number(field.Image_Width) || this.channels.planes.values().next().value.width;
    this.height = Number(field.Image_Height) || this.channels.planes.values().next().value.height;
    this.load = async () => {
      await this.channels.read(pixelsOf, { missing }).catch(() => {});
      this.channels.paint(this.picture.pixels);
    };
    this.channels.paint(this.picture.pixels);
    this.picture.open(this.width, this.height);
    this.picture.showNuclei(found);
    this.picture.viewer.canvas.setAttribute("aria-label", `Well ${well}, ${nameOf(field)}: arrow keys move, + and - zoom, 0 shows all`);
    this.takeKeys();
    await this.tuning.showField(field, found);
  }

  /** Build the image, the controls of its channels and the panel for tuning. */
  async build(isCurrent, field) {
    const contrast = await ask(api("plates", this.plate, "contrast"));
    const [{ name }] = this.facts.channels;
    if (!contrast[name]) {
      await readPixels(this.addressOf(field, "pixels", name)); // says why
      throw new Error("no field of a sample of the plate can be read");
    }
    if (!isCurrent() || this.picture) return;
    this.channels = new Channels({
      scope: `contrast of plate ${this.plate}`,
      channels: this.facts.channels,
      contrast,
      draw: () => requestAnimationFrame(() => this.picture && this.channels.paint(this.picture.pixels)),
      load: () => this.load?.(),
    });
    const tune = button("Tune nuclei", "Try other settings for nuclei on this field (t)", () => this.tuning.toggle());
    const fit = button("this field", "Contrast by this field alone; auto is by a sample of all fields (s)", () => this.channels.fit());
    this.channels.element.append(fit);
    this.stage.replaceChildren();
    this.picture = new Picture(this.stage, {
      label: "field",
      tools: [tune],
      valuesAt: (column, row) => this.channels.valuesAt(column, row, this.width),
    });
    this.stage.querySelector(".tools").after(this.channels.element);
    this.tuning = new TuningPanel({
      plate: this.plate,
      facts: this.facts,
      contrast: contrast[name],
      opener: tune,
      home: this.element,
      showNuclei: (found) => this.picture.showNuclei(found),
    });
  }

  takeKeys() {
    const channels = this.facts.channels.slice(0, 9).map(({ name }, index) => [
      String(index + 1),
      [`show or hide ${name}`, () => this.channels?.toggle(name)],
    ]);
    take({
      ...Object.fromEntries(channels),
      a: ["contrast by all fields", () => this.channels?.auto()],
      s: ["contrast by this field", () => this.channels?.fit()],
      p: ["values of the pixel in the middle of the image", () => this.picture?.pointToMiddle()],
      t: ["tune nuclei", () => this.tuning?.toggle()],
    });
  }

  /** Take the image away, and show an element in its place. */
  clear(...children) {
    this.destroy();
    this.stage.replaceChildren(...children);
  }

  destroy() {
    this.tuning?.close();
    this.picture?.destroy();
    this.picture = this.channels = this.tuning = null;
  }
}
