/* Tables that sort, filter, copy and download; shared by the report and the dashboard. sortable.py makes their HTML. */
"use strict";

(() => {
const LONG = 10;  // rows from which a table has a text box
const INFINITE = {inf: Infinity, "-inf": -Infinity};
const COMPARE = {
  ">": (a, b) => a > b, "<": (a, b) => a < b, ">=": (a, b) => a >= b, "<=": (a, b) => a <= b, "=": (a, b) => a === b,
};
const collator = new Intl.Collator("en", {numeric: true});

/** Return the table of an element `.table` as {columns, rows}.
    columns: {label, names}. rows: {element, cells}, each cell a list of values; a missing value is null. */
function readTable(place) {
  const columns = [...place.querySelectorAll("thead th")].map(head =>
    ({label: head.querySelector("span").textContent.trim(), names: JSON.parse(head.dataset.names)}));
  const rows = [...place.querySelectorAll("tbody tr")].map(element => ({
    element,
    cells: [...element.cells].map(cell => cell.dataset.values ? JSON.parse(cell.dataset.values) : [cell.textContent]),
  }));
  return {columns, rows};
}

const toNumber = value => typeof value === "string" ? INFINITE[value] ?? NaN : value ?? NaN;

/** Compare two values: numbers before texts. */
function compareValues(a, b) {
  const [first, second] = [toNumber(a), toNumber(b)];
  if (!Number.isNaN(first) && !Number.isNaN(second)) return first < second ? -1 : first > second ? 1 : 0;
  if (Number.isNaN(first) && Number.isNaN(second)) return collator.compare(a, b);
  return Number.isNaN(first) ? 1 : -1;
}

/** Return rows in the order of a column; direction is 1 or -1. Missing values are last in both directions. */
function sortRows(rows, column, direction) {
  return [...rows].sort((one, other) => {
    const a = one.cells[column]?.[0] ?? null, b = other.cells[column]?.[0] ?? null;
    if (a === null || b === null) return (a === null) - (b === null);
    return direction * compareValues(a, b);
  });
}

/** Return the function row → whether it has all terms of a query, which are separated by commas.
    A term is a text, `>0.06` (a number of any column) or `KL>0.06` (a number of the columns with this title). */
function parseQuery(query, columns) {
  const tests = query.split(",").map(term => term.trim()).filter(Boolean).map(term => {
    const [, name, sign, number] = /^(.*?)\s*([<>]=?|=)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)$/i.exec(term) ?? [];
    const wanted = (name ?? "").toLowerCase();
    const titles = columns.map(({label, names}) => [label.toLowerCase(), label.split("\u00a0")[0].toLowerCase(), names[0].toLowerCase()]);
    let places = titles.flatMap((of, place) => of.includes(wanted) ? [place] : []);
    if (!places.length) places = titles.flatMap((of, place) => of.some(title => title.includes(wanted)) ? [place] : []);
    if (sign && places.length)
      return row => places.some(place => COMPARE[sign](toNumber(row.cells[place]?.[0]), Number(number)));
    return row => row.element.textContent.toLowerCase().includes(term.toLowerCase());
  });
  return row => tests.every(test => test(row));
}

/** Return a field that a spreadsheet does not read as a formula. */
function guardField(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "number") return String(value);
  return /^[=+\-@\t\r]/.test(value) && !(value in INFINITE) && !/^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$/i.test(value) ? `'${value}` : value;
}

/** Return rows as lines of fields, with a column for each value of a cell. */
function toFields({columns, rows}) {
  const body = rows.map(row => columns.flatMap(({names}, place) => names.map((_, number) => guardField(row.cells[place]?.[number]))));
  return [columns.flatMap(({names}) => names.map(guardField)), ...body];
}

const quote = field => /[",\r\n]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field;
const toCsv = table => toFields(table).map(line => line.map(quote).join(",") + "\r\n").join("");
const toTsv = table => toFields(table).map(line => line.map(field => field.replace(/[\t\r\n]+/g, " ")).join("\t")).join("\n");

async function copyText(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");  // a page from another machine has no clipboard without HTTPS
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser refused");
}

function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv;charset=utf-8"}));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}

function create(tag, properties, ...children) {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
}

/** Mark the edges of a table beyond which there is more of it. */
function markEdges(scroll) {
  const {scrollLeft, scrollTop, clientWidth, clientHeight, scrollWidth, scrollHeight} = scroll;
  const {classList} = scroll.parentElement;
  classList.toggle("more-left", scrollLeft > 1);
  classList.toggle("more-right", scrollWidth - clientWidth - scrollLeft > 1);
  classList.toggle("more-below", scrollHeight - clientHeight - scrollTop > 1);
}

/** Add the tools to an element `.table`. state {column, direction, query} is kept by the caller, and restored. */
function addTools(place, state = {}) {
  const table = readTable(place), scroll = place.querySelector(".scroll"), body = place.querySelector("tbody");
  const heads = [...place.querySelectorAll("thead th")];
  const said = create("output", {});
  let shown = table.rows;
  const arrange = () => {
    const hasTerms = parseQuery(state.query ?? "", table.columns);
    const sorted = state.direction ? sortRows(table.rows, state.column, state.direction) : table.rows;
    body.append(...sorted.map(row => row.element));
    shown = sorted.filter(hasTerms);
    for (const row of table.rows) row.element.hidden = true;
    for (const row of shown) row.element.hidden = false;
    heads.forEach((head, place) => {
      const direction = state.direction && state.column === place ? state.direction : 0;
      if (direction) head.setAttribute("aria-sort", direction > 0 ? "ascending" : "descending");
      else head.removeAttribute("aria-sort");
    });
    said.value = shown.length < table.rows.length ? `${shown.length} of ${table.rows.length} rows` : "";
    markEdges(scroll);
  };
  if (table.rows.length > 1) heads.forEach((head, column) => {
    const button = create("button", {type: "button"}, ...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      // From the order of the page to ascending, to descending, and back.
      const direction = state.column === column ? state.direction ?? 0 : 0;
      Object.assign(state, {column, direction: direction === 0 ? 1 : direction === 1 ? -1 : 0});
      arrange();
    });
  });
  const tools = create("div", {className: "tools no-print"});
  if (table.rows.length > LONG) {
    const box = create("input", {type: "search", placeholder: "text, KL>0.06", value: state.query ?? "", autocomplete: "off",
      title: "Rows with this text. KL>0.06: rows with such a number in this column. Commas separate several conditions."});
    box.setAttribute("aria-label", "Filter rows by a text, or by a number such as KL>0.06");
    box.addEventListener("input", () => { state.query = box.value; arrange(); });
    tools.append(box);
  }
  const copy = create("button", {type: "button", title: "Copy the rows shown, as text with tabs"}, "Copy");
  copy.addEventListener("click", async () => {
    try {
      await copyText(toTsv({columns: table.columns, rows: shown}));
      said.value = `copied ${shown.length} of ${table.rows.length} rows`;
    } catch (error) { said.value = `could not be copied (${error.message})`; }
  });
  const save = create("button", {type: "button", title: "Download the rows shown, in full precision"}, "Download CSV");
  save.addEventListener("click", () => download(`${place.dataset.file}.csv`, toCsv({columns: table.columns, rows: shown})));
  tools.append(copy, save, said);
  place.prepend(tools);
  scroll.addEventListener("scroll", () => markEdges(scroll), {passive: true});
  new ResizeObserver(() => markEdges(scroll)).observe(scroll);
  arrange();
}

Object.assign(globalThis.helo ??= {}, {addTools, parseQuery, readTable, sortRows, toCsv, toTsv});
})();
