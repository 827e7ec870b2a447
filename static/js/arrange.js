// Scenes are put in order by dragging: with the mouse anywhere on the picture, with a finger or pen by the grip. A line shows
// where the scene will stand; the server moves it, then it stands there. Escape lets go. Without this file a scene is
// moved by its menu.

const FAR = 6; // pixels that make a press a drag
const EDGE = 90; // pixels from the window's edge, where the page begins to scroll
const stood = new WeakMap(); // where a card stood before it was moved
let drag = null;

document.addEventListener("pointerdown", (event) => {
  if (event.button !== 0 || drag || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
  const by = event.target.closest(".board > .scene .grip") ?? (event.pointerType === "mouse" && event.target.closest(".board > .scene > .frame"));
  const card = by && by.closest(".scene");
  const grip = card?.querySelector(".grip");
  if (!grip) return;
  drag = { card, grip, list: card.parentElement, x: event.clientX, y: event.clientY, left: scrollX, top: scrollY, isOn: false, at: null };
  drag.pointer = event.pointerId;
  if (by === grip) event.preventDefault(); // no text is marked
});

document.addEventListener("dragstart", (event) => {
  if (event.target.closest?.(".board > .scene > .frame")) event.preventDefault(); // the browser's own, of a link or picture
});

document.addEventListener("pointermove", (event) => {
  if (!drag || event.pointerId !== drag.pointer) return;
  drag.now = { x: event.clientX, y: event.clientY };
  if (!drag.isOn && Math.hypot(drag.now.x - drag.x, drag.now.y - drag.y) < FAR) return;
  if (!drag.isOn) lift();
  follow();
});

document.addEventListener("pointerup", (event) => {
  if (event.pointerId !== drag?.pointer) return;
  if (drag.isOn) drop(event);
  drag = null;
});
document.addEventListener("pointercancel", letGo);
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && drag?.isOn) letGo();
});
document.addEventListener("click", (event) => {
  if (!justDropped) return; // the click that ends a drag opens nothing
  event.preventDefault();
  event.stopPropagation();
}, true);
let justDropped = false;

function lift() {
  drag.isOn = true;
  drag.list.classList.add("arranging");
  drag.list.dataset.held = ""; // nothing in it is swapped meanwhile
  drag.card.classList.add("lifted");
  drag.card.setPointerCapture(drag.pointer);
  scrollOn();
}

function follow() {
  const { card, now, x, y, left, top } = drag;
  card.style.translate = `${now.x - x + scrollX - left}px ${now.y - y + scrollY - top}px`;
  mark(placeUnder(now));
}

// The card that the pointer is nearest to, and on which side of it.
function placeUnder({ x, y }) {
  const under = document.elementsFromPoint(x, y).map((thing) => thing.closest(".board > .scene"));
  const other = under.find((scene) => scene && scene !== drag.card && scene.parentElement === drag.list);
  if (!other) return null;
  const { left, width } = other.getBoundingClientRect();
  return { other, side: x < left + width / 2 ? "before" : "after" };
}

function mark(place) {
  for (const marked of drag.list.querySelectorAll("[data-drop]")) delete marked.dataset.drop;
  if (place) place.other.dataset.drop = place.side;
  drag.at = place;
}

// Near the edge of the window the page goes on.
function scrollOn() {
  if (!drag?.isOn) return;
  const { y } = drag.now;
  const by = y < EDGE ? y - EDGE : Math.max(0, y - innerHeight + EDGE);
  if (by) {
    scrollBy(0, by / 6);
    follow();
  }
  requestAnimationFrame(scrollOn);
}

function putDown() {
  mark(null);
  drag.list.classList.remove("arranging");
  delete drag.list.dataset.held;
  drag.card.classList.remove("lifted");
  drag.card.style.translate = "";
  justDropped = true;
  setTimeout(() => (justDropped = false));
}

function letGo() {
  if (drag?.isOn) putDown();
  drag = null;
}

function drop(event) {
  const { card, grip, at } = drag;
  putDown();
  if (!at) return;
  const beside = at.side === "before" ? at.other.previousElementSibling : at.other.nextElementSibling;
  if (beside === card) return; // it stands there
  stood.set(card, { list: card.parentElement, next: card.nextElementSibling });
  at.other[at.side](card);
  const values = { where: at.side, other: at.other.querySelector(".grip").dataset.number, drawn: "yes" };
  htmx.ajax("POST", grip.dataset.move, { source: card, event, swap: "none", values }).catch(() => putBack(card));
}

// The move failed. Where the site is away, the scenes cannot be drawn anew either.
function putBack(card) {
  const { list, next } = stood.get(card) ?? {};
  if (list?.contains(card) && (!next || next.parentElement === list)) list.insertBefore(card, next);
  htmx.trigger(document.body, "scenes-moved");
}
document.addEventListener("htmx:responseError", ({ detail }) => {
  if (detail.pathInfo.requestPath.endsWith("/move/")) putBack(detail.elt);
});
