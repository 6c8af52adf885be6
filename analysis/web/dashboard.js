/* The dashboard: figures as the report draws them, by the same functions, as callbacks of Dash. */
"use strict";

const STACKED = 900;  // pixels; on a narrower page runs lie below each other: see dashboard.css

window.dash_clientside = Object.assign({}, window.dash_clientside, {helo_callbacks: {
  /* what came from the server, what is chosen, how the page looks → figure, its style, a note instead of it */
  drawn(raw, subject, configuration, look) {
    if (!raw?.figure) return [{data: [], layout: {}}, {display: "none"}, raw?.reason ?? ""];
    const chosen = window.heloChosen = {subject: subject ?? "", configuration: configuration ?? ""};
    const {data, layout} = helo.view(JSON.parse(raw.figure), chosen, look);
    layout.uirevision = "kept";  // a zoom stays when cells come in
    return [{data, layout}, {height: `${layout.height}px`}, ""];
  },
  /* how the page looks, at the start and whenever the device changes its mind; runs share its width */
  look(themes, runs) {
    window.heloRuns = runs;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const narrow = () => innerWidth <= (innerWidth > STACKED ? 640 * runs : 640);
    const now = () => ({dark: dark.matches, narrow: narrow(), themes});
    const tell = () => {
      if (JSON.stringify(now()) !== JSON.stringify(last)) dash_clientside.set_props("look", {data: last = now()});
    };
    let last = now();
    dark.onchange = tell;
    addEventListener("resize", tell);
    return last;
  },
}});

/* Dash passes on less of a click than is needed: rows and columns of heat maps are lost. */
function listen(plot) {
  if (plot.dataset.listens) return;
  plot.dataset.listens = "true";  // its listeners live as long as the element
  plot.on("plotly_click", ({points: [point]}) => {
    const clicked = helo.owner(point.data, point.pointNumber ?? point.pointIndex);
    if (window.heloRuns > 1) delete clicked.configuration;  // a number means another one in another run
    if (!Object.keys(clicked).length) return;
    const before = window.heloChosen ?? {};
    window.heloChosen = helo.toggled(before, clicked);
    for (const kind of helo.KINDS)
      if (window.heloChosen[kind] !== before[kind]) dash_clientside.set_props(`choose-${kind}`, {value: window.heloChosen[kind] || null});
  });
}
new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".js-plotly-plot")) if (plot.on) listen(plot);
}).observe(document.documentElement, {childList: true, subtree: true});
