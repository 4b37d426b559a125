"use strict";
// The tables and traces of a report. Everything from the data goes into text nodes and attributes, never into markup.

const PAGE = 50;
const STEPS = ["#c6dbef", "#9ecae1", "#6baed6", "#4292c6"];
const STEPS_BELOW = ["#fdd0a2", "#fdae6b", "#fd8d3c", "#e6701a"];
const SVG = "http://www.w3.org/2000/svg";

async function unpack(text) {
  const bytes = Uint8Array.from(atob(text.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null));
  return node;
}

function draw(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const signed = (value, decimals) => (value > 0 ? "+" : "") + value.toFixed(decimals);

// Tables

class Sheet {
  constructor(name, columns, rows, keep, open) {
    this.table = document.getElementById(`${name}-table`);
    this.tools = document.getElementById(`${name}-tools`);
    this.status = document.getElementById(`${name}-status`);
    this.more = document.getElementById(`${name}-more`);
    Object.assign(this, { name, columns, rows, keep, open, shown: PAGE, sorted: null, descending: false });
    const heads = columns.map((column, index) => {
      const button = make("button", { type: "button" }, column.title);
      button.addEventListener("click", () => this.sort(index));
      return make("th", { scope: "col", className: column.number ? "" : "text", "aria-sort": "none" }, button);
    });
    this.heads = heads;
    this.body = make("tbody");
    this.table.append(make("thead", {}, make("tr", {}, ...heads)), this.body);
    this.tools.addEventListener("input", () => { this.shown = PAGE; this.show(); });
    this.tools.addEventListener("submit", (event) => event.preventDefault());
    this.more.addEventListener("click", () => { this.shown += PAGE; this.show(); });
    this.show();
  }

  sort(index) {
    this.descending = this.sorted === index ? !this.descending : this.columns[index].number === true;
    this.sorted = index;
    this.heads.forEach((head, i) =>
      head.setAttribute("aria-sort", i !== index ? "none" : this.descending ? "descending" : "ascending"));
    this.show();
  }

  chosen() {
    const rows = this.rows.filter((row) => this.keep(row, this.tools.elements));
    if (this.sorted === null) return rows;
    const { key } = this.columns[this.sorted];
    const sign = this.descending ? -1 : 1;
    const order = (a, b) => (typeof a === "string" ? a.localeCompare(b) : a - b);
    const missing = (value) => value === null || value === undefined;
    return rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return missing(x) || missing(y) ? missing(x) - missing(y) : sign * order(x, y);
    });
  }

  show() {
    const rows = this.chosen();
    this.body.replaceChildren(...rows.slice(0, this.shown).map((row) => this.row(row)));
    this.more.hidden = rows.length <= this.shown;
    this.status.textContent = `${Math.min(this.shown, rows.length)} of ${rows.length} shown, ${this.rows.length} in all`;
  }

  row(row) {
    const line = make("tr", { className: "row" }, ...this.columns.map((column) => column.cell(row)));
    const button = line.querySelector("button");
    if (!button) return line;
    let detail = null;
    const toggle = async () => {
      if (detail) {
        detail.remove();
        detail = null;
        button.setAttribute("aria-expanded", "false");
        button.focus();
        return;
      }
      button.setAttribute("aria-expanded", "true");
      const panel = make("div", { className: "panel", role: "group", "aria-label": `Tokens of ${button.textContent}` });
      detail = make("tr", { className: "detail" }, make("td", { colSpan: this.columns.length }, panel));
      line.after(detail);
      panel.addEventListener("keydown", (event) => { if (event.key === "Escape") toggle(); });
      try {
        await this.open(row, panel);
      } catch (error) {
        panel.textContent = "This browser cannot unpack the tokens (it has no DecompressionStream); use a newer one.";
        throw error;
      }
    };
    line.addEventListener("click", (event) => {
      if (event.target.closest("button") || !getSelection().isCollapsed) return;
      toggle();
    });
    button.addEventListener("click", toggle);
    return line;
  }
}

function opener(text, index) {
  const name = make("bdi", {}, text);
  if (index < 0) return make("td", { className: "text", title: "its tokens are not in this page" }, name);
  return make("td", { className: "text" }, make("button", { type: "button", className: "open", "aria-expanded": "false" }, name));
}

const text = (content) => make("td", { className: "text" }, make("bdi", {}, content));

// Traces

const chunks = [...document.querySelectorAll("script.chunk")];
const unpacked = new Map();

async function traceAt(index, size) {
  const number = Math.floor(index / size);
  if (!unpacked.has(number)) unpacked.set(number, unpack(chunks[number].textContent));
  return (await unpacked.get(number))[index % size];
}

function shade(share, value) {
  const step = Math.min(Math.floor(Math.abs(share) * (STEPS.length + 1)), STEPS.length);
  return step ? (value > 0 ? STEPS : STEPS_BELOW)[step - 1] : "";
}

// The tokens of a side by character group: a group's value is the mean of its tokens. The running mean is of rounded
// values, so it is shown with a digit less than they have.
function groupsOf(texts, sizes, values, reads, scale) {
  let at = 0;
  let sum = 0;
  let known = 0;
  return texts.map((content, index) => {
    const size = sizes ? sizes[index] : 1;
    const own = values.slice(at, at + size).map((v) => (v === null ? NaN : v / scale));
    for (const value of own) if (Number.isFinite(value)) { sum += value; known += 1; }
    const read = Object.keys(reads).filter((name) => reads[name] >= at && reads[name] < at + size);
    const group = { content, at, own, read, running: known ? sum / known : NaN };
    group.value = own.reduce((a, b) => a + b, 0) / size;
    at += size;
    return group;
  });
}

function aligned(runs, first, second) {
  const pairs = [];
  let a = 0;
  let b = 0;
  for (let i = 0; i < runs.length; i += 2) {
    for (let n = 0; n < runs[i + 1]; n += 1) {
      pairs.push([runs[i] === 2 ? null : first[a++], runs[i] === 1 ? null : second[b++]]);
    }
  }
  return pairs;
}

function tokenNode(group, side, alone, largest, names) {
  if (group === null) return make("span", { className: "tok" });
  const classes = ["tok", alone ? "alone" : "", group.read.length ? "read" : ""].filter(Boolean).join(" ");
  const node = make("span", { className: classes, tabIndex: -1 }, /^[\s]*$/.test(group.content) && group.content !== " " ? "·" : group.content);
  const ground = shade(group.value / largest, group.value);
  if (ground) { node.style.background = ground; node.style.color = "#000"; }
  if (group.read.length) node.append(make("span", { className: "tag" }, group.read.join(", ")));
  node.group = group;
  node.dataset.side = side;
  node.setAttribute("role", "img");
  node.setAttribute("aria-label", `${names[side]}, ${group.content}`);
  return node;
}

function told(group, side, names, decimals) {
  const values = group.own.map((v) => (Number.isFinite(v) ? signed(v, decimals) : "not finite")).join(", ");
  const place = group.own.length > 1 ? `#${group.at}–${group.at + group.own.length - 1}` : `#${group.at}`;
  const read = group.read.length ? `, read by ${group.read.join(", ")}` : "";
  return `${names[side]} ${place} “${group.content}”: value ${values}, running mean ${signed(group.running, Math.max(0, decimals - 1))}${read}`;
}

function tokensNode(pairs, names, largest, decimals) {
  const tip = make("p", { className: "tip", role: "status" }, "Point at a token, or move with the arrow keys, to see its value.");
  const flow = make("div", { className: "tokens", role: "group", "aria-label": `${names[0]} above, ${names[1]} below, token by token` });
  flow.append(make("span", { className: "which", "aria-hidden": "true" }, make("span", {}, names[0]), make("span", {}, names[1])));
  const rows = [[], []];
  for (const [a, b] of pairs) {
    const alone = a === null || b === null || a.content !== b.content;
    const nodes = [tokenNode(a, 0, alone, largest, names), tokenNode(b, 1, alone, largest, names)];
    flow.append(make("span", { className: "cell" }, ...nodes));
    nodes.forEach((node, side) => { if (node.group) rows[side].push(node); });
    if ([a, b].some((group) => group && group.content.includes("⏎"))) flow.append(make("span", { className: "end" }));
  }
  const firstNode = rows[0][0] || rows[1][0];
  if (firstNode) firstNode.tabIndex = 0;
  const show = (node) => { tip.textContent = told(node.group, Number(node.dataset.side), names, decimals); };
  flow.addEventListener("mouseover", (event) => { const node = event.target.closest(".tok"); if (node && node.group) show(node); });
  flow.addEventListener("focusin", (event) => {
    const node = event.target.closest(".tok");
    if (!node || !node.group) return;
    flow.querySelectorAll('[tabindex="0"]').forEach((other) => { other.tabIndex = -1; });
    node.tabIndex = 0;
    show(node);
  });
  flow.addEventListener("click", (event) => { const node = event.target.closest(".tok"); if (node && node.group) node.focus(); });
  flow.addEventListener("keydown", (event) => {
    const node = event.target.closest(".tok");
    if (!node) return;
    const side = Number(node.dataset.side);
    const place = rows[side].indexOf(node);
    const other = node.parentNode.children[1 - side];
    const next = {
      ArrowRight: rows[side][place + 1], ArrowLeft: rows[side][place - 1],
      Home: rows[side][0], End: rows[side][rows[side].length - 1],
      ArrowDown: side === 0 && other.group ? other : null, ArrowUp: side === 1 && other.group ? other : null,
    }[event.key];
    if (next) { event.preventDefault(); next.focus(); }
  });
  return [flow, tip];
}

// Both running means on one scale, and the tokens that a read-out takes alone.
function runningNode(sides, names, decimals) {
  const [width, height, left, right] = [640, 120, 58, 70];
  const all = sides.flatMap((groups) => groups.map((group) => group.running)).filter(Number.isFinite);
  if (!all.length) return null;
  const [low, high] = [Math.min(0, ...all), Math.max(0, ...all)];
  const long = Math.max(...sides.map((groups) => groups.length)) - 1 || 1;
  const x = (i) => left + (i / long) * (width - left - right);
  const y = (v) => 12 + (1 - (v - low) / (high - low || 1)) * (height - 24);
  const picture = draw("svg", { class: "running", viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `Running means: ${sides.map((g, i) => `${names[i]} ends at ${signed(g[g.length - 1].running, Math.max(0, decimals - 1))}`).join(", ")}` });
  picture.append(draw("line", { x1: left, x2: width - right, y1: y(0), y2: y(0), stroke: "currentColor", "stroke-opacity": 0.35 }));
  for (const value of new Set([low, 0, high])) {
    picture.append(draw("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, value === 0 ? "0" : signed(value, Math.min(decimals, 2))));
  }
  const ends = sides.map((groups) => y(groups[groups.length - 1].running));
  const apart = Math.abs(ends[0] - ends[1]) < 12 ? 6 : 0;
  sides.forEach((groups, side) => {
    const colour = side ? "var(--up)" : "var(--down)";
    const points = groups.map((group, i) => [group, i]).filter(([group]) => Number.isFinite(group.running));
    picture.append(draw("polyline", { fill: "none", stroke: colour, "stroke-width": 1.8, "stroke-dasharray": side ? "none" : "5 3",
      points: points.map(([group, i]) => `${x(i).toFixed(1)},${y(group.running).toFixed(1)}`).join(" ") }));
    for (const [group, i] of points) {
      if (group.read.length) picture.append(draw("circle", { cx: x(i), cy: y(group.running), r: 3.5, fill: colour }));
    }
    const shift = apart * (ends[side] > ends[1 - side] || (ends[side] === ends[1 - side] && side) ? 1 : -1);
    picture.append(draw("text", { x: x(groups.length - 1) + 7, y: ends[side] + 4 + shift, style: `fill:${colour}` }, names[side]));
  });
  return make("div", {}, make("p", { className: "soft" }, "Running mean, ● where a read-out reads one token"), picture);
}

function scoresNode(under, names, decimals) {
  const rows = Object.keys(under.scores[0]).map((name) =>
    make("tr", {}, make("th", { scope: "row" }, name), ...under.scores.map((scores) =>
      make("td", {}, scores[name] === null ? "not finite" : signed(scores[name], decimals)))));
  const head = make("tr", {}, make("th", { scope: "col" }, "read as"), ...names.map((name) => make("th", { scope: "col" }, name)));
  return make("table", {}, make("thead", {}, head), make("tbody", {}, ...rows));
}

async function showTrace(panel, indices, data, first = 0, brief = false) {
  const traces = await Promise.all(indices.map((index) => traceAt(index, data.chunk)));
  const state = { trace: 0, critic: first };
  const prompt = make("details", { open: traces[0].prompt.length < 300 }, make("summary", {}, "Prompt"), make("div", { className: "prompt" }, traces[0].prompt));
  const [tokens, rest] = [make("div"), make("div")];
  const choose = (label, options, name) => {
    if (options.length < 2) return null;
    const select = make("select", {}, ...options.map((option, index) => make("option", { value: index, selected: index === state[name] }, option)));
    select.addEventListener("input", () => { state[name] = Number(select.value); render(); });
    return make("label", {}, `${label} `, select);
  };
  const render = () => {
    const trace = traces[state.trace];
    const names = trace.edit === null ? ["student", "teacher"] : ["original", "edited"];
    const under = trace.under.find((entry) => entry.critic === state.critic) || trace.under[0];
    const source = trace.under.slice(0, trace.under.indexOf(under) + 1).reverse().find((entry) => entry.texts);
    const decimals = data.decimals[under.critic];
    const sides = [0, 1].map((side) =>
      groupsOf(source.texts[side], source.sizes[side], under.values[side], under.reads[side], 10 ** decimals));
    const largest = Math.max(...sides.flat().map((group) => Math.abs(group.value)).filter(Number.isFinite), 1e-12);
    const legend = document.getElementById("legend").content.cloneNode(true);
    legend.querySelector("output").textContent = largest.toFixed(Math.min(decimals, 2));
    const [flow, tip] = tokensNode(aligned(source.runs, ...sides), names, largest, decimals);
    const below = [runningNode(sides, names, decimals), scoresNode(under, names, decimals)].filter(Boolean);
    tokens.replaceChildren(...(brief ? [flow, tip] : [legend, flow, tip, ...below]));
    rest.replaceChildren(...(brief ? [legend, ...below] : []));
    const edit = flow.querySelector(".alone");
    if (brief && edit) flow.scrollTop = edit.offsetTop - flow.clientHeight / 2;
  };
  const label = (trace) => {
    if (trace.edit === null) return "student against teacher";
    const [family, position, , side] = data.edits[trace.edit];
    return `edit: ${family}, ${position} (${side})`;
  };
  const switches = [choose("Critic", data.critics, "critic"), choose("Compare", traces.map(label), "trace")].filter(Boolean);
  const chosen = make("div", { className: "switch" }, ...switches);
  if (brief) panel.append(tokens, make("details", {}, make("summary", {}, "prompt, running means, scores"), chosen, prompt, rest));
  else panel.append(prompt, chosen, tokens);
  render();
}

// The page

const VERDICTS = { t: ["teacher", "✓"], s: ["student", "✗"] };

function pairCell(value, word) {
  if (value === null) return make("td", { className: "number" }, "–");
  const [kind, mark] = word === "t" && VERDICTS.t || word === "s" && VERDICTS.s || ["tie", "="];
  const cell = make("td", { className: `number ${kind}` }, `${mark} ${signed(value, 2)}`);
  cell.style.setProperty("--strength", `${Math.round(20 + 80 * Math.min(1, Math.abs(value)))}%`);
  return cell;
}

function fill(select, values) {
  for (const value of values) select.append(make("option", { value }, value === "" ? "(none)" : value));
}

function pairsSheet(data) {
  const name = ([critic, readOut]) => (data.critics.length > 1 ? `${critic} / ${readOut}` : readOut);
  const ofId = new Map();
  data.edits.forEach((row) => ofId.set(row[2], [...(ofId.get(row[2]) || []), row[12]]));
  const tools = document.getElementById("pairs-tools").elements;
  fill(tools.category, [...new Set(data.pairs.map((row) => row[1]))].filter(Boolean).sort());
  const apart = (letters) => letters.includes("t") && letters.includes("s");
  const tests = [["all", () => true]];
  if (data.series.length > data.critics.length) {
    tests.push(["read-outs disagree", (row) => data.critics.some((critic) => apart(row[5].filter((_, i) => data.series[i][0] === critic)))]);
  }
  if (data.critics.length > 1) {
    const readOuts = [...new Set(data.series.map((s) => s[1]))];
    tests.push(["critics disagree", (row) => readOuts.some((r) => apart(row[5].filter((_, i) => data.series[i][1] === r)))]);
  }
  tests.push(["every one is wrong", (row) => row[5].every((word) => word === "s")]);
  data.series.forEach((s, i) => tests.push([`wrong: ${name(s)}`, (row) => row[5][i] === "s"]));
  tests.forEach(([label], index) => tools.verdicts.append(make("option", { value: index }, label)));
  const columns = [
    { title: "pair", key: (row) => row[0], cell: (row) => opener(row[0], row[6]) },
    { title: "category", key: (row) => row[1], cell: (row) => text(row[1]) },
    { title: "prompt", key: (row) => row[2], cell: (row) => text(row[2]) },
    ...data.series.map((s, i) => ({ title: name(s), number: true, key: (row) => row[4][i], cell: (row) => pairCell(row[4][i], row[5][i]) })),
    { title: "dispute", number: true, key: (row) => row[3], cell: (row) => make("td", { className: "number" }, row[3] === null ? "–" : row[3].toFixed(2)) },
  ];
  const keep = (row, { text: search, category, verdicts }) =>
    row.slice(0, 3).join("\n").toLowerCase().includes(search.value.toLowerCase())
    && (category.value === "" || row[1] === category.value)
    && tests[Number(verdicts.value)][1](row);
  return new Sheet("pairs", columns, data.pairs, keep, (row, panel) =>
    showTrace(panel, [row[6], ...(ofId.get(row[0]) || []).filter((index) => index >= 0)], data));
}

function editsSheet(data) {
  const name = ([critic, readOut]) => (data.critics.length > 1 ? `${critic} / ${readOut}` : readOut);
  fill(document.getElementById("edits-tools").elements.category, [...new Set(data.edits.map((row) => row[4]))].sort());
  const edit = (row) => make("td", { className: "text" }, make("bdi", {}, row[5], row[6] ? make("del", {}, row[6]) : "", row[7] ? make("ins", {}, row[7]) : "", row[8]));
  const cell = (value, same) => make("td", { className: "number" }, value === null ? "–" : same ? "=" : signed(value, 2));
  const columns = [
    { title: "family", key: (row) => row[0], cell: (row) => opener(`${row[0]}, ${row[1]}`, row[12]) },
    { title: "kind", key: (row) => row[4], cell: (row) => text(row[4]) },
    { title: "pair", key: (row) => row[2], cell: (row) => text(`${row[2]} (${row[3]})`) },
    { title: "edit", key: (row) => row[7], cell: edit },
    ...data.series.map((s, i) => ({ title: name(s), number: true, key: (row) => row[10][i], cell: (row) => cell(row[10][i], row[11][i] === "t") })),
  ];
  const keep = (row, { text: search, category }) =>
    row.slice(0, 9).join("\n").toLowerCase().includes(search.value.toLowerCase())
    && (category.value === "" || row[4] === category.value);
  return new Sheet("edits", columns, data.edits, keep, (row, panel) => showTrace(panel, [row[12]], data));
}

// The edits that show the answer, open at once.
async function showExamples(data) {
  const place = document.getElementById("examples");
  const critic = data.series[data.under][0];
  for (const row of data.examples.map((edit) => data.edits[edit]).filter((of) => of[12] >= 0)) {
    const told = data.series.flatMap(([of, readOut], i) => (of === critic && row[10][i] !== null ? [`${readOut} ${signed(row[10][i], 2)}`] : []));
    const panel = make("article", { className: "example" }, make("h3", {}, make("bdi", {}, row[2]),
      make("small", {}, ` ${row[0]}, ${row[3]}: ${told.join(", ")} SD`)));
    place.append(panel);
    await showTrace(panel, [row[12]], data, data.critics.indexOf(critic), true);
  }
}

function switchPictures() {
  for (const figure of document.querySelectorAll("figure")) {
    const choice = figure.querySelector(".choice");
    if (!choice) continue;
    const charts = [...figure.querySelectorAll(".chart")];
    const select = choice.querySelector("select");
    const show = () => charts.forEach((chart, index) => { chart.hidden = index !== select.selectedIndex; });
    select.addEventListener("input", show);
    choice.hidden = false;
    show();
  }
}

// A link to what a fold holds opens it, and paper has every fold open.
function unfold() {
  const reveal = () => {
    const target = location.hash && document.getElementById(location.hash.slice(1));
    const folded = target && target.closest("details.fold");
    if (folded) { folded.open = true; target.scrollIntoView(); }
  };
  addEventListener("hashchange", reveal);
  for (const link of document.querySelectorAll('a[href^="#"]')) link.addEventListener("click", () => setTimeout(reveal));
  reveal();
  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    for (const folded of opened) folded.open = true;
  });
  addEventListener("afterprint", () => { for (const folded of opened) folded.open = false; });
}

unpack(document.getElementById("data").textContent).then(async (data) => {
  pairsSheet(data);
  editsSheet(data);
  switchPictures();
  await showExamples(data);
  unfold();
  document.documentElement.dataset.ready = "true";
}, (error) => {
  document.getElementById("pairs-status").textContent =
    "This browser cannot unpack the tables (it has no DecompressionStream); use a newer one.";
  throw error;
});
