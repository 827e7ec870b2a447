// Single keys. What a key does stands in the HTML: it presses whatever has it in its data-key, first inside the card or
// take that has the focus (data-keys), else on the page. Help lists the same keys, and only those work that it lists.
// Arrows go from card to card in a grid (data-grid). Single keys can be turned off, and rest while somebody types.

const help = document.getElementById("keys");
const setting = document.getElementById("single-keys");
const rows = [...help.querySelectorAll("[data-for]")].map((row) => ({ row, keys: row.dataset.for.split(" ") }));
const listed = new Set(rows.flatMap(({ keys }) => keys));
const TYPED = "textarea, select, [contenteditable], input:not([type=checkbox], [type=radio], [type=submit], [type=button])";
const STORED = "single-keys";

// Off, for whoever speaks to their computer or presses keys without wanting to
function isOff() {
  try {
    return localStorage.getItem(STORED) === "off";
  } catch {
    return false; // no storage, no choice to keep
  }
}
setting.checked = !isOff();
setting.addEventListener("change", () => {
  try {
    setting.checked ? localStorage.removeItem(STORED) : localStorage.setItem(STORED, "off");
  } catch {}
});

// Help
function open() {
  for (const { row, keys } of rows) row.hidden = !keys.some(isHere);
  help.showModal();
}

function isHere(key) {
  if (key === "?" || key === "Escape") return true;
  return Boolean(document.querySelector(key === "arrows" ? "[data-grid]" : `[data-key~="${key}"]`));
}

for (const button of document.querySelectorAll("[data-opens=keys]")) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const menu = button.closest("details");
    if (menu) menu.open = false;
    menu?.querySelector("summary").focus(); // where the focus comes back to
    open();
  });
}
help.addEventListener("click", (event) => {
  if (event.target === help) help.close(); // beside it
});

// Keys
document.addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.defaultPrevented || event.isComposing || event.ctrlKey || event.altKey || event.metaKey) return;
  if (target.closest?.("dialog[open]") || target.matches?.(TYPED)) return;
  if (key.startsWith("Arrow") || key === "Enter" ? event.shiftKey : isLetter(key) && event.shiftKey) return;
  if (key.length === 1 && isOff()) return;
  if (act(key.length === 1 ? key.toLowerCase() : key, event.repeat)) event.preventDefault();
});

function isLetter(key) {
  return key.length === 1 && key.toLowerCase() !== key.toUpperCase();
}

function act(key, isRepeated) {
  if (key === "?" && !isRepeated) return open() ?? true;
  if (!listed.has(key) && !key.startsWith("Arrow")) return false;
  const card = document.activeElement.closest("[data-grid] > [data-keys]");
  if (card && !inMenu() && go(card, key)) return true;
  if (isRepeated) return false;
  const found = listed.has(key) && wanted(key);
  if (found) return press(found);
  return ["j", "k"].includes(key) && enter();
}

function inMenu() {
  return Boolean(document.activeElement.closest("details[open] > :not(summary)"));
}

// The nearest thing with this key: in the card, in what is around the card, on the page.
function wanted(key) {
  const all = [...document.querySelectorAll(`[data-key~="${key}"]`)].filter(canBePressed);
  for (let at = document.activeElement; at; at = at.parentElement) {
    if (!at.matches("[data-keys]")) continue;
    const inside = all.find((thing) => thing.closest("[data-keys]") === at);
    if (inside) return inside;
  }
  return all.findLast((thing) => !thing.closest("[data-keys]")); // of several messages the newest
}

function canBePressed(thing) {
  if (thing.disabled || thing.ariaDisabled === "true" || thing.closest("[hidden]")) return false;
  return getComputedStyle(thing).pointerEvents !== "none"; // it is on its way, or has only just come to stand there
}

function press(thing) {
  if (thing.matches(TYPED)) {
    thing.focus();
    thing.select?.();
    return true;
  }
  const wasSeen = isSeen(thing);
  thing.focus();
  if (wasSeen || !thing.querySelector(".price")) thing.click(); // nobody pays a price that was out of sight
  return true;
}

function isSeen(thing) {
  const { top, bottom } = thing.getBoundingClientRect();
  return top >= 0 && bottom <= innerHeight && bottom > top;
}

// From card to card
function go(card, key) {
  const next = beside([...card.parentElement.querySelectorAll(":scope > [data-keys]")], card, key);
  if (next) focusOn(next);
  return Boolean(next);
}

function beside(cards, card, key) {
  const at = cards.indexOf(card);
  if (key === "ArrowLeft" || key === "k") return cards[at - 1];
  if (key === "ArrowRight" || key === "j") return cards[at + 1];
  if (key !== "ArrowUp" && key !== "ArrowDown") return undefined;
  const here = card.getBoundingClientRect();
  const ahead = key === "ArrowDown" ? cards.slice(at + 1) : cards.slice(0, at).reverse();
  const row = ahead.find((other) => Math.abs(other.getBoundingClientRect().top - here.top) > 1)?.getBoundingClientRect().top;
  const inRow = ahead.filter((other) => Math.abs(other.getBoundingClientRect().top - row) <= 1);
  const far = (other) => Math.abs(other.getBoundingClientRect().left - here.left);
  return inRow.sort((a, b) => far(a) - far(b))[0];
}

function enter() {
  const cards = [...document.querySelectorAll("[data-grid] > [data-keys]")];
  const first = cards.find((card) => card.getBoundingClientRect().top >= 0) ?? cards[0];
  if (first) focusOn(first);
  return Boolean(first);
}

function focusOn(card) {
  const link = card.querySelector("h3 a") ?? card.querySelector("a[href]:not([tabindex='-1']), button");
  link?.focus({ preventScroll: true });
  card.scrollIntoView({ block: "nearest" });
}
