// The takes of the strip, one after another, as large as the window. It opens from whatever has data-full (the id of a
// take). Only then, and only for the take that is looked at, is the picture itself fetched; before it comes, its thumbnail
// stands there. Every step looks the take up in the page anew, so the page may change underneath.

const box = document.getElementById("lightbox");
const image = box.querySelector("img");
const SWIPE = 48; // pixels
let at = ""; // the id of the take
let before = 0; // its place in the strip
let opener = ""; // the id of what opened it
let touched = null;

function takes() {
  return [...document.querySelectorAll("#strip > .take[data-picture]")];
}

function place(all = takes()) {
  return all.findIndex((take) => take.dataset.take === at);
}

function show(take) {
  const all = takes();
  at = take.dataset.take;
  before = place(all);
  const { number, picture } = take.dataset;
  const small = take.querySelector("img");
  image.alt = small.alt;
  for (const name of ["width", "height"]) image.setAttribute(name, small.getAttribute(name));
  image.src = small.src;
  const whole = new Image();
  whole.src = picture;
  whole.decode().then(() => { if (at === take.dataset.take) image.src = picture; }, () => {});
  box.querySelector("[data-name]").textContent = box.dataset.caption.replace("{n}", number);
  box.querySelector("[data-where]").textContent = box.dataset.place.replace("{i}", place(all) + 1).replace("{all}", all.length);
  box.querySelector("[data-download]").href = `${picture}?download=1`;
  for (const button of box.querySelectorAll("[data-go]")) {
    button.setAttribute("aria-disabled", !all[place(all) + Number(button.dataset.go)]); // it keeps the focus, unlike a disabled one
  }
  marks(take);
}

function marks(take) {
  for (const button of box.querySelectorAll("[data-press]")) {
    const pressed = pressable(take, button)?.getAttribute("aria-pressed");
    button.disabled = !pressed;
    button.setAttribute("aria-pressed", pressed ?? "false");
  }
  box.querySelector("[data-chosen]").hidden = !take.classList.contains("chosen");
}

function pressable(take, button) {
  return take.querySelector(`[data-key="${button.dataset.press}"]`);
}

function go(step) {
  const all = takes();
  const next = all[place(all) + step];
  if (next) show(next);
}

function press(key) {
  const take = takes()[place()];
  const button = box.querySelector(`[data-press="${key}"]`);
  if (take && button && !button.disabled) pressable(take, button).click();
}

// Where focus was, it is again; and the page shows the take that was looked at last.
box.addEventListener("close", () => {
  const link = document.getElementById(`see-${at}`);
  if (link && !link.hasAttribute("aria-current")) link.click();
  const was = document.getElementById(opener);
  (was?.closest("#strip") ? link : was ?? link)?.focus({ preventScroll: true });
  image.removeAttribute("src");
  at = "";
});

document.addEventListener("click", (event) => {
  const from = event.target.closest?.("[data-full]");
  const take = from && takes().find((one) => one.dataset.take === from.dataset.full);
  if (!take || event.ctrlKey || event.metaKey || event.shiftKey) return; // then the link leads to the picture
  event.preventDefault();
  opener = from.id;
  show(take);
  box.showModal();
});

box.addEventListener("click", (event) => {
  const { go: step, press: key } = event.target.closest("button")?.dataset ?? {};
  if (step) go(Number(step));
  else if (key) press(key);
  else if (event.target.closest("[data-shut]") || event.target.matches(".picture, dialog")) box.close();
});

// While it is open the keys are its own: the page does not hear them.
addEventListener("keydown", (event) => {
  if (!box.open) return;
  event.stopPropagation();
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (key === "arrowleft" || key === "arrowright") go(key === "arrowleft" ? -1 : 1);
  else if (key === "c" || key === "s") press(key);
  else return;
  event.preventDefault();
}, { capture: true });

box.addEventListener("touchstart", (event) => {
  touched = event.touches.length === 1 ? event.touches[0] : null;
}, { passive: true });
box.addEventListener("touchend", (event) => {
  if (!touched || visualViewport.scale > 1) return;
  const [x, y] = [event.changedTouches[0].clientX - touched.clientX, event.changedTouches[0].clientY - touched.clientY];
  touched = null;
  if (Math.abs(x) > SWIPE && Math.abs(x) > 2 * Math.abs(y)) go(x < 0 ? 1 : -1);
});

document.addEventListener("htmx:afterSettle", () => {
  if (!box.open) return;
  const all = takes();
  const take = all[place(all)] ?? all[Math.min(before, all.length - 1)];
  if (!take) box.close();
  else if (take.dataset.take === at) marks(take);
  else show(take);
});
