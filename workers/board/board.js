// Asks for the data once a second and shows it. All text is set as text: nothing of a program is ever read as markup.
"use strict";

const INTERVAL_MS = 1000;
const DASHES = ["", "6 3", "2 3", "9 3 2 3", "4 4", "1 2", "12 4", "6 2 1 2"];
const SVG = "http://www.w3.org/2000/svg";
const query = new URLSearchParams(location.search);
const byId = (id) => document.getElementById(id);
let wanted = query.get("run") || query.get("var-run") || "";
let shown = {};

const theme = query.get("theme");
if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;

function element(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

function drawing(tag, attributes, text) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  if (text !== undefined) node.textContent = text;
  return node;
}

// Replaces what is shown only where it changed, so that an open source, a selection or the focus stays.
function show(id, value, build) {
  const key = JSON.stringify(value);
  if (shown[id] === key) return;
  shown[id] = key;
  byId(id).replaceChildren(...build(value));
}

const number = (value, digits) => value === null || value === undefined ? "–" : value.toFixed(digits);
const signed = (value) => value === null || value === undefined ? "–" : (value < 0 ? "−" : "+") + Math.abs(value).toFixed(2);
const none = (text) => [element("p", { class: "none" }, text)];
const pairs = (rows) => rows.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);

function bar(name, share, text) {
  const meter = element("meter", { min: 0, max: 1, value: Math.min(share, 1), "aria-label": `${name}: ${text}` });
  return element("div", { class: "bar" }, element("span", { class: "name" }, name), meter,
    element("span", { class: "value" }, text));
}

function figures(run) {
  const best = run.best ? `${signed(run.best.mean_return)} ± ${number(run.best.stderr, 2)}` : "none yet";
  return pairs([
    ["iteration", `${run.iteration} of ${run.iterations}`],
    ["programs", `${run.committed} of ${run.proposals}`],
    ["programs per second", number(run.programs_per_s, 1)],
    ["best in this search", best],
    ["LLM calls in flight", String(run.in_flight)],
    ["game", run.game], ["method", run.method], ["oracle", run.oracle], ["model", run.model],
    ["driver", `${run.host}, process ${run.pid}`],
  ]);
}

function ticks(low, high, count) {
  const raw = (high - low) / count, power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-6; at += step) found.push(Number(at.toPrecision(12)));
  return found;
}

function course(value) {
  const islands = Object.entries(value.islands), points = islands.flatMap(([, each]) => each);
  if (!points.length) return none("no program has been scored yet");
  const width = Math.max(300, byId("course").clientWidth), height = 300;  // so that a unit is a pixel
  const left = 64, right = 12, top = 10, bottom = 40;
  const xs = points.map((p) => p[0]), ys = points.flatMap((p) => p.slice(1)).filter((v) => v !== null);
  const x1 = Math.max(...xs, 1), pad = (Math.max(...ys) - Math.min(...ys)) * 0.06 || 1;
  const y0 = Math.min(...ys) - pad, y1 = Math.max(...ys) + pad;
  const x = (v) => left + (width - left - right) * v / x1, y = (v) => height - bottom - (height - top - bottom) * (v - y0) / (y1 - y0);
  const chart = drawing("svg", { viewBox: `0 0 ${width} ${height}`, role: "img",
    "aria-label": `best and mean return of each island over the programs of iteration ${value.iteration}` });
  for (const tick of ticks(y0, y1, 5)) {
    chart.append(drawing("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }),
      drawing("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick)));
  }
  for (const tick of ticks(0, x1, width < 600 ? 4 : 8).filter(Number.isInteger)) {
    chart.append(drawing("text", { x: x(tick), y: height - bottom + 18, "text-anchor": "middle" }, String(tick)));
  }
  chart.append(drawing("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, `programs of iteration ${value.iteration}`));
  const legend = element("ul", { class: "legend" });
  islands.forEach(([index, each]) => {
    const look = { class: `s${index % 8}`, "stroke-dasharray": DASHES[index % 8] };
    // A best holds until the next one is found: steps, not slopes.
    const path = each.flatMap(([px, py], k) => k ? [[x(px), y(each[k - 1][1])], [x(px), y(py)]] : [[x(px), y(py)]]);
    path.push([x(x1), path[path.length - 1][1]]);
    const means = each.filter((p) => p[2] !== null).map(([px, , mean]) => [x(px), y(mean)]);
    const joined = (line) => line.map((p) => p.map((v) => v.toFixed(1)).join(",")).join(" ");
    chart.append(drawing("polyline", { class: `mean s${index % 8}`, points: joined(means) }),
      drawing("polyline", { ...look, points: joined(path) }));
    const mark = drawing("svg", { viewBox: "0 0 28 10", "aria-hidden": "true" });
    mark.append(drawing("line", { ...look, x1: 0, x2: 28, y1: 5, y2: 5, "stroke-width": 2 }));
    legend.append(element("li", {}, mark, `island ${index}`));
  });
  legend.append(element("li", {}, "thick: best, thin: mean"));
  return [chart, legend];
}

function islands(rows) {
  return rows.map((i) => element("tr", {}, element("td", {}, String(i.index)), element("td", {}, String(i.programs)),
    element("td", {}, signed(i.best)), element("td", {}, signed(i.mean)), element("td", {}, String(i.epoch))));
}

function mixture(populations) {
  if (!populations.length) return none("none yet");
  return populations.flatMap((entries, population) => [
    ...(populations.length > 1 ? [element("p", { class: "none" }, `player ${population}`)] : []),
    ...entries.map((e) => bar(e.name, e.weight, e.weight.toFixed(3))),
  ]);
}

function budget({ spent, limits, shares }) {
  const usd = `${spent.usd.toFixed(4)} USD` + (spent.unpriced_calls ? ` and ${spent.unpriced_calls} calls of unknown price` : "");
  const amounts = pairs([["LLM calls", String(spent.llm_calls)], ["tokens in", String(spent.tokens_in)],
    ["tokens out", String(spent.tokens_out)], ["price", usd]]);
  const bars = Object.entries(shares).map(([name, share]) => bar(`of ${name} ${limits[name]}`, share, `${(100 * share).toFixed(1)} %`));
  return [element("dl", {}, ...amounts), ...(bars.length ? bars : none("no limit"))];
}

function winners(list) {
  if (!list.length) return none("none yet");
  const open = new Set([...byId("winners").querySelectorAll("details[open]")].map((d) => d.dataset.id));
  return list.map((w) => {
    const score = `${signed(w.mean_return)} ± ${number(w.stderr, 2)}${w.fresh ? " on fresh seeds" : " in its search"}`;
    const summary = element("summary", {}, `iteration ${w.iteration}: ${w.id.slice(0, 8)}, ${score}`);
    const source = element("pre", { tabindex: 0, "aria-label": `source of ${w.id.slice(0, 8)}` });
    source.textContent = w.source;
    const details = element("details", { "data-id": w.id }, summary, source);
    details.open = open.has(w.id);
    return details;
  });
}

function runs(list, chosen) {
  const options = list.map((r) => element("option", { value: r.run_id }, `${r.run_id} (${r.state})`));
  show("runs", list, () => options.length ? options : [element("option", { value: "" }, "none known here")]);
  if (document.activeElement !== byId("runs")) byId("runs").value = chosen;
}

function state(run) {
  const text = { gone: "its driver is gone: go on with --resume", ended: "ended", stopped: "stopped" }[run.state] || run.state;
  const late = run.age_s > 5 && !["ended", "stopped"].includes(run.state) ? `, seen ${Math.round(run.age_s)} s ago` : "";
  byId("state").textContent = text + late;
  byId("state").className = ["gone", "stopped", "unreachable"].includes(run.state) ? "warn" : "";
}

function display(data) {
  const run = data.run;
  runs(data.runs, run ? run.run_id : "");
  if (!run) {
    byId("state").textContent = "no run yet: csro run demo makes one";
    return;
  }
  state(run);
  if (run.phase === undefined) {
    byId("line").textContent = "nothing to show: its store is not running. csro report makes a page of a run that ended.";
    return;
  }
  byId("line").textContent = run.line;
  show("figures", [run.iteration, run.iterations, run.committed, run.proposals, run.programs_per_s, run.best, run.in_flight, run.pid],
    () => figures(run));
  show("course", { ...run.course, width: innerWidth }, course);
  show("islands", run.islands, islands);
  show("mixture", run.meta_strategy, mixture);
  const failures = Object.entries(run.failures).sort((a, b) => b[1] - a[1]);
  show("failures", failures, (rows) => rows.length ? pairs(rows.map(([k, n]) => [k, String(n)])) : [element("dt", {}, "none")]);
  show("budget", { spent: run.spent, limits: run.budget, shares: run.budget_shares }, budget);
  show("winners", run.winners, winners);
}

async function refresh() {
  try {
    const answer = await fetch(`/live.json?run=${encodeURIComponent(wanted)}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    display(await answer.json());
  } catch {
    byId("state").textContent = "the board does not answer; trying again";
    byId("state").className = "warn";
  }
  setTimeout(refresh, INTERVAL_MS);
}

byId("runs").addEventListener("change", (event) => { wanted = event.target.value; shown = { runs: shown.runs }; });
refresh();
