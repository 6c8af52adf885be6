/* Dashboard: callbacks of Dash that draw figures with the functions of the report. */
"use strict";

const STACKED = 900;  // width in pixels below which runs are stacked; see dashboard.css

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
    let last = read();
    dark.onchange = update;
    addEventListener("resize", update);
    return last;
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
