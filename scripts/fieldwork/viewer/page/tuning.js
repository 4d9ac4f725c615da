// The panel that tries other settings for nuclei on the field shown: outlines and count at once, and the lines to paste.

import { api, ask, button, checkbox, make, nuclei } from "./tools.js";

const SLIDER_STEPS = 1000;
const PAUSE_MS = 120; // of typing or dragging, before nuclei are looked for
const METHODS = {
  auto: ["outlines (auto)", ["diameter", "contrast"]],
  classical: ["outlines (classical)", ["diameter", "contrast"]],
  network: ["outlines (network)", ["diameter", "contrast"]],
  peaks: ["peaks", ["sigma", "min_distance", "threshold"]],
};
const SETTINGS = {
  diameter: { text: "Diameter of a nucleus", unit: "px", least: 3, most: 400, measured: true },
  contrast: { text: "Its brightness above the ground", unit: "", measured: true },
  sigma: { text: "Blur (sigma)", unit: "px", least: 0.5, most: 50, usual: 4 },
  min_distance: { text: "Least distance", unit: "px", least: 1, most: 100, usual: 6, whole: true },
  threshold: { text: "Threshold, of the blurred image", unit: "", usual: 1000 },
};

/** Write a number without an exponent, which YAML takes for text. */
const plain = (value) => (/e/.test(value) ? value.toFixed(12).replace(/0+$/, "") : String(value));

/** Round to three digits. */
const three = (value) => Number(Number(value).toPrecision(3));

export class TuningPanel {
  constructor({ plate, facts, contrast, opener, home, showNuclei }) {
    Object.assign(this, { plate, facts, opener, home, showNuclei, field: null, runs: null, tuned: null, timer: null });
    this.brightest = contrast.most;
    this.method = this.runsMethod;
    this.settings = new Map(Object.keys(SETTINGS).map((name) => [name, this.settingOf(name)]));
    this.element = make("section", { class: "tuning", "aria-label": "Tuning", hidden: "" });
    this.element.append(...this.parts());
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    home.before(this.element);
  }

  get isOpen() {
    return !this.element.hidden;
  }

  /** Return the method of the run, or auto where it is not run here. */
  get runsMethod() {
    const { method } = this.facts.nuclei;
    return METHODS[method] ? method : "auto";
  }

  /** Return a setting's value as the run had it, or one that suits the plate's typical nucleus. */
  knownOf(name) {
    const { diameter, contrast, background } = this.facts.typical;
    const suiting = {
      diameter: diameter ?? 20,
      contrast: contrast ?? this.brightest / 4,
      sigma: diameter && Number((diameter / 4).toPrecision(2)), // half the radius
      min_distance: diameter && Math.max(1, Math.round(diameter / 3)),
      threshold: contrast && three(background + contrast / 2),
    };
    return Number(this.facts.nuclei[name]) || suiting[name] || SETTINGS[name].usual;
  }

  /** Return a setting with its controls. */
  settingOf(name) {
    const { measured, text, unit, whole } = SETTINGS[name];
    const written = this.facts.nuclei[name];
    const known = this.knownOf(name);
    const highest = SETTINGS[name].most ?? Math.max(this.brightest, known); // of intensities, the plate's
    const least = SETTINGS[name].least ?? (highest > 10 ? 1 : highest / 1e4);
    const setting = { name, whole, value: known, automatic: Boolean(measured) && !Number(written) };
    const logarithm = Math.log(highest / least);
    setting.slider = make("input", { type: "range", min: 0, max: SLIDER_STEPS, "aria-label": `${text}, as a slider` });
    setting.number = make("input", { type: "number", min: 0, step: whole ? 1 : "any", "aria-label": text });
    setting.slider.addEventListener("input", () => {
      const value = three(least * Math.exp((setting.slider.valueAsNumber / SLIDER_STEPS) * logarithm));
      this.set(setting, whole ? Math.round(value) : value);
    });
    setting.number.addEventListener("input", () => setting.number.valueAsNumber > 0 && this.set(setting, setting.number.valueAsNumber));
    setting.update = () => {
      setting.slider.value = Math.round((SLIDER_STEPS * Math.log(Math.max(setting.value, least) / least)) / logarithm);
      if (document.activeElement !== setting.number) setting.number.value = setting.value;
      setting.row.classList.toggle("automatic", setting.automatic);
      if (setting.box) setting.box.checked = setting.automatic;
    };
    const [label, box] = measured
      ? checkbox(`measured on the plate`, "auto: measured on a sample of the plate's fields", setting.automatic, (checked) => {
          setting.automatic = checked;
          if (checked) setting.value = this.facts.typical[name] ?? setting.value;
          this.changed();
        })
      : [];
    setting.box = box;
    setting.row = make("div", { class: "setting" }, make("span", {}, text), setting.slider, setting.number, unit, ...(label ? [label] : []));
    return setting;
  }

  /** Create what the panel shows. */
  parts() {
    const run = this.runsMethod;
    const offered = [run === "peaks" ? "auto" : run, "peaks"];
    const methods = offered.map((name) => {
      const [text] = METHODS[name];
      const radio = make("input", { type: "radio", name: "method", value: name, checked: name === this.method ? "" : null });
      radio.addEventListener("change", () => {
        this.method = name;
        this.changed();
      });
      return make("label", {}, radio, ` ${text}`);
    });
    this.outcome = make("p", { class: "outcome", role: "status" });
    this.typical = make("p", { class: "hint" });
    const [compare, box] = checkbox("show the run's outlines", "Compare with what the run found", false, () => this.draw());
    this.compare = box;
    this.texts = [make("pre", { tabindex: 0 }), make("pre", { tabindex: 0 })];
    const copyable = (title, text) => {
      const copy = button("Copy", `Copy: ${title}`, async () => {
        await navigator.clipboard.writeText(text.textContent);
        copy.textContent = "Copied";
        setTimeout(() => (copy.textContent = "Copy"), 1500);
      });
      return make("div", { class: "lines" }, make("h4", {}, title, copy), text);
    };
    const own = METHODS[this.facts.nuclei.method] || !this.facts.nuclei.method ? [] : [
      make("p", { class: "hint" }, `This plate's nuclei were found by ${this.facts.nuclei.method}, which is not run here.`),
    ];
    return [
      make("div", { class: "head" }, make("h3", {}, "Tune nuclei"), button("Close", "Back to the plate (t)", () => this.close())),
      make("p", { class: "hint" }, "On this field, as a run with these settings would find them. Nothing is written."),
      ...own,
      make("div", { class: "methods", role: "radiogroup", "aria-label": "Method" }, ...methods),
      ...[...this.settings.values()].map(({ row }) => row),
      this.outcome,
      this.typical,
      make("p", {}, compare, " ", button("Reset", "The run's settings", () => this.reset())),
      copyable("For all plates: config.yaml", this.texts[0]),
      copyable(`For this plate alone: columns of plates.tsv`, this.texts[1]),
    ];
  }

  set(setting, value) {
    setting.value = value;
    setting.automatic = false;
    this.changed();
  }

  /** Take the run's settings. */
  reset() {
    this.method = this.runsMethod;
    this.element.querySelector(`input[value=${this.method}]`).checked = true;
    for (const [name, setting] of this.settings) {
      setting.automatic = Boolean(SETTINGS[name].measured) && !Number(this.facts.nuclei[name]);
      setting.value = this.knownOf(name);
    }
    this.changed();
  }

  /** Return the settings of the method, as configuration and sheet write them. */
  get values() {
    const names = METHODS[this.method][1].map((name) => this.settings.get(name));
    return { method: this.method, ...Object.fromEntries(names.map(({ name, automatic, value }) => [name, automatic ? "auto" : plain(value)])) };
  }

  /** Write the settings, and look for nuclei after a pause. */
  changed() {
    const names = METHODS[this.method][1];
    for (const [name, setting] of this.settings) {
      setting.row.hidden = !names.includes(name);
      setting.update();
    }
    const entries = Object.entries(this.values);
    this.texts[0].textContent = ["nuclei:", ...entries.map(([name, value]) => `  ${name}: ${value}`)].join("\n");
    this.texts[1].textContent = [entries.map(([name]) => name), entries.map(([, value]) => value)].map((row) => row.join("\t")).join("\n");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.find(), PAUSE_MS);
  }

  /** Look for the nuclei with the settings as they are; one request at a time. */
  async find() {
    if (!this.isOpen || !this.field) return;
    if (this.finding) {
      this.again = true;
      return;
    }
    this.finding = true;
    this.outcome.textContent = "looking for nuclei ...";
    const { field } = this;
    const query = new URLSearchParams(this.values);
    try {
      const found = await ask(`${api("plates", this.plate, "fields", field.field, "tuning")}?${query}`);
      if (field === this.field && this.isOpen) this.tell(found);
    } catch (error) {
      if (field === this.field && this.isOpen) {
        this.tuned = null;
        this.outcome.textContent = error.message;
        this.draw(); // not what other settings found
      }
    }
    this.finding = false;
    if (this.again) {
      this.again = false;
      await this.find();
    }
  }

  tell(found) {
    this.tuned = found;
    const before = Number(this.field.Image_Count_Nuclei);
    const difference = found.count === before ? "as many as the run" : `the run has ${before}`;
    this.outcome.textContent = found.error ? `The field would fail: ${found.error}` : `${nuclei(found.count)}; ${difference}`;
    const known = found.diameter && found.contrast;
    const typical = known ? `Typical nucleus: ${found.diameter} px, ${found.contrast} above the ground. ` : "";
    this.typical.textContent = found.threshold === null ? typical : `${typical}Threshold of this field: ${three(found.threshold)}.`;
    for (const name of ["diameter", "contrast"]) {
      const setting = this.settings.get(name);
      if (setting.automatic && found[name]) setting.value = found[name];
      setting.update();
    }
    this.draw();
  }

  /** Draw the nuclei found with these settings, or those of the run. */
  draw() {
    this.showNuclei(this.tuned && this.isOpen && !this.compare.checked ? this.tuned : this.runs);
  }

  /** Show another field. */
  async showField(field, found) {
    Object.assign(this, { field, runs: found, tuned: null });
    if (this.isOpen) await this.find();
  }

  toggle() {
    if (this.isOpen) this.close();
    else this.open();
  }

  open() {
    this.element.hidden = false;
    this.home.parentElement.classList.add("tuned");
    this.opener.setAttribute("aria-pressed", "true");
    this.changed();
    this.element.querySelector("input[name=method]:checked").focus();
  }

  close() {
    if (!this.isOpen) return;
    this.element.hidden = true;
    this.home.parentElement.classList.remove("tuned");
    this.opener.setAttribute("aria-pressed", "false");
    this.draw();
    this.opener.focus();
  }
}
