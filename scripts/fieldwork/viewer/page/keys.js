// Keys of the whole page: what is on it says which keys it takes, and the dialog lists them.

import { make } from "./tools.js";

const FIXED = [
  ["Tab", "from part to part; in the plate, arrow keys go from well to well, Enter opens"],
  ["arrow keys, + − 0", "in an image: move, zoom, show all"],
  ["?", "this list"],
];

let taken = new Map(); // key -> [what it does, function]

/** Take keys until the page changes: key -> [what it does, function]. */
export function take(keys) {
  for (const [key, what] of Object.entries(keys)) taken.set(key, what);
}

/** Forget the keys of the last page. */
export function release() {
  taken = new Map();
}

function isTyping({ target, altKey, ctrlKey, metaKey }) {
  const writes = target.matches?.("input:not([type=checkbox]):not([type=radio]), select, textarea");
  return altKey || ctrlKey || metaKey || writes || document.querySelector("dialog[open]");
}

/** Listen to the keyboard, and to the button of the list. */
export function listen() {
  document.addEventListener("keydown", (event) => {
    if (isTyping(event)) return;
    if (event.key === "?") showList();
    else if (taken.has(event.key)) taken.get(event.key)[1]();
    else return;
    event.preventDefault();
  });
  document.getElementById("help").addEventListener("click", showList);
}

function showList() {
  const rows = [...[...taken].map(([key, [what]]) => [key, what]), ...FIXED];
  const close = make("button", { type: "button" }, "Close");
  const dialog = make(
    "dialog",
    { "aria-label": "Keys" },
    make("h2", {}, "Keys"),
    make("dl", { class: "keys" }, ...rows.flatMap(([key, what]) => [make("dt", {}, make("kbd", {}, key)), make("dd", {}, what)])),
    close,
  );
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
}
