// The page: a list of the results, and one of them. The address after # names it:
// #/plates/{plate}/{well}/{row of fields.csv}, #/slides/{slide}, #/stacks/{stack}/{frame}, #/screen/{entry}.
// ../server.py sends its content.

import { listen, release } from "./keys.js";
import { leavePlate, showPlate } from "./plates.js";
import { leaveSlide, showSlide } from "./slides.js";
import { leaveStack, showStack } from "./stacks.js";
import { api, ask, count, make, nuclei, pages, path, tables, titleOf } from "./tools.js";

const COMPARED = "what came out"; // the entry of the page that compares plates
const PAGES = { plates: showPlate, slides: showSlide, stacks: showStack, screen: showScreen };
const LEAVE = { plates: leavePlate, slides: leaveSlide, stacks: leaveStack };

let listed = null; // the contents that the list shows
let page = null; // kind and name of what is shown
let turn = 0; // counts requests for a page; an answer to an earlier one comes too late

function plateSummary({ wells, nuclei: found, fields, failed }) {
  const failures = failed ? [`${failed} of ${count(fields, "field")} failed`] : [];
  return [count(wells, "well"), nuclei(found), ...failures].join(", ");
}

/** Fill the list; return kind and name of its first entry. */
async function showContents() {
  const contents = await ask(api("contents"));
  const { folder, plates, slides, stacks, screen } = contents;
  const compared = screen.summary || screen.report || screen.pictures.length ? [{ name: COMPARED }] : [];
  document.getElementById("folder").textContent = folder;
  const lists = [
    ["Plates", "plates", plates, plateSummary],
    ["Slides", "slides", slides, (one) => (one.status === "ok" ? "" : one.status)],
    ["Stacks", "stacks", stacks, () => ""],
    ["Together", "screen", compared, () => ""],
  ];
  const found = lists.filter(([, , items]) => items.length);
  const first = found.length ? [found[0][1], found[0][2][0].name] : [];
  if (JSON.stringify(contents) === listed) return first; // the list keeps the keyboard's focus
  listed = JSON.stringify(contents);
  const entries = ([title, kind, items, remark]) => [
    make("h2", {}, title),
    make("ul", {}, ...items.map((one) =>
      make("li", {}, make("a", { href: `#/${path(kind, one.name)}` }, one.name, make("small", {}, remark(one)))),
    )),
  ];
  const list = document.getElementById("contents");
  list.replaceChildren(...found.map((kind) => make("section", {}, ...entries(kind))));
  if (!found.length) list.textContent = "No plate, slide or stack is finished yet.";
  return first;
}

async function showScreen(main, isCurrent) {
  const { screen } = await ask(api("contents"));
  if (!isCurrent()) return;
  main.replaceChildren(make("h2", {}, "What came out"), pages(screen));
  if (screen.tables.length) main.append(tables("screen", null, screen.tables));
  for (const name of screen.pictures) {
    const source = `results/${path("screen", "plots", name)}`;
    main.append(
      make("h3", {}, titleOf(name)),
      make("a", { href: source, target: "_blank" }, make("img", { src: source, alt: name, class: "picture" })),
    );
  }
}

async function show() {
  const mine = ++turn;
  const isCurrent = () => mine === turn;
  const main = document.getElementById("main");
  try {
    const first = await showContents();
    if (!isCurrent()) return;
    const asked = location.hash.slice(2).split("/").filter(Boolean).map(decodeURIComponent);
    const [kind, name, ...rest] = asked.length ? asked : first;
    for (const link of document.querySelectorAll("#contents a")) {
      if (kind && link.hash === `#/${path(kind, name)}`) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    leaveOthers(kind);
    if (page !== (page = JSON.stringify([kind, name]))) release();
    if (PAGES[kind]) await PAGES[kind](main, isCurrent, name, ...rest);
    else main.replaceChildren();
    document.title = name ? `${name} - Fieldwork` : "Fieldwork";
  } catch (error) {
    if (!isCurrent()) return;
    leaveOthers(null);
    main.replaceChildren(make("p", { class: "error" }, error.message));
  }
}

/** End what other kinds of pages hold. */
function leaveOthers(kind) {
  for (const [other, leave] of Object.entries(LEAVE)) if (other !== kind) leave();
}

listen();
window.addEventListener("hashchange", show);
show();
