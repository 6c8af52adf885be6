/* Dashboard: callbacks of Dash that draw figures with the functions of the report. */
"use strict";

const STACKED = 900;  // width in pixels below which runs are stacked; see dashboard.css

let link;  // choices in the address that still wait for the options of the menus
let state = {part: "", subject: "", configuration: ""};  // what the page shows
let pending = null;  // {state, calls, isNew}: what the page will show once Dash has set these properties
let known = {};  // names of each menu
const mounted = new Map();  // place of a table → its sort order and filter, which stay when new cells arrive

/** Change what the page shows. isNew: whether the address becomes a new entry of the history. */
function moveTo(target, isNew = true) {
  const next = {...state, ...target}, changed = Object.keys(next).filter(key => next[key] !== state[key]);
  if (!changed.length) return;
  pending = {state: next, calls: changed.length, isNew};
  for (const key of changed) dash_clientside.set_props(key === "part" ? key : `chosen-${key}`, {data: next[key] || null});
}

/** Choose what was clicked, or clear it if it was chosen. */
function pick(clicked) {
  if (window.heloRuns > 1) delete clicked.configuration;  // configuration numbers of different runs are unrelated
  if (Object.keys(clicked).length) moveTo(helo.toggleChoice(state, clicked));
}

window.dash_clientside = Object.assign({}, window.dash_clientside, {helo_callbacks: {
  /* Data of the server, choice, look of the page → figure, its style, a note if there is no figure, whether one comes. */
  drawFigure(raw, aligned, subject, configuration, look) {
    if (!raw?.figure) return [{data: [], layout: {}}, {display: "none"}, raw?.reason ?? "", !raw?.busy];
    const chosen = {subject: subject ?? "", configuration: configuration ?? ""};
    const figure = alignFigure(JSON.parse(raw.figure), aligned, chosen);
    const {data, layout} = helo.buildView(figure, chosen, look);
    layout.uirevision = "kept";  // keep the zoom when new cells arrive
    return [{data, layout}, {height: `${layout.height}px`}, "", true];
  },
  /* Look of the page, at the start and after every change of its width or colour scheme. Runs share the width.
     first: the part that a page without a fragment shows. */
  watchLook(themes, runs, first) {
    window.heloRuns = runs;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const narrow = () => innerWidth <= (innerWidth > STACKED ? 640 * runs : 640);
    const read = () => ({dark: dark.matches, narrow: narrow(), themes});
    const update = () => {
      if (JSON.stringify(read()) !== JSON.stringify(last)) dash_clientside.set_props("look", {data: last = read()});
    };
    link = helo.readLink();
    if (link.part) dash_clientside.set_props("part", {data: link.part});
    let last = read();
    addEventListener("hashchange", () => {  // the back button, or another link opened in this page
      const {part = first, ...named} = helo.readLink();
      moveTo({part, ...Object.fromEntries(helo.KINDS.map(kind => [kind, known[kind]?.includes(named[kind]) ? named[kind] : ""]))}, false);
    });
    document.addEventListener("click", event => {
      const {hash} = event.target.closest?.("nav a") ?? {};
      if (!hash || event.ctrlKey || event.metaKey || event.shiftKey) return;
      event.preventDefault();
      moveTo({part: hash.replace("#part=", "")});  // the choice stays
    });
    helo.followAnchors();
    helo.listenToRows(pick);
    dark.onchange = update;
    addEventListener("resize", update);
    return last;
  },
  /* Options of the menus → their values, those in the address once the options are known. */
  followLink(...options) {
    known = Object.fromEntries(helo.KINDS.map((kind, place) => [kind, (options[place] ?? []).map(({value}) => value)]));
    if (!link || !options.some(known => known?.length)) return helo.KINDS.map(() => dash_clientside.no_update);
    const values = helo.KINDS.map((kind, place) => options[place]?.some(({value}) => value === link[kind]) ? link[kind] : dash_clientside.no_update);
    link = null;
    return values;
  },
  /* Options and choice → the menu, outside of the control of Dash. */
  fillMenu(options, chosen, id) {
    const kind = id.replace("menu-", ""), place = document.getElementById(id);
    const select = place.firstElementChild ?? place.appendChild(document.createElement("select"));
    select.id = `choose-${kind}`;
    select.onchange = () => moveTo({[kind]: select.value});
    const known = [["all", ""], ...(options ?? []).map(({label, value}) => [label, value])];
    if (select.dataset.options !== JSON.stringify(known)) {  // an open menu stays as it is
      select.dataset.options = JSON.stringify(known);
      select.replaceChildren(...known.map(([label, value]) => new Option(label, value)));
    }
    select.value = chosen ?? "";
    return dash_clientside.no_update;
  },
  /* Part and choices → the address, and the link of the part. */
  writeLink(part, subject, configuration) {
    for (const anchor of document.querySelectorAll("nav a")) {
      if (anchor.getAttribute("href") === `#part=${part}`) anchor.setAttribute("aria-current", "page");
      else anchor.removeAttribute("aria-current");
    }
    state = {part, subject: subject ?? "", configuration: configuration ?? ""};
    if (pending && (--pending.calls <= 0 || Object.keys(state).every(key => state[key] === pending.state[key]))) {
      if (pending.isNew) helo.writeLink(state);
      pending = null;
    }
    return dash_clientside.no_update;
  },
  /* Details of the choice → their place, outside of the control of Dash. */
  showDetails(data, id) {
    if (!data) return dash_clientside.no_update;
    const details = JSON.parse(data.details);
    const place = document.getElementById(JSON.stringify(id, Object.keys(id).sort())), isOneOfMany = window.heloRuns > 1;
    if (isOneOfMany) delete details.configuration;
    helo.showDetails(place, details, data.chosen, moveTo);
    for (const one of isOneOfMany ? place.querySelectorAll("h3") : []) one.prepend(`${data.run}: `);
    for (const one of isOneOfMany ? place.querySelectorAll("[role=region]") : []) one.ariaLabel = `${data.run}: ${one.ariaLabel}`;
    if (window.heloRuns === 1) helo.showLine(document.getElementById("chosen-line"), details, data.chosen);
    return dash_clientside.no_update;
  },
  /* HTML of a table → its element, outside of the control of Dash. */
  showTable(content, id) {
    const name = JSON.stringify(id, Object.keys(id).sort());
    const place = document.getElementById(name);
    if (!mounted.has(name)) mounted.set(name, []);
    helo.replaceTables(place, content, mounted.get(name));
    const run = place.parentElement.querySelector("h3")?.textContent;  // landmarks of several runs need different names
    for (const one of run ? place.querySelectorAll("[role=region]") : []) one.ariaLabel = `${run}: ${one.ariaLabel}`;
    return dash_clientside.no_update;
  },
}});

/* Apply the changes that align a figure with those of other runs; see analysis/dashboard/aligned.py. */
function alignFigure(figure, aligned, chosen) {
  const kind = helo.KINDS.find(kind => chosen[kind] && figure.layout.meta?.choices?.[kind]);
  const changes = {...aligned?.always, ...(kind ? aligned?.choices?.[kind]?.[chosen[kind]] : null)};
  for (const [path, value] of Object.entries(changes)) helo.setPath(figure, path, value);
  return figure;
}

/* The click data of Dash lacks rows and columns of heat maps, so clicks are handled here. */
function handleClicks(plot) {
  if (plot.dataset.listens) return;
  plot.dataset.listens = "true";  // listeners live as long as their element
  plot.on("plotly_click", ({points: [point]}) => {
    pick(helo.findOwners(point.data, point.pointNumber ?? point.pointIndex));
  });
}
new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) if (plot.on) handleClicks(plot);
}).observe(document.documentElement, {childList: true, subtree: true});
