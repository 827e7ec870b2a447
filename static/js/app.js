// What the pages add when script runs: toasts that leave by themselves, menus that close, forms that a double click sends
// once, focus kept over htmx swaps, and words when the network fails. Every page works without this file.

const STAY_MS = 6000;
const STAY_WITH_UNDO_MS = 20_000;

// Toasts: a message leaves after a while, but not while somebody points at it or is in it; errors stay, and what is busy.
const toasts = document.getElementById("toasts");
const waiting = new WeakMap();

function letGo(toast) {
  if (toast.matches(".error, .busy")) return;
  hold(toast);
  waiting.set(toast, setTimeout(() => dismiss(toast), toast.querySelector(".undo") ? STAY_WITH_UNDO_MS : STAY_MS));
}

function hold(toast) {
  clearTimeout(waiting.get(toast));
}

function dismiss(toast) {
  toast.classList.add("leaving");
  setTimeout(() => toast.remove(), 260);
}

function toastOf(event) {
  return event.target instanceof Element ? event.target.closest(".toast") : null;
}

for (const [name, act] of [["pointerover", hold], ["focusin", hold], ["pointerout", letGo], ["focusout", letGo]]) {
  toasts.addEventListener(name, (event) => {
    const toast = toastOf(event);
    if (toast && !toast.contains(event.relatedTarget)) act(toast);
  });
}
toasts.addEventListener("click", (event) => {
  if (event.target.closest("[data-close]")) dismiss(toastOf(event));
});
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    if (node instanceof Element && node.matches(".toast")) letGo(node);
  }
}).observe(toasts, { childList: true });
for (const toast of toasts.children) letGo(toast);

function say(words) {
  const template = document.getElementById("error-toast").content.firstElementChild;
  if ([...toasts.children].some((toast) => toast.textContent.includes(words))) return;
  const toast = template.cloneNode(true);
  toast.querySelector("p").textContent = words;
  toasts.append(toast);
}

// Menus (details.menu): closed by Escape and by a click elsewhere; one open at a time.
function closeMenus(except) {
  for (const menu of document.querySelectorAll("details.menu[open]")) {
    if (menu !== except) menu.open = false;
  }
}
document.addEventListener("click", (event) => closeMenus(event.target.closest("details.menu")));
document.addEventListener("htmx:beforeRequest", (event) => {
  const menu = event.target.closest("details.menu[open]");
  if (!menu) return;
  if (menu.contains(document.activeElement)) menu.querySelector("summary").focus();
  menu.open = false; // what was chosen is under way
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const menu = event.target.closest?.("details.menu[open]");
  closeMenus();
  menu?.querySelector("summary").focus();
});

// A double click sends a form once. Its button is not disabled for that: a disabled one would not be sent along, and a
// form that is answered with a file stays on the page and may be sent again. What htmx sends it has prevented before.
const AGAIN_MS = 2_000;
let sent = new WeakSet();
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (event.defaultPrevented || form.method !== "post") return;
  if (sent.has(form)) return event.preventDefault();
  sent.add(form);
  setTimeout(() => sent.delete(form), AGAIN_MS);
});
addEventListener("pageshow", (event) => {
  if (event.persisted) sent = new WeakSet(); // "back" brings the page as it was left
});

// Over a swap: what stood open stays open; and when the swapped part held the focus and the same control is not there
// any more, the focus goes to the nearest of the things around it that is, instead of to the top of the page. In a part
// that nobody here asked for (live.js fetched it), what was typed or ticked stays, too.
const before = new WeakMap(); // by swap: the next one may begin before the last one has settled
let around = []; // the focus, from inside out; a swap that comes before it is given back leaves it as it was
document.addEventListener("htmx:beforeSwap", ({ detail: { shouldSwap, target, xhr } }) => {
  before.set(xhr, opened(target));
  if (shouldSwap) remember(target);
});
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const fields = [...detail.target.querySelectorAll("input[id], textarea[id], select[id]")].filter(isTouched);
  before.set(detail, { fields, open: opened(detail.target) });
  remember(detail.target);
});
function remember(target) {
  const focus = document.activeElement;
  if (!target.contains(focus)) return;
  around = [];
  for (let at = focus; target.contains(at); at = at.parentElement) if (at.id) around.push(at);
}
function opened(target) {
  return [...target.querySelectorAll("details[open][id]")];
}
function isTouched(field) {
  if (field.type === "hidden") return false;
  if (field.type === "checkbox" || field.type === "radio") return field.checked !== field.defaultChecked;
  if (field.type === "select-one") return !field.selectedOptions[0]?.defaultSelected;
  return field.value !== (field.defaultValue ?? "");
}
function now(old) {
  const found = document.getElementById(old.id);
  return found?.tagName === old.tagName ? found : null; // a place that has become a button could spend
}
function openAgain(details) {
  for (const found of details.splice(0).map(now)) if (found) found.open = true;
}
function fill(old) {
  const field = now(old);
  if (!field || field === old) return;
  if (field.type === "file") field.files = old.files;
  else if (field.type === "checkbox" || field.type === "radio") field.checked = old.checked;
  else field.value = old.value;
}
document.addEventListener("htmx:oobAfterSwap", ({ detail }) => {
  const { fields, open } = before.get(detail);
  openAgain(open);
  fields.splice(0).forEach(fill);
});
document.addEventListener("htmx:afterSwap", ({ detail: { xhr } }) => openAgain(before.get(xhr)));
document.addEventListener("htmx:afterSettle", () => {
  for (const part of around.splice(0).map(now)) {
    if (document.activeElement && document.activeElement !== document.body) return;
    part?.focus({ preventScroll: true });
    if (part && document.activeElement !== part) part.querySelector("a[href], button:not(:disabled)")?.focus({ preventScroll: true });
  }
});

// The scenes are drawn anew, found or in another order, while a click on one of them is under way: its answer needs the
// card that it was clicked on, so they are asked for again in a moment.
document.addEventListener("htmx:beforeSwap", ({ detail }) => {
  if (detail.target.id !== "found" || !detail.target.querySelector(".htmx-request, [data-held]")) return;
  detail.shouldSwap = false;
  const { elt } = detail.requestConfig;
  setTimeout(() => htmx.trigger(elt, elt === detail.target ? "scenes-moved" : "submit"), 100);
});

// Signed out meanwhile: the answer is the sign-in page, which belongs into the window and not into a card.
document.addEventListener("htmx:beforeSwap", (event) => {
  const { login } = document.body.dataset;
  const answered = event.detail.xhr.responseURL && new URL(event.detail.xhr.responseURL).pathname;
  if (answered !== login) return;
  event.detail.shouldSwap = false;
  location.assign(`${login}?next=${encodeURIComponent(location.pathname + location.search)}`);
});

// The network, or the site, failed. A card that asks by itself keeps asking, so only a click is answered aloud.
const words = document.getElementById("error-toast").dataset;
function wasAsked(event) {
  return event.detail.requestConfig.triggeringEvent?.isTrusted ?? false;
}
document.addEventListener("htmx:sendError", (event) => wasAsked(event) && say(words.offline));
document.addEventListener("htmx:timeout", (event) => wasAsked(event) && say(words.offline));
document.addEventListener("htmx:responseError", (event) => {
  if (!wasAsked(event)) return;
  const { status } = event.detail.xhr;
  say(status === 403 ? words.forbidden : status === 404 ? words.gone : status === 429 ? words.often : words.failed);
});

// A secret that is shown once can be copied.
for (const button of document.querySelectorAll("[data-copy]")) {
  if (!navigator.clipboard) break;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
    button.querySelector("span").textContent = words.copied;
  });
}
