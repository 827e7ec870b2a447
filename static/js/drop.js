// Own pictures: dropped on a card or anywhere on the page of a scene or character, pasted there, or picked from a dialog.
// They are sent one after another to the address in data-upload, which is also the address of a page that works without
// this. What is wrong with one is said, and the others go on.

const MOST = 10;
const MOST_BYTES = 40_000_000;
const PICTURES = "image/png,image/jpeg,image/webp";
const template = document.getElementById("drop-words");
const words = template.dataset;
const failures = document.getElementById("error-toast").dataset;
const toasts = document.getElementById("toasts");
const queue = [];
let isBusy = false;
let over = null;

// Where files go: to the card under them, or to the one that the page is about.
function placeAt(element) {
  return element?.closest?.("[data-upload]") ?? document.querySelector(".live[data-upload]");
}

function nameOf(place) {
  return document.getElementById(`name-${place.id.split("-").pop()}`)?.textContent.trim() ?? "";
}

function isFiles(event) {
  return event.dataTransfer?.types.includes("Files");
}

function mark(place) {
  if (place === over) return;
  over?.classList.remove("dropping");
  over = place;
  if (!place) return;
  place.dataset.dropping = words.here.replace("{name}", nameOf(place));
  place.classList.add("dropping");
}

document.addEventListener("dragover", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault(); // a file that misses must not take the place of the page
  const place = placeAt(event.target);
  event.dataTransfer.dropEffect = place ? "copy" : "none";
  mark(place);
});
document.addEventListener("dragleave", (event) => {
  if (!event.relatedTarget) mark(null);
});
document.addEventListener("drop", (event) => {
  if (!isFiles(event)) return;
  event.preventDefault();
  const place = placeAt(event.target);
  mark(null);
  if (place) bring(place, event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  const place = document.querySelector(".live[data-upload]");
  if (!place || !event.clipboardData?.files.length || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  bring(place, event.clipboardData.files);
});
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-pick]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const input = Object.assign(document.createElement("input"), { type: "file", multiple: true, accept: PICTURES });
  input.addEventListener("change", () => bring(document.getElementById(link.dataset.pick), input.files));
  input.click();
});

function bring(place, files) {
  if (files.length > MOST) return complain(words.most);
  queue.push({ id: place.id, url: place.dataset.upload, files: [...files] });
  if (!isBusy) sendAll();
}

async function sendAll() {
  isBusy = true;
  while (queue.length) await sendBatch(queue.shift());
  isBusy = false;
}

async function sendBatch({ id, url, files }) {
  const toast = template.content.firstElementChild.cloneNode(true);
  toast.classList.add("busy");
  toast.querySelector("[data-close]").hidden = true;
  toasts.append(toast);
  const undoing = [];
  for (const [number, file] of files.entries()) {
    const rank = files.length > 1 ? ` · ${words.of.replace("{i}", number + 1).replace("{all}", files.length)}` : "";
    const { undo, refused } = await send(url, file, (share) => tell(toast, file, share, rank));
    if (undo) undoing.push(undo);
    else if (refused) complain(`${file.name}: ${refused}`);
    else break; // the page is being left
  }
  toast.remove();
  const card = document.getElementById(id);
  if (!undoing.length || !card) return;
  if (card.matches(".live")) showTheShown();
  htmx.trigger(card, "scene-changed");
  finish(toast, id, undoing);
}

// The address names the take that is seen large; without a name it is the one that is shown.
function showTheShown() {
  const address = new URL(location);
  address.searchParams.delete("take");
  history.replaceState(history.state, "", address);
}

function tell(toast, file, share, rank) {
  const saying = share < 1 ? words.sending : words.checking;
  toast.querySelector("p").textContent = saying.replace("{file}", file.name) + rank;
  const bar = toast.querySelector("progress");
  if (share < 1) bar.value = share;
  else bar.removeAttribute("value");
}

function finish(toast, id, undoing) {
  toast.classList.replace("busy", "success");
  toast.querySelector("p").textContent = undoing.length > 1 ? words.many.replace("{n}", undoing.length) : words.one;
  toast.querySelector("progress").remove();
  toast.querySelector("[data-close]").hidden = false;
  const button = toast.querySelector("[data-undo]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.disabled = true;
    let refused = null;
    while (undoing.length && refused === null) {
      refused = await takeBack(undoing.at(-1));
      if (refused === null) undoing.pop();
    }
    button.disabled = false; // what is left can be tried again
    if (refused === null) toast.remove();
    else if (refused) complain(refused);
    htmx.trigger(document.getElementById(id), "scene-changed");
  });
  toasts.append(toast);
}

// Null when it is done, or why it was refused.
async function takeBack(url) {
  try {
    const answer = await fetch(url, { method: "POST", headers: headers() });
    if (answer.ok && !answer.redirected) return null;
    return whyNot(await answer.json().catch(() => null), answer.status, answer.url);
  } catch {
    return failures.offline;
  }
}

// What htmx would send; but words are read here, not swapped in.
function headers() {
  return { ...JSON.parse(document.body.getAttribute("hx-headers")), "HX-Request": "true", Accept: "application/json" };
}

// Why not, from an answer that is not the one that was wanted: in its own words, or as app.js would say it. Nothing for
// whoever is signed out meanwhile: the sign-in page comes instead.
function whyNot(answer, status, url) {
  const { login } = document.body.dataset;
  if (url && new URL(url).pathname === login) {
    location.assign(`${login}?next=${encodeURIComponent(location.pathname + location.search)}`);
    return "";
  }
  if (answer?.refused) return answer.refused;
  return status === 403 ? failures.forbidden : status === 404 ? failures.gone : status === 429 ? failures.often : failures.failed;
}

// The answer to one file: how to undo it, or why it was refused.
function send(url, file, progress) {
  if (file.size > MOST_BYTES) return { refused: words.large };
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("picture", file);
    request.open("POST", url);
    request.responseType = "json";
    for (const [name, value] of Object.entries(headers())) request.setRequestHeader(name, value);
    request.upload.addEventListener("progress", (event) => progress(event.loaded / event.total));
    request.upload.addEventListener("load", () => progress(1));
    request.addEventListener("load", () => {
      const { response, status, responseURL } = request;
      resolve(response?.undo ? response : { refused: whyNot(response, status, responseURL) });
    });
    request.addEventListener("error", () => resolve({ refused: failures.offline }));
    progress(0);
    request.send(form);
  });
}

function complain(text) {
  const toast = document.getElementById("error-toast").content.firstElementChild.cloneNode(true);
  toast.querySelector("p").textContent = text;
  toasts.append(toast);
}
