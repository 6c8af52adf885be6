/* Details of the chosen subject and configuration; details.py makes their JSON. Names are only ever set as text. */
"use strict";

(() => {
function create(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

const find = (details, kind, name) => {
  const all = details[kind]?.of ?? {};
  return name && Object.hasOwn(all, name) ? all[name] : null;
};

const labelOf = (details, kind, name) => find(details, kind, name)?.label ?? name;

/** Return a button that chooses a subject or configuration. */
function chooser(kind, name, label, choose) {
  const button = create("button", {type: "button", className: "link"}, label);
  button.addEventListener("click", () => choose({[kind]: name}));
  return button;
}

/** Let a long name break after an underscore. */
function breakable(text) {
  return text.split(/(?<=_)/).flatMap((part, place) => place ? [document.createElement("wbr"), part] : [part]);
}

/** Return a table as in sortable.py, with tools. rows: {cells, kind}, each cell a text or {text, share}. */
function buildTable(caption, file, heads, rows) {
  const head = create("tr", {}, ...heads.map((label, column) => {
    const cell = create("th", {scope: "col", className: column ? "" : "text"}, create("span", {}, label));
    cell.dataset.names = JSON.stringify([label]);
    return cell;
  }));
  const body = rows.map(({cells, kind}) => create("tr", {className: kind ?? ""}, ...cells.map((cell, column) => {
    const {text, share, largest} = typeof cell === "object" ? cell : {text: cell};
    const made = column ? create("td", {}, text) : create("th", {scope: "row", className: "text"}, ...breakable(text));
    const number = Number(text.replace("−", "-").replace(/ %$/, ""));
    made.dataset.values = JSON.stringify([text === "–" ? null : column && !Number.isNaN(number) ? number : text]);
    if (share !== undefined) {
      made.classList.add("share");
      made.style.setProperty("--share", `${100 * share / largest}%`);
    }
    return made;
  })));
  const table = create("table", {}, create("caption", {}, create("span", {}, caption)), create("thead", {}, head), create("tbody", {}, ...body));
  const scroll = create("div", {className: "scroll", tabIndex: 0}, table);
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", caption);
  const place = create("div", {className: "table"}, create("div", {className: "view"}, scroll));
  place.dataset.file = file.replace(/[^\p{L}\p{N}_.-]+/gu, "-").replace(/^[-.]+|[-.]+$/g, "") || "table";
  helo.addTools(place);
  return place;
}

function buildSubject(details, name, choose) {
  const all = details.subject, one = find(details, "subject", name), label = one.label ?? name;
  const facts = create("p", {}, one.size);
  if (one.configuration !== null) facts.append(" In the fold of this subject, ",
    details.configuration ? chooser("configuration", one.configuration, `configuration ${one.configuration}`, choose) : `configuration ${one.configuration}`,
    " was chosen.");
  if (one.apart) facts.append(` This subject is not among the ${all.compared} that all tables compare, because some scores are missing.`);
  const parts = [create("h3", {}, `Subject ${label}`), facts];
  if (one.groups.length) parts.push(create("ul", {className: "chips"}, ...one.groups.map(([place, count]) =>
    create("li", {}, all.groups[place], " ", create("b", {}, String(count)), create("span", {className: "unseen"}, " windows")))));
  const tables = [];
  if (one.scores.length) tables.push(buildTable(`Scores on subject ${label}`, `${details.run}-subject-${label}-scores`, ["Estimate", "Skill", ...all.metrics],
    one.scores.map(([place, ...cells]) => ({cells: [all.estimates[place], ...cells], kind: all.main.includes(all.estimates[place]) ? "main" : ""}))));
  if (one.shares.length) {
    const largest = Math.max(...one.shares.flat().map(Number).filter(share => !Number.isNaN(share)));
    const table = buildTable(`Mean shares of subject ${label}`, `${details.run}-subject-${label}-shares`, ["Emotion", "Reported", "Predicted", "Train mean"],
      one.shares.map((shares, place) => ({cells: [all.emotions[place], ...shares.map(text => ({text, share: Number(text) || 0, largest}))]})));
    table.classList.add("shares");
    tables.push(table);
  }
  parts.push(...tables);
  return create("section", {className: "part details"}, ...parts);
}

function buildConfiguration(details, name, choose) {
  const all = details.configuration, one = find(details, "configuration", name);
  const subjects = names => names.flatMap((subject, place) =>
    [place ? ", " : "", chooser("subject", subject, labelOf(details, "subject", subject), choose)]);
  const terms = (heads, values, remark) => create("dl", {}, ...heads.flatMap((head, place) =>
    [create("dt", {}, head), create("dd", {}, values[place], ...remark(place))]));
  const facts = terms(all.facts, one.facts, place => place === all.facts.length - 1 && one.chosen ? [": ", ...subjects(one.chosen)] : []);
  if (one.folds) facts.append(create("dt", {}, "Ran in the fold of"), create("dd", {}, ...subjects(one.folds)));
  const parameters = terms(all.parameters, one.values, place => one.inactive?.includes(place) ? [" ", create("span", {className: "remark"}, "(no effect in this configuration)")] : []);
  return create("section", {className: "part details"},
    create("h3", {}, `Configuration ${name}${one.recommended ? ", recommended" : ""}`),
    create("div", {className: "halves"},
      create("div", {}, create("h4", {}, "Hyperparameters"), parameters), create("div", {}, create("h4", {}, "Result"), facts)));
}

/** Show the chosen subject and configuration in an element. The focus stays where it was.
    chosen: {subject, configuration}, each a name or empty. choose: called with the choice of a button. */
function showDetails(place, details, chosen, choose) {
  const parts = [];
  if (find(details, "subject", chosen.subject)) parts.push(buildSubject(details, chosen.subject, choose));
  if (find(details, "configuration", chosen.configuration)) parts.push(buildConfiguration(details, chosen.configuration, choose));
  const controls = () => [...place.querySelectorAll("button, input, .scroll")];
  const focused = controls().indexOf(document.activeElement);
  place.replaceChildren(...parts);
  if (focused >= 0) controls()[focused]?.focus({preventScroll: true});
  place.hidden = !parts.length;
}

/** Show a line on each chosen subject and configuration, with a link to their details. */
function showLine(place, details, chosen) {
  const lines = helo.KINDS.filter(kind => find(details, kind, chosen[kind])).map(kind =>
    create("span", {}, create("b", {}, kind === "subject" ? labelOf(details, kind, chosen[kind]) : `Configuration ${chosen[kind]}`),
      `: ${find(details, kind, chosen[kind]).line}`));
  place.replaceChildren(...lines, ...lines.length ? [create("a", {href: "#chosen"}, "Details")] : []);
  place.hidden = !lines.length;
  const bar = place.closest(".bar");  // what is scrolled to must not lie below it
  document.documentElement.style.scrollPaddingTop = lines.length && bar ? `${bar.offsetHeight + 12}px` : "";
}

/** Call `pick` with the subject or configuration of a table row that is clicked. The menus do the same by keyboard. */
function listenToRows(pick) {
  document.addEventListener("click", ({target}) => {
    const row = target.closest?.("tr[data-subject], tr[data-configuration]");
    if (!row || target.closest("a, button") || !getSelection().isCollapsed) return;
    pick(Object.fromEntries(helo.KINDS.filter(kind => row.dataset[kind]).map(kind => [kind, row.dataset[kind]])));
  });
}

Object.assign(globalThis.helo ??= {}, {listenToRows, showDetails, showLine});
})();
