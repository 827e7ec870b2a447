// Keeps an open page true. The page listens to one stream (data-stream of <body>) of the names of what has changed, and
// fetches from its own address those of its parts that are about such a name: each part has an id, the names in
// data-live, and a data-version. A part that the clock changes says data-again: in so many seconds it is fetched, too.
// What lies in something that says data-held (it is being dragged, say) waits until it is let go of.
// Where no stream is to be had, the page asks every few seconds. A page that nobody sees neither listens nor asks; when
// it is looked at again, the stream tells whether it has missed something.

const EVERYTHING = "*";
const LATER = "~"; // before the name of what may wait for a second
const MOST_PARTS = 100; // in one request: an address has an end
const FIRST_WORD_MS = 5_000; // without which it is no stream; a proxy may keep it to itself
const SILENCE_MS = 45_000; // a stream gives a sign of life every 20 s
const UNSEEN_MS = 5_000; // until a page that nobody sees stops listening: a browser has few connections
const LISTEN_AGAIN_MS = 30_000;
const ASK_MS = 3_000; // without a stream, while something is under way; else
const ASK_IDLE_MS = 15_000;
const CALM = 10; // times as long as a request took
const REST_MS = 150; // between two requests; longer where the site is busy and takes longer for one

const asker = document.getElementById("asker"); // its own: htmx puts off a second request of one element, and says at once that it is done
const address = new URL(document.body.dataset.stream, location);
const wanted = new Set(); // ids of parts
const shown = new Map(); // by id, the versions of the parts that are being asked for
const born = new WeakMap(); // when a part that says data-again was there first, or was looked at last
let stream = null;
let hasSpoken = false;
let heardAt = 0;
let listenAt = 0;
let askedAt = performance.now();
let took = 0; // the last request
let unseenAt = 0;
let isAsking = false;
let isOwn = false; // something was clicked here: what is said of it is asked for, too

// Hearing

function listen() {
  stream = new EventSource(address);
  hasSpoken = false;
  heardAt = performance.now();
  stream.onmessage = ({ data, lastEventId }) => {
    hasSpoken = true;
    heardAt = performance.now();
    address.searchParams.set("since", lastEventId);
    hear(data.split(" "));
  };
  stream.onerror = () => hangUp(hasSpoken ? 500 + 2_000 * Math.random() : LISTEN_AGAIN_MS);
}

function hangUp(again) {
  stream?.close();
  stream = null;
  hasSpoken = false;
  listenAt = performance.now() + again;
}

function hear(names) {
  let isUrgent = false;
  for (const part of document.querySelectorAll("[data-live]")) {
    const about = part.dataset.live.split(" ");
    const isNews = names.includes(EVERYTHING) || names.some((name) => about.includes(name));
    if (isNews || names.some((name) => name.startsWith(LATER) && about.includes(name.slice(1)))) wanted.add(part.id);
    isUrgent ||= isNews;
  }
  if (isUrgent) ask(); // else with whatever comes until the clock looks
}

// Asking

async function ask() {
  if (isAsking || document.hidden) return;
  const there = [...wanted].map((id) => document.getElementById(id));
  const parts = there.filter((part) => part && !part.closest("[data-held]")).slice(0, MOST_PARTS);
  if (!parts.length) return;
  isAsking = true;
  const now = performance.now();
  const here = new URL(location.href);
  here.hash = "";
  here.searchParams.set("fresh", parts.map((part) => `${part.id}:${part.dataset.version}`).join(","));
  for (const part of parts) {
    wanted.delete(part.id);
    shown.set(part.id, part.dataset.version);
    born.set(part, now);
  }
  if (isOwn) here.searchParams.set("own", "yes");
  isOwn = false;
  askedAt = now;
  try {
    await htmx.ajax("GET", here.pathname + here.search, { source: asker, swap: "none" });
  } catch {
    // The site is away: whatever was missed is asked for when it is there again.
  }
  shown.clear();
  took = performance.now() - now;
  setTimeout(() => {
    isAsking = false;
    ask();
  }, Math.max(REST_MS, took));
}

// A click on the part has been answered since it was asked for, or is being answered: what comes here may be older.
document.addEventListener("htmx:oobBeforeSwap", ({ detail }) => {
  const part = detail.target;
  if (!shown.has(part.id)) return;
  const isAsItWas = shown.get(part.id) === part.dataset.version;
  if (isAsItWas && !part.querySelector(".htmx-request") && !part.closest("[data-held]")) return;
  detail.shouldSwap = false;
  wanted.add(part.id);
});
document.addEventListener("htmx:afterRequest", ({ detail: { elt, xhr } }) => {
  if (elt === asker && [403, 404].includes(xhr.status)) stop(); // it may not be seen any more
});
document.addEventListener("scene-changed", ({ target }) => {
  isOwn = true;
  const part = target.closest?.("[data-live]");
  if (part) wanted.add(part.id);
  hear(part ? ["scenes"] : [EVERYTHING]);
});
document.addEventListener("order-moved", () => hear(["scenes", "credits"]));

// Once a second

function look() {
  const now = performance.now();
  if (document.hidden) {
    if (stream && now - unseenAt > UNSEEN_MS) hangUp(0);
    return;
  }
  if (stream && now - heardAt > (hasSpoken ? SILENCE_MS : FIRST_WORD_MS)) hangUp(hasSpoken ? 0 : LISTEN_AGAIN_MS);
  if (!stream && now > listenAt) listen();
  for (const part of document.querySelectorAll("[data-again]")) {
    if (!born.has(part)) born.set(part, now);
    else if (now - born.get(part) > Number(part.dataset.again) * 1000) wanted.add(part.id);
  }
  const isUnderWay = document.querySelector("[data-again]");
  if (!hasSpoken && now - askedAt > (isUnderWay ? ASK_MS : ASK_IDLE_MS)) hear([EVERYTHING]);
  else if (now - askedAt > Math.min(CALM * took, ASK_IDLE_MS)) ask(); // a busy site is not asked for what can wait
}

function stop() {
  hangUp(Infinity);
  clearInterval(clock);
}

document.addEventListener("visibilitychange", () => {
  unseenAt = performance.now();
  if (!document.hidden) look();
});
addEventListener("pagehide", () => hangUp(0)); // or the browser could not keep the page for "back"
const clock = setInterval(look, 1_000);
if (!document.hidden) listen();
