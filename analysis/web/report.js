/* Report: draw a figure when it is scrolled into view, and apply a choice in one figure to all figures. */
"use strict";

const media = {dark: matchMedia("(prefers-color-scheme: dark)"), narrow: matchMedia("(max-width: 640px)")};
const themes = JSON.parse(document.getElementById("themes").textContent);
const options = JSON.parse(document.getElementById("plotly-options").textContent);
const places = [...document.querySelectorAll(".figure")];
const menus = Object.fromEntries(helo.KINDS.map(kind => [kind, document.getElementById(`choose-${kind}`)]));
let chosen = Object.fromEntries(helo.KINDS.map(kind => [kind, ""]));
const parsed = new Map(), visited = new Set();

function readFigure(place) {
  if (!parsed.has(place)) parsed.set(place, JSON.parse(document.getElementById(`${place.id}-json`).textContent));
  return parsed.get(place);
}

async function draw(place) {
  const look = {dark: media.dark.matches, narrow: media.narrow.matches, themes};
  const {data, layout} = helo.buildView(readFigure(place), chosen, look);
  layout.uirevision = look.narrow;  // keep the zoom when the choice changes
  place.style.minHeight = `${layout.height}px`;
  await Plotly.react(place, data, layout, {...options, displayModeBar: !look.narrow && "hover"});
  if (!place.dataset.drawn) place.on("plotly_click", ({points: [point]}) => {
    const clicked = helo.findOwners(point.data, point.pointNumber ?? point.pointIndex);
    if (Object.keys(clicked).length) choose(helo.toggleChoice(chosen, clicked));
  });
  place.dataset.drawn = JSON.stringify(chosen);
}

function choose(selection) {
  chosen = selection;
  for (const kind of helo.KINDS) if (menus[kind]) menus[kind].value = chosen[kind];
  document.body.classList.toggle("chosen", helo.KINDS.some(kind => chosen[kind]));
  for (const row of document.querySelectorAll("[data-subject], [data-configuration]"))
    row.classList.toggle("faded", helo.KINDS.some(kind => chosen[kind] && row.dataset[kind] && row.dataset[kind] !== chosen[kind]));
  visited.forEach(draw);
}

const observer = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue;
    observer.unobserve(target);
    visited.add(target);
    draw(target);
  }
}, {rootMargin: "1000px"});
places.forEach(place => observer.observe(place));

for (const [kind, menu] of Object.entries(menus)) menu?.addEventListener("change", () => choose({...chosen, [kind]: menu.value}));
document.getElementById("clear")?.addEventListener("click", () => choose(Object.fromEntries(helo.KINDS.map(kind => [kind, ""]))));
for (const query of Object.values(media)) query.addEventListener("change", () => visited.forEach(draw));
addEventListener("beforeprint", () => places.forEach(place => { visited.add(place); draw(place); }));
document.querySelectorAll(".table").forEach(place => helo.addTools(place));
document.body.dataset.ready = "true";
