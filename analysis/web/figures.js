/* Views of a figure: with a choice, on a dark or on a narrow page. Pure functions on plotly figures as JSON, shared by
   the report and the dashboard. analysis/figures/_links.py describes `meta`. */
"use strict";

const KINDS = ["subject", "configuration"];
const FADED = 0.15;

/** Return the figure `{data, layout}` to draw.
    chosen: {subject, configuration}, each a name or empty. look: {dark, narrow, themes}. */
function buildView(figure, chosen, look) {
  const layout = structuredClone({...figure.layout, meta: null, template: null});
  const meta = figure.layout.meta ?? {};
  let data = figure.data.map(trace => ({...trace}));
  const kind = KINDS.find(kind => chosen[kind] && meta.choices?.[kind]);  // the subject takes precedence
  if (kind) {
    const named = meta.choices[kind][chosen[kind]];
    const changes = named?.map(one => typeof one === "number" ? named[one] : one);
    if (changes) data = data.map((trace, number) => mergeChanges(mergeChanges(trace, meta.style?.[number] ?? {}), changes[number] ?? {}));
    for (const [number, text] of Object.entries(meta.notes ?? {})) {
      const note = layout.annotations[number], name = escapeLabel(chosen[kind]);
      note.text = changes ? text.replace("{}", () => name) : `${note.text} (no data of ${name} alone)`;
    }
  }
  layout.shapes = [...(layout.shapes ?? [])];
  for (const trace of data) {
    fadeOthers(trace, chosen, look);
    layout.shapes.push(...buildFrames(trace, layout, chosen, look));
  }
  layout.template = look.themes[look.dark ? "dark" : "light"];
  if (look.narrow) {
    layout.dragmode = false;  // dragging must scroll the page on a touch screen
    for (const [path, value] of Object.entries(meta.narrow ?? {})) setPath(layout, path, value);
  }
  return recolour({data, layout, meta}, look);
}

/** Return the owners {subject, configuration} of a point of a trace, as far as the trace names them. */
function findOwners(trace, point) {
  const found = {};
  for (const kind of KINDS) {
    const names = trace.meta?.[kind];
    if (names?.length) found[kind] = names.length === 1 ? names[0] : names[point];
    if (!Array.isArray(point)) continue;  // a point of a heat map is [row, column]
    for (const [side, place] of [["y", point[0]], ["x", point[1]]]) {
      const along = trace.meta?.[side]?.[kind];
      if (along) found[kind] = along[place];
    }
  }
  return Object.fromEntries(Object.entries(found).filter(([, name]) => name != null).map(([k, n]) => [k, String(n)]));
}

/** Return the choice after a click. A click on chosen owners clears them. */
function toggleChoice(chosen, clicked) {
  const isChosen = Object.entries(clicked).every(([kind, name]) => chosen[kind] === name);
  return {...chosen, ...(isChosen ? Object.fromEntries(Object.keys(clicked).map(kind => [kind, ""])) : clicked)};
}

/** Escape a name for plotly, which reads markup in every label. */
function escapeLabel(name) {
  return name.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function mergeChanges(old, changes) {
  const found = {...old};
  for (const [name, value] of Object.entries(changes)) {
    const inner = value && typeof value === "object" && !Array.isArray(value) && !("bdata" in value);
    found[name] = inner ? mergeChanges(old[name] ?? {}, value) : value;
  }
  return found;
}

function fadeOthers(trace, chosen, look) {
  const kinds = KINDS.filter(kind => chosen[kind] && trace.meta?.[kind]?.length);
  if (!kinds.length) return;
  const isChosen = number => kinds.every(kind => {
    const names = trace.meta[kind];
    return String(names.length === 1 ? names[0] : names[number]) === chosen[kind];
  });
  const points = Math.max(...kinds.map(kind => trace.meta[kind].length));
  if (points === 1) {
    if (!isChosen(0)) trace.opacity = FADED;
    else if (trace.mode === "lines") {  // highlight a single line
      trace.opacity = 1;
      trace.line = {...trace.line, width: 4, color: look.dark ? "#ffffff" : "#000000"};
    }
    return;
  }
  trace.selectedpoints = Array.from({length: points}, (_, number) => number).filter(isChosen);
  trace.unselected = {marker: {opacity: FADED}};
}

function buildFrames(trace, layout, chosen, look) {
  const found = [];
  for (const [side, other] of [["x", "y"], ["y", "x"]]) {
    for (const kind of KINDS) {
      const row = chosen[kind] ? (trace.meta?.[side]?.[kind] ?? []).map(String).indexOf(chosen[kind]) : -1;
      if (row < 0) continue;
      const order = layout[(trace[`${side}axis`] ?? side).replace(side, `${side}axis`)]?.categoryarray;
      const place = order ? order.indexOf(trace[side][row]) : row;
      found.push({
        type: "rect", line: {color: look.dark ? "#ffffff" : "#000000", width: 2},
        [`${side}ref`]: trace[`${side}axis`] ?? side, [`${side}0`]: place - 0.5, [`${side}1`]: place + 0.5,
        [`${other}ref`]: `${trace[`${other}axis`] ?? other} domain`, [`${other}0`]: 0, [`${other}1`]: 1,
      });
    }
  }
  return found;
}

/** Set a value at a path in the dotted form of ``Plotly.relayout``. */
function setPath(layout, path, value) {
  const keys = path.split(".").flatMap(part => part.split(/\[(\d+)\]/).filter(Boolean));
  const last = keys.pop();
  let place = layout;
  for (const key of keys) place = place[key] ??= {};
  place[last] = value;
}

/** Replace the blue of the palette, which is too dark on a dark page. */
function recolour(figure, look) {
  if (!look.dark) return figure;
  const {blue, sky} = look.themes;
  const change = value => {
    if (value === blue) return sky;
    if (Array.isArray(value)) return value.some(one => one === blue || typeof one === "object") ? value.map(change) : value;
    if (!value || typeof value !== "object") return value;
    return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, change(one)]));
  };
  return {...figure, data: change(figure.data), layout: {...figure.layout, shapes: change(figure.layout.shapes)}};
}

Object.assign(globalThis.helo ??= {}, {buildView, findOwners, toggleChoice, setPath, KINDS});
