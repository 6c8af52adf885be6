/* The report: figures are drawn when they come into sight, and all of them follow what is chosen in one. */
"use strict";

const media = {dark: matchMedia("(prefers-color-scheme: dark)"), narrow: matchMedia("(max-width: 640px)")};
const themes = JSON.parse(document.getElementById("themes").textContent);
// plotly.js offers to send a figure to its makers' server unless told otherwise.
const config = {responsive: true, displaylogo: false, showSendToCloud: false, plotlyServerURL: "",
  modeBarButtons: [["toImage", "zoom2d", "resetScale2d"]]};
const places = [...document.querySelectorAll(".figure")];
const menus = Object.fromEntries(helo.KINDS.map(kind => [kind, document.getElementById(`choose-${kind}`)]));
let chosen = Object.fromEntries(helo.KINDS.map(kind => [kind, ""]));
const parsed = new Map(), seen = new Set();

function content(place) {
  if (!parsed.has(place)) parsed.set(place, JSON.parse(document.getElementById(`${place.id}-json`).textContent));
  return parsed.get(place);
}

async function draw(place) {
  const look = {dark: media.dark.matches, narrow: media.narrow.matches, themes};
  const {data, layout} = helo.view(content(place), chosen, look);
  layout.uirevision = look.narrow;  // a zoom stays when something else is chosen
  place.style.minHeight = `${layout.height}px`;
  await Plotly.react(place, data, layout, {...config, displayModeBar: !look.narrow && "hover"});
  if (!place.dataset.drawn) place.on("plotly_click", ({points: [point]}) => {
    const clicked = helo.owner(point.data, point.pointNumber ?? point.pointIndex);
    if (Object.keys(clicked).length) choose(helo.toggled(chosen, clicked));
  });
  place.dataset.drawn = JSON.stringify(chosen);
}

function choose(selection) {
  chosen = selection;
  for (const kind of helo.KINDS) if (menus[kind]) menus[kind].value = chosen[kind];
  document.body.classList.toggle("chosen", helo.KINDS.some(kind => chosen[kind]));
  for (const row of document.querySelectorAll("[data-subject], [data-configuration]"))
    row.classList.toggle("faded", helo.KINDS.some(kind => chosen[kind] && row.dataset[kind] && row.dataset[kind] !== chosen[kind]));
  seen.forEach(draw);
}

const watch = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (!isIntersecting) continue;
    watch.unobserve(target);
    seen.add(target);
    draw(target);
  }
}, {rootMargin: "1000px"});
places.forEach(place => watch.observe(place));

for (const [kind, menu] of Object.entries(menus)) menu?.addEventListener("change", () => choose({...chosen, [kind]: menu.value}));
document.getElementById("clear")?.addEventListener("click", () => choose(Object.fromEntries(helo.KINDS.map(kind => [kind, ""]))));
for (const query of Object.values(media)) query.addEventListener("change", () => seen.forEach(draw));
addEventListener("beforeprint", () => places.forEach(place => { seen.add(place); draw(place); }));
document.body.dataset.ready = "true";
