// The strip of takes on the page of a scene or character. A click on one shows it large: the page's address says which, the
// strip marks it at once, and the part that shows it is fetched. The strip stays where it was scrolled to.

const TRIES = 3;
const scrolled = new Map(); // by the strip's id
let isAsking = false;

// The take that the address names, if the strip has it.
function wanted() {
  const named = new URL(location).searchParams.get("take");
  return named && document.getElementById(`see-${named}`) ? named : "";
}

function seen() {
  return document.getElementById("viewer")?.dataset.take ?? "";
}

function isBehind() {
  return wanted() !== "" && wanted() !== seen();
}

function mark() {
  const now = wanted() || seen();
  for (const take of document.querySelectorAll("#strip > .take")) {
    const link = take.querySelector("a.frame");
    if (take.dataset.take === now) link.setAttribute("aria-current", "true");
    else link.removeAttribute("aria-current");
  }
}

// The address has the last word: answers may cross, and one that was asked for before a click may come after it.
async function catchUp(event) {
  if (isAsking) return;
  isAsking = true;
  for (let tries = 0, last = ""; isBehind() && tries < TRIES; last = wanted()) {
    tries = wanted() === last ? tries + 1 : 0;
    await htmx.ajax("GET", location.href, { source: document.body, target: "#viewer", swap: "outerHTML", event }).catch(() => {});
  }
  isAsking = false;
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("#strip a[data-look]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  history.replaceState(history.state, "", link.href);
  mark();
  catchUp(event);
});

function bringIntoSight() {
  const strip = document.getElementById("strip");
  const take = strip?.querySelector("[aria-current]")?.closest(".take");
  if (!take) return;
  const [left, right] = [take.offsetLeft - strip.offsetLeft, take.offsetLeft - strip.offsetLeft + take.offsetWidth];
  if (left < strip.scrollLeft || right > strip.scrollLeft + strip.clientWidth) {
    strip.scrollLeft = left - (strip.clientWidth - take.offsetWidth) / 2;
  }
}

for (const swap of ["htmx:beforeSwap", "htmx:oobBeforeSwap"]) {
  document.addEventListener(swap, ({ detail: { target } }) => {
    for (const strip of target.querySelectorAll(".reel[id]")) scrolled.set(strip.id, strip.scrollLeft);
  });
}
document.addEventListener("htmx:afterSwap", () => {
  for (const [id, left] of scrolled) document.getElementById(id)?.scrollTo({ left, behavior: "instant" });
  scrolled.clear();
  mark();
});
document.addEventListener("htmx:afterSettle", () => catchUp());
bringIntoSight();
