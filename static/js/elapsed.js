// Counts on what the server wrote into [data-elapsed]: seconds at the moment when the element came. An element with
// data-about (the seconds it will probably take) has a <progress> and a note in its parent, which follow.

const born = new WeakMap();

function words(seconds) {
  const minutes = Math.floor(seconds / 60);
  const hours = Math.floor(minutes / 60);
  if (hours) return `${hours} h ${minutes % 60} min`;
  return minutes ? `${minutes} min ${seconds % 60} s` : `${seconds} s`;
}

function count() {
  const now = performance.now();
  for (const clock of document.querySelectorAll("[data-elapsed]")) {
    if (!born.has(clock)) born.set(clock, now - Number(clock.dataset.elapsed) * 1000);
    const seconds = Math.floor((now - born.get(clock)) / 1000);
    clock.textContent = words(seconds);
    const about = Number(clock.dataset.about);
    if (!about) continue;
    const place = clock.closest("[data-order]");
    const bar = place.querySelector("progress");
    if (bar) bar.value = seconds;
    if (seconds > about) {
      for (const note of place.querySelectorAll("[data-guess]")) note.hidden = true;
      bar?.removeAttribute("value");
    }
  }
}

document.addEventListener("htmx:afterSettle", count);
setInterval(count, 1000);
count();
