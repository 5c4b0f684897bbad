// The page: a file is read while one watches, looked through, cut up and taken away.

import { ask, events, form, save } from "./api.js";
import * as decoder from "./decoder.js";
import { Cutting, cutout, paint } from "./masks.js";
import { Stage } from "./stage.js";
import { Text } from "./text.js";

const $ = (id) => document.getElementById(id);
const CLICK = "Click what is to be cut out. Right click or Alt takes away, dragging makes a box.";
const TAP = "Tap what is to be cut out. Above is said what a tap does.";
const touch = matchMedia("(hover: none)");
const SHOWABLE = /^image\/(png|jpeg|webp|gif|bmp)$/;

const state = { file: null, pages: new Map(), page: null, chosen: false, job: null, abort: null, looking: null, segmenter: false };
const stage = new Stage($("stage"), { tool: () => $("tool").value, light, point, click, frame });
const text = new Text($("text"), light);

// Reading

async function open(file) {
  stop();
  forget();
  Object.assign(state, { file, pages: new Map(), page: null, chosen: false, abort: new AbortController() });
  $("hint").hidden = true;
  $("stage").hidden = true;
  $("text").replaceChildren();
  $("thumbnails").replaceChildren();
  $("thumbnails").hidden = true;
  for (const name of ["cutting", "located"]) $(name).textContent = "";
  tell("");
  document.body.dataset.state = "reading";
  refresh();
  busy(`${file.name}: waiting for its turn`);
  const { signal } = state.abort;
  try {
    await read(file, { prompt: $("prompt").value, pages: $("pages").value, previews: "true", keep: "true" }, signal, follow);
    busy("");
  } catch (error) {
    if (!signal.aborted) { busy(""); tell(error.message); }
    else if (state.abort?.signal === signal) busy("Cancelled; what was read before stays.", true);
  }
  refresh();
  if (state.abort?.signal !== signal) return; // another file is being read by now
  state.abort = null;
  $("hint").hidden = state.pages.size > 0;
  if (state.page && !state.chosen) choose(whole()[0].number);
  document.body.dataset.state = "over";
}

async function read(file, fields, signal, each) {
  const headers = { Accept: "text/event-stream" };
  const answer = await ask("v1/read", { method: "POST", body: form({ file, ...fields }), headers, signal });
  for await (const [name, data] of events(answer)) {
    if (name === "error") throw new Error(data.error.message);
    each(name, data);
  }
}

function follow(name, data) {
  if (name === "done") { state.job = data.job ?? null; return; }
  const number = data.page ?? data.number;
  if (name === "page") add(data);
  const page = state.pages.get(number) ?? add({ page: number, size: data.size ?? [1, 1] });
  if (name === "text") page.raw += data.text;
  if (name === "region") page.regions[data.place] = data;
  if (name === "restart") Object.assign(page, { raw: "", regions: [] });
  if (name === "result") {
    Object.assign(page, { regions: data.regions, raw: data.raw, markdown: data.markdown, status: data.status, error: data.error, result: data });
  }
  if (name === "page" && !state.chosen) choose(number);
  else if (state.page === page && name !== "text") show();
  const done = [...state.pages.values()].filter((each) => each.result).length;
  const all = page.of > 1 ? ` of ${page.of}` : "";
  const far = page.raw ? plural(page.raw.length, "character") : "the model looks at it";
  busy(`Page ${number}${all}: ${far}` + (done ? `, ${plural(done, "page")} done` : ""));
  if (page.of > 1) Object.assign($("progress"), { max: page.of, value: done });
  else $("progress").removeAttribute("value");
}

function add({ page: number, size, preview, of }) {
  const whole = SHOWABLE.test(state.file.type);
  const url = whole ? URL.createObjectURL(state.file) : preview;
  const picture = whole ? Promise.resolve(state.file) : preview ? fetch(preview).then((answer) => answer.blob()) : Promise.reject(new Error("This page has no picture."));
  picture.catch(() => {});
  const page = { number, size, url, preview, picture, regions: [], located: [], raw: "", markdown: "", lit: null, whole, of };
  page.cutting = new Cutting(page, shown);
  state.pages.set(number, page);
  thumbnail(page);
  return page;
}

function stop() {
  state.abort?.abort();
  state.looking?.abort();
}

const plural = (count, word) => `${count.toLocaleString()} ${word}${count === 1 ? "" : "s"}`;

// The server need not keep what nobody will ask for
function forget() {
  if (state.job) ask(`v1/jobs/${state.job}`, { method: "DELETE", keepalive: true }).catch(() => {});
  state.job = null;
}

// Showing

function thumbnail(page) {
  const button = document.createElement("button");
  const image = Object.assign(document.createElement("img"), { alt: "" });
  if (page.preview || page.url) image.src = page.preview ?? page.url;
  button.append(image, `Page ${page.number}`);
  button.type = "button";
  button.dataset.number = page.number;
  button.addEventListener("click", () => { state.chosen = true; choose(page.number); });
  $("thumbnails").append(button);
  $("thumbnails").hidden = state.pages.size < 2;
}

function choose(number) {
  state.page = state.pages.get(number);
  for (const button of $("thumbnails").children) button.setAttribute("aria-current", String(Number(button.dataset.number) === number));
  show();
}

function show() {
  const { page } = state;
  if (!page) return;
  if (page.url) stage.show(page);
  text.show(page, $("find").value);
  shown(page.cutting);
  count();
  refresh();
}

function light(place) {
  if (!state.page || state.page.lit === place) return;
  state.page.lit = place;
  stage.draw();
  text.light(place, $("stage").matches(":hover, :focus"));
}

function busy(message, over = false) {
  $("status").textContent = message;
  $("work").hidden = !message;
  $("progress").hidden = $("cancel").hidden = over;
}

function tell(message) {
  $("notice").textContent = message;
  $("notice").hidden = !message;
}

function refresh() {
  const read = [...state.pages.values()].some((page) => page.markdown);
  $("copy").disabled = !read;
  $("download").disabled = !read;
  const cutting = state.page?.cutting;
  $("undo").disabled = !cutting?.history.length;
  $("clear").disabled = !cutting || cutting.empty;
  $("cutout").disabled = !cutting?.mask;
  $("look").disabled = !state.page;
}

// Cutting out

const attempt = (work) => Promise.resolve(work).catch((error) => { $("cutting").textContent = error.message; });

function point(place) {
  if (!decoder.here() || !state.page) return;
  state.page.cutting.pointAt($("tool").value === "add" ? place : null).catch(() => {}); // a click tells what is wrong
}

function click(x, y, label) {
  if (state.segmenter) attempt(state.page.cutting.point(x, y, label));
  else $("cutting").textContent = "This server has no segmenter, so nothing can be cut out.";
}

function frame(box) {
  if (state.segmenter) attempt(state.page.cutting.frame(box));
  else click();
}

function undo() { if (state.page) attempt(state.page.cutting.undo()); }

function clear() { if (state.page) attempt(state.page.cutting.clear()); }

function shown(cutting) {
  if (cutting !== state.page?.cutting) return;
  paint($("masks"), cutting.mask ?? cutting.preview);
  $("masks").classList.toggle("preview", !cutting.mask);
  stage.draw();
  const { mask } = cutting;
  if (cutting.empty) $("cutting").textContent = state.segmenter ? (touch.matches ? TAP : CLICK) : "";
  else $("cutting").textContent = mask ? `${plural(mask.area, "pixel")}, estimated IoU ${mask.score.toFixed(2)}, ${cutting.milliseconds} ms${cutting.here ? " in this browser" : ""}` : "Cutting out…";
  refresh();
}

// Words

function count() {
  const words = $("find").value;
  $("found").textContent = words ? `${text.matches.length} on this page` : "";
}

async function locate(words) {
  const { page } = state;
  if (!page || !words.trim()) return;
  state.looking?.abort();
  const { signal } = (state.looking = new AbortController());
  page.located = [];
  $("located").textContent = "Looking…";
  if (!state.abort) busy(`Looking for “${words}”`);
  try {
    await look(page, words, signal);
    $("located").textContent = page.located.length ? `The model points at ${plural(page.located.length, "place")}` : "The model points at nothing";
  } catch (error) {
    $("located").textContent = "";
    if (!signal.aborted) throw error;
  } finally {
    if (!state.abort) busy("");
    stage.draw();
  }
}

async function look(page, words, signal) {
  const fields = { prompt: `locate:${words}`, pages: state.file.type === "application/pdf" || state.pages.size > 1 ? String(page.number) : "" };
  await read(state.file, fields, signal, (name, data) => {
    if (name === "result") page.located = data.regions.flatMap((region) => region.boxes);
  });
}

const whole = () => [...state.pages.values()].sort((one, other) => one.number - other.number);

async function download(format) {
  const stem = state.file.name.replace(/\.[^.]*$/, "") || "document";
  if (state.job) {
    const answer = await ask(`v1/jobs/${state.job}/result?format=${format}`);
    const name = /filename\*=UTF-8''([^;]+)/.exec(answer.headers.get("content-disposition") ?? "")?.[1];
    return save(await answer.blob(), name ? decodeURIComponent(name) : `${stem}.${format}`);
  }
  const pages = whole().filter((page) => page.result); // cancelled: what there is, as far as it can be had here
  if (format === "md") return save(new Blob([pages.map((page) => page.markdown).join("\n\n")], { type: "text/markdown" }), `${stem}.md`);
  if (format === "json") return save(new Blob([JSON.stringify({ source: state.file.name, pages: pages.map((page) => page.result) }, null, 2)]), `${stem}.json`);
  throw new Error("This reading was not finished: only md and json can be had of it.");
}

// What a person does

$("file").addEventListener("change", () => { if ($("file").files[0]) open($("file").files[0]); $("file").value = ""; });
$("sample").addEventListener("click", async () => {
  const picture = await (await fetch("page/sample.png")).blob();
  open(new File([picture], "sample.png", { type: "image/png" }));
});
$("cancel").addEventListener("click", stop);
$("tool").addEventListener("change", () => $("stage").classList.toggle("boxing", $("tool").value === "box"));
$("undo").addEventListener("click", undo);
$("clear").addEventListener("click", clear);
$("cutout").addEventListener("click", () => attempt(cutout(state.page, state.page.cutting.mask).then((picture) => save(picture, `cutout_${state.page.number}.png`))));
$("find").addEventListener("input", () => { text.mark($("find").value); count(); });
$("find").addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); light(text.step(event.shiftKey ? -1 : 1)); } });
$("locate").addEventListener("submit", (event) => { event.preventDefault(); locate($("words").value).catch((error) => tell(error.message)); });
$("copy").addEventListener("click", async () => {
  await navigator.clipboard.writeText(whole().map((page) => page.markdown).join("\n\n")).catch(() => tell("The browser does not let this page copy."));
});
$("download").addEventListener("change", async () => {
  const format = $("download").value;
  $("download").value = "";
  if (format) await download(format).catch((error) => tell(error.message));
});

let width = 100;
const zoom = (by) => { width = Math.min(Math.max(width * by, 25), 600); $("stage").style.width = `${width}%`; };
$("larger").addEventListener("click", () => zoom(1.25));
$("smaller").addEventListener("click", () => zoom(0.8));

const dark = matchMedia("(prefers-color-scheme: dark)");
document.documentElement.dataset.theme = localStorage.getItem("folioscope-theme") ?? "";
$("theme").addEventListener("click", () => {
  const now = document.documentElement.dataset.theme || (dark.matches ? "dark" : "light");
  document.documentElement.dataset.theme = now === "dark" ? "light" : "dark";
  localStorage.setItem("folioscope-theme", document.documentElement.dataset.theme);
});

addEventListener("dragover", (event) => { event.preventDefault(); $("drop").classList.add("over"); });
addEventListener("dragleave", () => $("drop").classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  $("drop").classList.remove("over");
  if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
});
addEventListener("paste", (event) => { if (event.clipboardData.files[0]) open(event.clipboardData.files[0]); });
addEventListener("keydown", (event) => {
  if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  else if (event.key === "Escape") clear();
  else if (event.key === "PageDown" || event.key === "PageUp") turn(event.key === "PageDown" ? 1 : -1);
  else return;
  event.preventDefault();
});
addEventListener("pagehide", forget);

function turn(by) {
  const pages = whole();
  const next = pages[pages.indexOf(state.page) + by];
  if (next) { state.chosen = true; choose(next.number); }
}

try {
  const ready = await (await ask("ready")).json();
  state.segmenter = ready.segmenter;
  if (ready.browser_decoder) decoder.start();
  $("download").append(...ready.formats.map((name) => new Option(name, name)));
} catch (error) {
  tell(error.message);
}
