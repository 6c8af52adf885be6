/* Dashboard: callbacks of Dash that draw figures with the functions of the report. */
"use strict";

const STACKED = 900;  // width in pixels below which runs are stacked; see dashboard.css

let link;  // choices in the address that still wait for the options of the menus
const mounted = new Map();  // place of a table → its sort order and filter, which stay when new cells arrive

window.dash_clientside = Object.assign({}, window.dash_clientside, {helo_callbacks: {
  /* Data of the server, choice, look of the page → figure, its style, and a note if there is no figure. */
  drawFigure(raw, subject, configuration, look) {
    if (!raw?.figure) return [{data: [], layout: {}}, {display: "none"}, raw?.reason ?? ""];
    const chosen = window.heloChosen = {subject: subject ?? "", configuration: configuration ?? ""};
    const {data, layout} = helo.buildView(JSON.parse(raw.figure), chosen, look);
    layout.uirevision = "kept";  // keep the zoom when new cells arrive
    return [{data, layout}, {height: `${layout.height}px`}, ""];
  },
  /* Look of the page, at the start and after every change of its width or colour scheme. Runs share the width. */
  watchLook(themes, runs) {
    window.heloRuns = runs;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const narrow = () => innerWidth <= (innerWidth > STACKED ? 640 * runs : 640);
    const read = () => ({dark: dark.matches, narrow: narrow(), themes});
    const update = () => {
      if (JSON.stringify(read()) !== JSON.stringify(last)) dash_clientside.set_props("look", {data: last = read()});
    };
    const openPart = ({part}) => { if (part) dash_clientside.set_props("part", {value: part}); };
    openPart(link = helo.readLink());
    let last = read();
    addEventListener("hashchange", () => {  // another link was opened in this page
      const choices = helo.readLink();
      openPart(choices);
      for (const kind of helo.KINDS) if (choices[kind]) dash_clientside.set_props(`choose-${kind}`, {value: choices[kind]});
    });
    dark.onchange = update;
    addEventListener("resize", update);
    return last;
  },
  /* Options of the menus → their values, those in the address once the options are known. */
  followLink(...options) {
    if (!link || !options.some(known => known?.length)) return helo.KINDS.map(() => dash_clientside.no_update);
    const values = helo.KINDS.map((kind, place) => options[place]?.some(({value}) => value === link[kind]) ? link[kind] : dash_clientside.no_update);
    link = null;
    return values;
  },
  /* Part and choices → the address. */
  writeLink(part, ...values) {
    if (link === null) helo.writeLink({part, ...Object.fromEntries(helo.KINDS.map((kind, place) => [kind, values[place]]))});
    return dash_clientside.no_update;
  },
  /* HTML of a table → its element, outside of the control of Dash. */
  showTable(content, id) {
    const name = JSON.stringify(id, Object.keys(id).sort());
    const place = document.getElementById(name);
    if (!mounted.has(name)) mounted.set(name, []);
    helo.replaceTables(place, content, mounted.get(name));
    return dash_clientside.no_update;
  },
}});

/* The click data of Dash lacks rows and columns of heat maps, so clicks are handled here. */
function handleClicks(plot) {
  if (plot.dataset.listens) return;
  plot.dataset.listens = "true";  // listeners live as long as their element
  plot.on("plotly_click", ({points: [point]}) => {
    const clicked = helo.findOwners(point.data, point.pointNumber ?? point.pointIndex);
    if (window.heloRuns > 1) delete clicked.configuration;  // configuration numbers of different runs are unrelated
    if (!Object.keys(clicked).length) return;
    const before = window.heloChosen ?? {};
    window.heloChosen = helo.toggleChoice(before, clicked);
    for (const kind of helo.KINDS)
      if (window.heloChosen[kind] !== before[kind]) dash_clientside.set_props(`choose-${kind}`, {value: window.heloChosen[kind] || null});
  });
}
new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) if (plot.on) handleClicks(plot);
}).observe(document.documentElement, {childList: true, subtree: true});
