// The slider between two takes: how much of the first is seen is a custom property of the pictures, 0 to 1. Whether the two
// are seen so or side by side is remembered for as long as the window is open.

const pictures = document.querySelector(".wipe > .pictures");
const choices = [...document.querySelectorAll("input[name=how]")];

function wipe(slider) {
  pictures.style.setProperty("--seen", slider.value / slider.max);
}

if (pictures) {
  const slider = pictures.querySelector("input");
  slider.addEventListener("input", () => wipe(slider));
  wipe(slider); // what a browser kept over a reload
  for (const choice of choices) {
    if (choice.value === sessionStorage.getItem("compare")) choice.checked = true;
    choice.addEventListener("change", () => sessionStorage.setItem("compare", choice.value));
  }
}
