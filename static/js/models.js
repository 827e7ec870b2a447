// The list of models, with a field that narrows it as one types. Without script it is the whole list.
// The chosen model always stays in it.

const list = document.getElementById("models");
const field = document.getElementById("find-model");
const found = document.getElementById("found-models");
const models = [...list.querySelectorAll(".model")].map((row) => ({ row, words: plain(row.textContent + heading(row)) }));

function plain(text) {
  return text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
}

function heading(row) {
  return ` ${row.closest(".vendor").querySelector("h3")?.textContent ?? ""}`;
}

function narrow() {
  const wanted = plain(field.value).split(/\s+/).filter(Boolean);
  let count = 0;
  for (const { row, words } of models) {
    const fits = wanted.every((word) => words.includes(word));
    count += fits;
    row.hidden = !fits && !row.querySelector(":checked");
  }
  for (const vendor of list.children) vendor.hidden = !vendor.querySelector(".model:not([hidden])");
  found.textContent = wanted.length ? found.dataset.found.replace("{n}", count).replace("{all}", models.length) : "";
}

field.parentElement.hidden = field.matches(":disabled"); // whoever may only look cannot type
field.addEventListener("input", narrow);
list.addEventListener("change", narrow);
field.addEventListener("change", (event) => event.stopPropagation()); // it is no choice of a model
field.addEventListener("keydown", (event) => {
  if (event.key === "Enter") event.preventDefault(); // and it saves nothing
  if (event.key !== "ArrowDown") return;
  event.preventDefault();
  list.querySelector(".model:not([hidden]) input")?.focus();
});
narrow(); // what a browser kept over a reload
