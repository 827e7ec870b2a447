// The boxes on the board's cards: a range with Shift, all that are shown, and what the selected ones would cost. Without
// this file they are boxes of a form, and its buttons work. A box survives the swap of its card by hx-preserve;
// what the scene would cost is the card's.

const form = document.getElementById("selection");
const lang = document.documentElement.lang;
let last = null; // the box that was clicked before, where a range begins

const boxes = () => [...document.querySelectorAll(".board .pick")];

function amount(hundredths) {
  const price = form.querySelector(".price");
  const number = new Intl.NumberFormat(lang, { maximumFractionDigits: 2 }).format(hundredths / 100);
  const words = price.dataset[new Intl.PluralRules(lang).select(hundredths / 100)] ?? price.dataset.other;
  return words.replace(/[\d.,]+/, number);
}

function count() {
  const picked = boxes().filter((box) => box.checked);
  const price = form.querySelector(".price");
  const total = picked.reduce((sum, box) => sum + Number(box.closest("[data-price]").dataset.price), 0);
  form.querySelector("output").textContent = form.querySelector("output").dataset.count.replace("{n}", picked.length);
  price.hidden = total === 0;
  price.textContent = amount(total);
  form.querySelector("[data-pick=all]").hidden = picked.length === boxes().length;
}

function set(which, checked) {
  for (const box of which) box.checked = checked;
  count();
}

if (form) {
  form.querySelector("[data-pick=none]").hidden = false;
  document.addEventListener("click", ({ target, shiftKey }) => {
    if (!(target instanceof Element)) return;
    const box = target.closest(".pick");
    if (box) {
      const all = boxes();
      const [from, to] = [all.indexOf(last), all.indexOf(box)].sort((a, b) => a - b);
      if (shiftKey && from >= 0) set(all.slice(from, to + 1), box.checked);
      last = box;
    }
    const act = target.closest("#selection [data-pick]")?.dataset.pick;
    if (act === "all") set(boxes(), true);
    if (act === "none") {
      const [first] = boxes().filter((one) => one.checked);
      set(boxes(), false);
      first?.focus(); // the bar is gone
    }
  });
  document.addEventListener("change", ({ target }) => target.matches(".pick") && count());
  document.addEventListener("htmx:afterSettle", count); // the price of a scene may have changed
  window.addEventListener("pageshow", count); // the browser may bring back what was ticked
  count();
}
