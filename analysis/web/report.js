/* Report: draw figures when they are seen, when the browser is idle, or for print; apply a choice to all figures. */
"use strict";

const SHEET = {width: 826, zoom: 0.85};  // pixels of a figure on paper, and their scale; page.css has the same numbers

const media = {dark: matchMedia("(prefers-color-scheme: dark)"), narrow: matchMedia("(max-width: 640px)")};
const themes = JSON.parse(document.getElementById("themes").textContent);
const options = JSON.parse(document.getElementById("plotly-options").textContent);
const places = [...document.querySelectorAll(".figure")];
const menus = Object.fromEntries(helo.KINDS.map(kind => [kind, document.getElementById(`choose-${kind}`)]));
let chosen = Object.fromEntries(helo.KINDS.map(kind => [kind, ""]));
const chosenPlace = document.getElementById("chosen"), chosenLine = document.getElementById("chosen-line");
const details = chosenPlace ? JSON.parse(document.getElementById("details").textContent) : {};
let printing = false, anchor = "";
const parsed = new Map(), visible = new Set(), stale = new Set(places);

function readFigure(place) {
  if (!parsed.has(place)) parsed.set(place, JSON.parse(document.getElementById(`${place.id}-json`).textContent));
  return parsed.get(place);
}

function draw(place) {
  stale.delete(place);
  const look = {dark: media.dark.matches && !printing, narrow: media.narrow.matches && !printing, themes};
  const {data, layout} = helo.buildView(readFigure(place), chosen, look);
  layout.uirevision = look.narrow;  // keep the zoom when the choice changes
  if (printing) Object.assign(layout, {width: SHEET.width, autosize: false});
  place.style.minHeight = `${layout.height}px`;
  Plotly.react(place, data, layout, {...options, displayModeBar: !look.narrow && "hover"});
  if (!place.dataset.drawn) place.on("plotly_click", ({points: [point]}) => {
    const clicked = helo.findOwners(point.data, point.pointNumber ?? point.pointIndex);
    if (Object.keys(clicked).length) choose(helo.toggleChoice(chosen, clicked));
  });
  place.dataset.drawn = JSON.stringify(chosen);
}

const whenIdle = globalThis.requestIdleCallback ?? (call => setTimeout(call, 50));
let waits = false;

/** Draw the next figure that is out of date once the browser has nothing else to do, and so on. */
function drawNext() {
  if (waits || !stale.size) return;
  waits = true;
  whenIdle(() => {
    waits = false;
    const place = places.find(one => stale.has(one));
    if (place) draw(place);
    drawNext();
  });
}

/** Draw all figures again: those in view at once, the others when the browser is idle. */
function drawAgain() {
  places.forEach(place => stale.add(place));
  visible.forEach(draw);
  drawNext();
}

/** Apply a choice to the page, and write it into the address: as a new entry of the history, unless it came from there. */
function choose(selection, isNew = true) {
  chosen = selection;
  for (const kind of helo.KINDS) if (menus[kind]) menus[kind].value = chosen[kind];
  document.body.classList.toggle("chosen", helo.KINDS.some(kind => chosen[kind]));
  for (const row of document.querySelectorAll("[data-subject], [data-configuration]"))
    row.classList.toggle("faded", helo.KINDS.some(kind => chosen[kind] && row.dataset[kind] && row.dataset[kind] !== chosen[kind]));
  drawAgain();
  if (chosenPlace) {
    helo.showDetails(chosenPlace, details, chosen, picked => choose({...chosen, ...picked}));
    helo.showLine(chosenLine, details, chosen);
  }
  helo.writeLink(chosen, isNew);
}

/** Choose what the address names, as far as the menus have it, and show the heading that it names. */
function followLink() {
  const link = helo.readLink(), at = helo.readAnchor();
  const known = kind => [...menus[kind]?.options ?? []].some(({value}) => value === link[kind]);
  const named = Object.fromEntries(helo.KINDS.map(kind => [kind, known(kind) ? link[kind] ?? "" : ""]));
  if (helo.KINDS.some(kind => named[kind] !== chosen[kind])) choose(named, false);
  if (at !== anchor && location.hash.includes("&")) document.getElementById(at)?.scrollIntoView();
  anchor = at;
}

/** Prepare the page for paper, or for the screen again: light figures of the width of a sheet, nothing folded. */
function preparePaper(on) {
  if (on === printing) return;
  printing = on;
  for (const one of document.querySelectorAll(on ? "details:not([open])" : "details[data-folded]")) {
    one.open = on;
    one.toggleAttribute("data-folded", on);
  }
  if (on) places.forEach(draw);
  else drawAgain();
}

const observer = new IntersectionObserver(entries => {
  for (const {target, isIntersecting} of entries) {
    if (isIntersecting) visible.add(target);
    else visible.delete(target);
    if (isIntersecting && stale.has(target)) draw(target);
  }
  drawNext();
}, {rootMargin: "1000px"});
places.forEach(place => observer.observe(place));

for (const [kind, menu] of Object.entries(menus)) menu?.addEventListener("change", () => choose({...chosen, [kind]: menu.value}));
document.getElementById("clear")?.addEventListener("click", () => choose(Object.fromEntries(helo.KINDS.map(kind => [kind, ""]))));
for (const query of Object.values(media)) query.addEventListener("change", drawAgain);
addEventListener("beforeprint", () => preparePaper(true));
addEventListener("afterprint", () => preparePaper(false));
matchMedia("print").addEventListener("change", ({matches}) => preparePaper(matches));
document.querySelectorAll(".table").forEach(place => helo.addTools(place));
helo.listenToRows(picked => choose(helo.toggleChoice(chosen, picked)));
helo.followAnchors(id => helo.writeLink(chosen, true, anchor = id));
followLink();
addEventListener("hashchange", followLink);
document.body.dataset.ready = "true";
