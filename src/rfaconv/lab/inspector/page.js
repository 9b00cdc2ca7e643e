"use strict";
(() => {
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("values").textContent);
const texts = JSON.parse($("texts").textContent);
const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const sides = { right: [0, 1], down: [1, 0], left: [0, -1], up: [-1, 0],
  downright: [1, 1], upright: [-1, 1], downleft: [1, -1], upleft: [-1, -1] };
const modes = ["mean", "strongest", "channel"];
const overlays = ["none", "gates", "cam"];

for (const row of data.layers) for (const layer of row) {
  layer.mean.bytes = bytes(layer.mean.data);
  layer.gates.bytes = bytes(layer.gates.data);
  layer.weight.values = new Float32Array(bytes(layer.weight.data).buffer);
  layer.taps = layer.kernel[0] * layer.kernel[1];
}
data.heat.bytes = bytes(data.heat.data);

// page.html?lang=zh opens in Chinese, page.html?lang=en in English; else the browser decides
const asked = new URLSearchParams(location.search).get("lang");
const preferred = (navigator.language || "en").startsWith("zh") ? "zh" : "en";
const state = { layer: 0, compare: 1, mode: "mean", channel: 0, output: 0, neighbour: "right",
  overlay: "none", language: Object.hasOwn(texts, asked) ? asked : preferred,
  y: 0.5, x: 0.5, pinned: false };
const say = (key, values = {}) =>
  texts[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);

// the number behind a byte: every channel has a least value and a step of its own
const number = (packed, size, channel, index) =>
  packed.low[channel] + packed.step[channel] * packed.bytes[channel * size + index];
const areaOf = (layer) => layer.output[0] * layer.output[1];
function gate(layer, source, tap, i, j) {
  const area = areaOf(layer), index = tap * area + i * layer.output[1] + j;
  return source === "mean" ? number(layer.mean, layer.taps * area, 0, index)
    : number(layer.gates, layer.taps * area, source, index);
}
function windowGates(layer, source, i, j) {
  return Array.from({ length: layer.taps }, (_, tap) => gate(layer, source, tap, i, j));
}
function strongest(layer, i, j) {
  let best = 0, spread = -1;
  for (let c = 0; c < layer.kept.length; c++) {
    const values = windowGates(layer, c, i, j);
    const own = Math.max(...values) - Math.min(...values);
    if (own > spread) { spread = own; best = c; }
  }
  return best;
}
// which channel the page shows of a layer: a position among the kept ones, or the mean
function sourceOf(layer, i, j) {
  if (state.mode === "mean") return "mean";
  if (state.mode === "strongest") return strongest(layer, i, j);
  return Math.min(state.channel, layer.kept.length - 1);
}
const pixel = (layer, axis, window, tap) =>
  window * layer.stride[axis] - layer.low[axis] + tap * layer.dilation[axis];
function pixelsOf(layer, i, j) {
  const result = [];
  for (let tap = 0; tap < layer.taps; tap++) {
    const r = pixel(layer, 0, i, Math.floor(tap / layer.kernel[1]));
    const c = pixel(layer, 1, j, tap % layer.kernel[1]);
    const inside = r >= 0 && c >= 0 && r < layer.input[0] && c < layer.input[1];
    result.push(inside ? r * layer.input[1] + c : -1);
  }
  return result;
}
function windowAt(layer) {
  return [state.y, state.x].map((part, axis) => {
    const at = Math.min(layer.input[axis] - 1, Math.floor(part * layer.input[axis]));
    const half = (layer.dilation[axis] * (layer.kernel[axis] - 1)) / 2;
    const found = Math.round((at + layer.low[axis] - half) / layer.stride[axis]);
    return Math.max(0, Math.min(layer.output[axis] - 1, found));
  });
}
function moveTo(layer, i, j) {
  [i, j].forEach((window, axis) => {
    const half = (layer.dilation[axis] * (layer.kernel[axis] - 1)) / 2;
    const at = window * layer.stride[axis] - layer.low[axis] + half + 0.5;
    state[axis ? "x" : "y"] = Math.max(0, Math.min(0.99999, at / layer.input[axis]));
  });
}
function neighbourOf(layer, i, j) {
  const [di, dj] = sides[state.neighbour];
  const [a, b] = [i + di, j + dj];
  return a < 0 || b < 0 || a >= layer.output[0] || b >= layer.output[1] ? null : [a, b];
}

const blend = (from, to, part) => from.map((v, c) => Math.round(v + (to[c] - v) * part));
function along(anchors, part) {
  const at = Math.max(0, Math.min(1, part)) * (anchors.length - 1);
  const low = Math.min(anchors.length - 2, Math.floor(at));
  return blend(anchors[low], anchors[low + 1], at - low);
}
const BLUES = [[247, 251, 255], [158, 202, 225], [49, 130, 189], [8, 48, 107]];
const DIVERGING = [[5, 48, 97], [67, 147, 195], [247, 247, 247], [214, 96, 77], [103, 0, 31]];
const HEAT = [[0, 0, 4], [87, 16, 110], [188, 55, 84], [249, 142, 9], [252, 255, 164]];
const css = (rgb) => `rgb(${rgb.join(",")})`;
const inkOn = ([r, g, b]) => (0.299 * r + 0.587 * g + 0.114 * b > 140 ? "#111" : "#fff");

// least and largest gate of what is shown, over the whole layer: colours can be compared
function rangeOf(layer, source) {
  const packed = source === "mean" ? layer.mean : layer.gates;
  const channel = source === "mean" ? 0 : source;
  return [packed.low[channel], packed.low[channel] + 255 * packed.step[channel]];
}
function table(values, columns, colour, marks, outside) {
  const grid = document.createElement("div");
  grid.className = "grid";
  grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
  grid.style.fontSize = columns <= 3 ? ".9rem" : `${Math.max(0.5, 2.6 / columns)}rem`;
  values.forEach((value, index) => {
    const cell = document.createElement("span"), rgb = colour(value);
    cell.textContent = Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(columns <= 5 ? 3 : 2);
    cell.dataset.value = value;
    cell.style.background = css(rgb);
    cell.style.color = inkOn(rgb);
    if (marks && marks[index]) cell.classList.add("shared");
    if (outside && outside[index]) cell.classList.add("outside");
    grid.append(cell);
  });
  return grid;
}
function block(className, title, note, content) {
  const div = document.createElement("div"), head = document.createElement("h3");
  div.className = className;
  head.textContent = title;
  div.append(head, content);
  if (note) {
    const line = document.createElement("p");
    line.className = "soft";
    line.textContent = note;
    div.append(line);
  }
  return div;
}
const percent = (part) => `${(100 * part).toFixed(part > 0 && part < 0.1 ? 1 : 0)}%`;

function kernelOf(layer, source, i, j) {
  const channel = source === "mean" ? strongest(layer, i, j) : source;
  const output = Math.min(state.output, layer.weight.outputs.length - 1);
  const start = (output * layer.kept.length + channel) * layer.taps;
  const gates = windowGates(layer, channel, i, j);
  return { channel: layer.kept[channel], output: layer.weight.outputs[output],
    values: gates.map((value, tap) => value * layer.weight.values[start + tap]) };
}
function showLayer(article, layer) {
  article.replaceChildren();
  const [i, j] = windowAt(layer), source = sourceOf(layer, i, j);
  const title = document.createElement("h2");
  title.textContent = `${layer.operator} · ${layer.name}`;
  const row = document.createElement("div");
  row.className = "row";
  article.append(title, row);
  const [low, high] = rangeOf(layer, source);
  const colour = (v) => along(BLUES, (v - low) / Math.max(high - low, 1e-30));
  const here = windowGates(layer, source, i, j), seen = pixelsOf(layer, i, j);
  const beside = neighbourOf(layer, i, j);
  const there = beside && windowGates(layer, source, ...beside);
  const seenThere = beside && pixelsOf(layer, ...beside);
  const shared = seen.map((at) => at >= 0 && !!beside && seenThere.includes(at));
  const outside = seen.map((at) => at < 0);
  const note = state.mode === "strongest" ? say("strongestIs", { c: layer.kept[source] }) : "";
  row.append(block("gates", say("window"), note, table(here, layer.kernel[1], colour, shared, outside)));
  const line = document.createElement("p");
  line.className = "shared-line";
  if (beside) {
    const marks = seenThere.map((at) => at >= 0 && seen.includes(at));
    row.append(block("neighbour", say("neighbourGates"), say(state.neighbour),
      table(there, layer.kernel[1], colour, marks, seenThere.map((at) => at < 0))));
    let count = 0, equal = 0, gap = 0;
    seen.forEach((at, tap) => {
      const other = at < 0 ? -1 : seenThere.indexOf(at);
      if (other < 0) return;
      count++;
      equal += Math.abs(here[tap] - there[other]) < 1e-9 ? 1 : 0;
      gap += Math.abs(here[tap] - there[other]);
    });
    const mean = here.reduce((a, b) => a + Math.abs(b), 0) / here.length;
    line.textContent = (count ? say("shared", { n: count, e: equal, d: percent(gap / count / Math.max(mean, 1e-30)) })
      : say("sharedNone")) + " " + say("whole", { p: percent(layer.sharing) });
    line.dataset.equal = equal;
    line.dataset.count = count;
  } else line.textContent = say("edge");
  const kernel = kernelOf(layer, source, i, j);
  const reach = Math.max(...kernel.values.map(Math.abs), 1e-30);
  row.append(block("kernel", say("kernel"), say("kernelOf", { c: kernel.channel, o: kernel.output }),
    table(kernel.values, layer.kernel[1], (v) => along(DIVERGING, v / reach / 2 + 0.5))));
  article.append(line);
}

const canvas = $("canvas"), pen = canvas.getContext("2d"), picture = new Image();
const zoom = Math.max(1, Math.round(640 / Math.max(...data.size)));
canvas.width = data.size[1] * zoom;
canvas.height = data.size[0] * zoom;
function paint(high, wide, colourAt) {
  const small = document.createElement("canvas");
  small.width = wide;
  small.height = high;
  const brush = small.getContext("2d"), area = brush.createImageData(wide, high);
  for (let at = 0; at < high * wide; at++) area.data.set([...colourAt(at), 165], 4 * at);
  brush.putImageData(area, 0, 0);
  pen.drawImage(small, 0, 0, canvas.width, canvas.height);
}
const maps = new Map();
function pixelMap(layer) {
  if (maps.has(layer)) return maps.get(layer);
  const [high, wide] = layer.input, sum = new Float64Array(high * wide), count = new Uint32Array(high * wide);
  for (let i = 0; i < layer.output[0]; i++) for (let j = 0; j < layer.output[1]; j++)
    pixelsOf(layer, i, j).forEach((at, tap) => { if (at >= 0) { sum[at] += gate(layer, "mean", tap, i, j); count[at]++; } });
  let total = 0, seen = 0;
  for (let at = 0; at < sum.length; at++) if (count[at]) { sum[at] /= count[at]; total += sum[at]; seen++; }
  const mean = total / Math.max(seen, 1) || 1;
  const values = Array.from(sum, (v, at) => (count[at] ? v / mean : 1));
  const sorted = values.map((v) => Math.abs(v - 1)).sort((a, b) => a - b);
  const found = { values, reach: Math.max(sorted[Math.floor(0.99 * (sorted.length - 1))], 0.005) };
  maps.set(layer, found);
  return found;
}
function outline(layer, i, j, colour, dashed) {
  const sizes = [0, 1].map((axis) => {
    const first = pixel(layer, axis, axis ? j : i, 0);
    const last = pixel(layer, axis, axis ? j : i, layer.kernel[axis] - 1) + 1;
    const scale = (axis ? canvas.width : canvas.height) / layer.input[axis];
    return [first * scale, (last - first) * scale];
  });
  pen.setLineDash(dashed ? [8, 6] : []);
  for (const [width, stroke] of [[6, "rgba(255,255,255,.8)"], [3, colour]]) {
    pen.lineWidth = width;
    pen.strokeStyle = stroke;
    pen.strokeRect(sizes[1][0], sizes[0][0], sizes[1][1], sizes[0][1]);
  }
  pen.setLineDash([]);
}
function showImage(layer) {
  pen.imageSmoothingEnabled = false;
  pen.filter = "none";
  pen.drawImage(picture, 0, 0, canvas.width, canvas.height);
  const [low, bar, high] = [$("scaleLow"), $("scaleBar"), $("scaleHigh")];
  const scale = (anchors, first, last) => {
    bar.style.background = `linear-gradient(90deg, ${anchors.map(css).join(", ")})`;
    low.textContent = first;
    high.textContent = last;
  };
  if (state.overlay === "gates") {
    const { values, reach } = pixelMap(layer);
    paint(...layer.input, (at) => along(DIVERGING, (values[at] - 1) / reach / 2 + 0.5));
    scale(DIVERGING, (1 - reach).toFixed(3), `${(1 + reach).toFixed(3)} (${say("scaleGates")})`);
  } else if (state.overlay === "cam") {
    const [rows, columns] = data.heat.size;
    paint(rows, columns, (at) => along(HEAT, number(data.heat, rows * columns, 0, at)));
    scale(HEAT, "0", `1 (${say("scaleCam")})`);
  } else {
    bar.style.background = "none";
    low.textContent = high.textContent = "";
  }
  const [i, j] = windowAt(layer), beside = neighbourOf(layer, i, j);
  if (beside) outline(layer, ...beside, "#1864ab", true);
  outline(layer, i, j, "#d9480f", false);
}

function options(select, entries, chosen) {
  select.replaceChildren(...entries.map(([value, text]) => new Option(text, value)));
  select.value = String(chosen);
}
function showControls() {
  document.documentElement.lang = state.language === "zh" ? "zh-CN" : "en";
  document.querySelectorAll("[data-text]").forEach((node) => { node.textContent = say(node.dataset.text); });
  $("language").textContent = say("other");
  canvas.setAttribute("aria-label", say("canvas"));
  const row = data.layers[state.layer], layer = row[0];
  options($("layer"), data.layers.map((r, n) => [n, `${r[0].name} (${r[0].operator})`]), state.layer);
  options($("channel"), layer.kept.map((c, n) => [n, `${c} / ${layer.channels}`]), Math.min(state.channel, layer.kept.length - 1));
  options($("output"), layer.weight.outputs.map((o, n) => [n, o]), Math.min(state.output, layer.weight.outputs.length - 1));
  options($("neighbour"), Object.keys(sides).map((side) => [side, say(side)]), state.neighbour);
  options($("compare"), row.slice(1).map((l, n) => [n + 1, l.operator]), Math.min(state.compare, row.length - 1));
  $("channel").disabled = state.mode !== "channel";
  $("compare").parentElement.hidden = row.length < 2;
  $("overlay").value = state.overlay;
  $("mode").value = state.mode;
  const keys = [["← ↑ ↓ →", "keyArrows"], ["N", "keyNeighbour"], ["L", "keyLayer"], ["M", "keyMode"],
    ["[ ]", "keyChannel"], ["O", "keyOverlay"], ["C", "keyCompare"], ["Esc", "keyEscape"]];
  $("keys").replaceChildren(...keys.map(([key, text]) => {
    const item = document.createElement("li"), cap = document.createElement("kbd");
    cap.textContent = key;
    item.append(cap, ` ${say(text)}`);
    return item;
  }));
  $("said").textContent = [data.said && say("found", { s: data.said }), data.target && say("camOf", { c: data.target })]
    .filter(Boolean).join(" ");
}
function show() {
  const row = data.layers[state.layer], layer = row[0], [i, j] = windowAt(layer);
  showImage(layer);
  const edge = (axis, tap) => pixel(layer, axis, axis ? j : i, tap);
  $("place").textContent = say("place", { i, j, h: layer.output[0], w: layer.output[1],
    r0: edge(0, 0), r1: edge(0, layer.kernel[0] - 1), c0: edge(1, 0), c1: edge(1, layer.kernel[1] - 1) });
  $("place").dataset.window = `${i},${j}`;
  showLayer($("own"), layer);
  $("other").hidden = row.length < 2;
  if (row.length > 1) showLayer($("other"), row[Math.min(state.compare, row.length - 1)]);
}
function refresh() { showControls(); show(); }

function follow(event) {
  const box = canvas.getBoundingClientRect();
  state.y = Math.max(0, Math.min(0.99999, (event.clientY - box.top) / box.height));
  state.x = Math.max(0, Math.min(0.99999, (event.clientX - box.left) / box.width));
  show();
}
canvas.addEventListener("pointerdown", (event) => { state.pinned = true; follow(event); });
canvas.addEventListener("pointermove", (event) => {
  // a finger drags; a mouse is followed until a click
  if (event.buttons || (event.pointerType === "mouse" && !state.pinned)) follow(event);
});
const next = (list, value, step = 1) => list[(list.indexOf(value) + step + list.length) % list.length];
const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (["SELECT", "SUMMARY", "BUTTON"].includes(event.target.tagName)) return;
  const layer = data.layers[state.layer][0], count = layer.kept.length;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in moves) {
    const [i, j] = windowAt(layer), [di, dj] = moves[key];
    moveTo(layer, Math.max(0, Math.min(layer.output[0] - 1, i + di)), Math.max(0, Math.min(layer.output[1] - 1, j + dj)));
    state.pinned = true;
  } else if (key === "n") state.neighbour = next(Object.keys(sides), state.neighbour);
  else if (key === "l") state.layer = (state.layer + 1) % data.layers.length;
  else if (key === "m") state.mode = next(modes, state.mode);
  else if (key === "]" || key === "[") {
    state.mode = "channel";
    state.channel = (Math.min(state.channel, count - 1) + (key === "]" ? 1 : count - 1)) % count;
  } else if (key === "o") state.overlay = next(overlays, state.overlay);
  else if (key === "c") state.compare = (state.compare % Math.max(1, data.layers[state.layer].length - 1)) + 1;
  else if (key === "Escape") state.pinned = false;
  else return;
  event.preventDefault();
  refresh();
});
for (const [id, read] of [["layer", Number], ["mode", String], ["channel", Number], ["output", Number],
  ["neighbour", String], ["compare", Number], ["overlay", String]])
  $(id).addEventListener("change", (event) => { state[id] = read(event.target.value); refresh(); });
$("language").addEventListener("click", () => { state.language = state.language === "en" ? "zh" : "en"; refresh(); });
picture.addEventListener("load", refresh);
picture.src = data.image;
})();
