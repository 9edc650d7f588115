// The page: what is searched with, how, and what was found.

import { ask, Problem } from "./api.js";
import { HitList, small } from "./hits.js";
import { Refinements } from "./refine.js";
import { RegionBox } from "./region.js";
import { Why } from "./why.js";

const LOOK_SECONDS = 4;
const MOST_REMEMBERED = 50;
const find = (id) => document.getElementById(id);
const many = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

let info = null;
let query = null; // {kind: "file", file} | {kind: "id", id, name} | {kind: "text", text}
let answered = null; // the generation that the hits are of
let running = null;
let address = null; // of the picture that is shown, if the page made it

const region = new RegionBox(find("frame"), find("box"), (box) => {
  const kept = past.get(history.state?.key);
  if (kept) kept.box = box;
  showRegion();
  later();
});
const refinements = new Refinements(find("refined"), () => {
  // A region is a part of one picture.
  if (refinements.ids(false).length) region.set(null, { tell: false });
  const kept = past.get(history.state?.key);
  if (kept) Object.assign(kept, { refined: refinements.chosen, box: region.region });
  showRegion();
  search();
});
const why = new Why(find("why"));
const list = new HitList(find("hits"), find("full"), {
  why: explain,
  search: (hit) => start({ kind: "id", id: hit.id, name: hit.shown }),
  refine: (hit, avoided) => refine({ id: hit.id, name: hit.shown, avoided }),
  root: () => info?.root,
  explains: hasPicture,
});

// What is searched with.

function hasPicture() {
  return query !== null && query.kind !== "text";
}

function start(next, { push = true, box = null, refined = [] } = {}) {
  query = next;
  if (push) remember();
  if (next.kind === "id" && push) {
    // The hit that was clicked on is gone in a moment.
    scrollTo({ top: 0 });
    find("answer").focus({ preventScroll: true });
  }
  showQuery();
  region.set(box, { tell: false });
  refinements.set(refined);
  showRegion();
  search();
}

function refine(one) {
  // The hit that was clicked on may be gone in a moment.
  find("answer").focus({ preventScroll: true });
  refinements.add(one);
}

// Browsers keep no files in their history, so this page keeps them as long as it is open.
const past = new Map();

function remember() {
  const key = `${Date.now()}-${past.size}`;
  past.set(key, { query, box: null, refined: [] });
  if (past.size > MOST_REMEMBERED) past.delete(past.keys().next().value);
  const lasting = query.kind === "file" ? null : query;
  history.pushState({ key, query: lasting }, "", query.kind === "id" ? `?id=${query.id}` : location.pathname);
}

function recall(state) {
  const kept = past.get(state?.key) ?? { query: state?.query ?? null, box: null, refined: [] };
  if (kept.query) start(kept.query, { push: false, box: kept.box, refined: kept.refined });
  else if (query) forget();
}

function forget() {
  running?.abort();
  query = answered = null;
  region.set(null, { tell: false });
  refinements.set([]);
  showRegion();
  for (const id of ["query", "region", "error", "news"]) find(id).hidden = true;
  find("hint").hidden = false;
  find("choose").textContent = "Choose a picture";
  find("status").classList.remove("busy");
  find("status").textContent = "";
  list.show([]);
}

function showQuery() {
  const isPicture = hasPicture();
  find("query").hidden = !isPicture;
  find("hint").hidden = isPicture;
  find("choose").textContent = isPicture ? "Choose another" : "Choose a picture";
  if (address) URL.revokeObjectURL(address);
  address = null;
  const picture = find("picture");
  picture.onerror = null;
  find("frame").hidden = false;
  if (!isPicture) {
    find("text").value = query.text;
    return;
  }
  find("text").value = "";
  const name = query.kind === "file" ? query.file.name || "pasted picture" : query.name;
  find("query-name").textContent = name;
  picture.alt = `Searched with: ${name}`;
  if (query.kind === "id") {
    picture.onerror = unseen;
    picture.src = small(query.id, 1024);
    return;
  }
  const file = query.file;
  picture.onerror = () => preview(file);
  picture.src = address = URL.createObjectURL(file);
}

// Not every format is one that browsers know.
async function preview(file) {
  const picture = find("picture");
  picture.onerror = null;
  const form = new FormData();
  form.append("image", file);
  try {
    const made = await ask("api/preview", { form, as: "blob" });
    if (query.file === file) picture.src = address = URL.createObjectURL(made);
  } catch {
    if (query.file === file) unseen();
  }
}

// There is nothing to show, and nothing to draw a box on; the search says what is wrong, if anything is.
function unseen() {
  find("picture").onerror = null;
  find("picture").removeAttribute("src");
  for (const id of ["frame", "region", "region-hint"]) find(id).hidden = true;
}

function showRegion() {
  const has = region.region !== null;
  find("region").textContent = has ? "Whole picture" : "Draw a region";
  const isPart = hasPicture() && !find("frame").hidden && refinements.ids(false).length === 0;
  find("region").hidden = !isPart;
  find("region-hint").hidden = has || !isPart;
  region.allowTouch(has);
}

function take(files) {
  const file = [...files].find((one) => one.type.startsWith("image/") || /\.(heic|heif|avif|tiff?)$/i.test(one.name));
  if (file) start({ kind: "file", file });
  else if (files.length) fail("this is no picture; drop a picture's file");
}

// The search.

let waiting = 0;
function later() {
  clearTimeout(waiting);
  waiting = setTimeout(search, 250);
}

function options() {
  const typed = find("folder").value;
  const folder = info?.shown_folders.includes(typed) ? typed : typed.trim();
  const [since, until] = [find("since").value, find("until").value];
  return {
    k: Math.min(Math.max(Number(find("k").value) || 24, 1), 1000),
    ...(folder && { folder }),
    ...(since && { since }),
    ...(until && { until }),
    ...(hasPicture() && { exclude_self: find("exclude").checked }),
    ...(hasPicture() && region.text() && { region: region.text() }),
  };
}

function request() {
  if (query.kind === "text") return { json: { text: query.text, ...options() } };
  const [also, avoided] = [refinements.ids(false), refinements.ids(true)];
  if (query.kind === "id") {
    const wanted = also.length ? { all: [query.id, ...also] } : { id: query.id };
    return { json: { ...wanted, ...(avoided.length && { not: avoided }), ...options() } };
  }
  const form = new FormData();
  form.append("image", query.file, query.file.name || "pasted picture");
  if (also.length) form.append("all", true);
  for (const id of also) form.append("id", id);
  for (const id of avoided) form.append("not", id);
  for (const [name, value] of Object.entries(options())) form.append(name, value);
  return { form };
}

async function search() {
  clearTimeout(waiting);
  if (!query) return;
  running?.abort();
  const mine = (running = new AbortController());
  const begun = performance.now();
  const working = work(`Comparing with ${many(info?.images ?? 0, "image")}`);
  find("hits").classList.add("old");
  find("error").hidden = true;
  find("news").hidden = true;
  try {
    const answer = await ask("api/search", { ...request(), signal: mine.signal, tell: working.tell });
    working.end();
    answered = answer.generation;
    show(answer.results[0], (performance.now() - begun) / 1000);
  } catch (error) {
    working.end();
    if (mine !== running || error.name === "AbortError") return;
    list.show([]);
    fail(error.message);
  } finally {
    if (mine === running) find("hits").classList.remove("old");
  }
}

// Says what is going on, and for how long already.
function work(what) {
  const status = find("status");
  const begun = performance.now();
  let now = what;
  const say = () => {
    const seconds = Math.floor((performance.now() - begun) / 1000);
    status.textContent = `${now} …${seconds >= 2 ? ` ${seconds} s` : ""}`;
  };
  status.classList.add("busy");
  say();
  const timer = setInterval(say, 1000);
  return {
    tell: (other) => {
      now = other ?? what;
      say();
    },
    end: () => {
      clearInterval(timer);
      if (running?.signal.aborted) return;
      status.classList.remove("busy");
      status.textContent = "";
    },
  };
}

function show(result, seconds) {
  list.show(result.hits);
  const { stats } = result;
  const parts = [
    `${many(result.hits.length, "hit")} in ${seconds.toFixed(seconds < 10 ? 2 : 0)} s`,
    result.region ? "searched with the region" : null,
    `${many(stats.database, "image")} searched`,
    stats.solved || stats.pruned ? `${stats.solved} matched, ${stats.pruned} ruled out` : null,
    ...result.notes,
  ];
  find("status").textContent = parts.filter(Boolean).join(" · ");
}

function fail(message) {
  find("status").textContent = "";
  find("error").textContent = message;
  find("error").hidden = false;
}

async function explain(hit) {
  const asked = query;
  const box = region.text();
  const load = () => {
    if (asked.kind === "id") {
      const fields = new URLSearchParams({ query: asked.id, id: hit.id, ...(box && { region: box }) });
      return ask(`api/explain?${fields}`);
    }
    const form = new FormData();
    form.append("image", asked.file, asked.file.name || "pasted picture");
    form.append("id", hit.id);
    if (box) form.append("region", box);
    return ask("api/explain", { form });
  };
  const own = asked.kind === "id" ? small(asked.id, 1024) : find("picture").src;
  try {
    // The score of several pictures is a mean; what is drawn is that with the one that is searched with.
    const title = refinements.chosen.length ? `Hit ${hit.rank} beside the picture searched with` : `Why hit ${hit.rank}`;
    await why.open(title, load, [own, small(hit.id, 1024)]);
  } catch (error) {
    why.fail(error instanceof Problem ? error.message : String(error));
  }
}

// What is served.

async function look() {
  let next;
  try {
    next = await ask("api/info");
  } catch (error) {
    if (!info) fail(error.message);
    return;
  }
  const isFirst = info === null;
  const changed = !isFirst && next.generation !== info.generation;
  info = next;
  find("about").textContent = `${many(info.images, "image")} · ${info.model} · ${info.root}`;
  find("sentence").hidden = !info.text;
  if (isFirst || changed)
    find("folders").replaceChildren(...info.shown_folders.map((value) => Object.assign(document.createElement("option"), { value })));
  if (answered !== null && answered !== info.generation && query) {
    find("news").querySelector("span").textContent = `The index has changed, it holds ${many(info.images, "image")} now.`;
    find("news").hidden = false;
  }
  if (isFirst && !query) find("status").textContent = info.images ? "" : "The index is empty; semret index PATH fills it.";
}

async function watch() {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_SECONDS * 1000));
    if (!document.hidden) await look();
  }
}

// Hands and keys.

find("choose").addEventListener("click", () => find("file").click());
find("file").addEventListener("change", (event) => {
  take(event.target.files);
  event.target.value = "";
});
find("region").addEventListener("click", toggleRegion);
find("news").querySelector("button").addEventListener("click", search);
find("sentence").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = find("text").value.trim();
  if (text) start({ kind: "text", text });
});
find("options").addEventListener("submit", (event) => event.preventDefault());
find("options").addEventListener("change", later);

function toggleRegion() {
  if (find("region").hidden) return;
  if (region.region) region.set(null);
  else region.start();
}

document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", (event) => event.relatedTarget === null && document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  take(event.dataTransfer.files);
});
document.addEventListener("paste", (event) => {
  if (event.clipboardData.files.length) take(event.clipboardData.files);
});
document.addEventListener("keydown", (event) => {
  const isTyping = event.target.closest("input:not([type=checkbox]), dialog") !== null;
  if (event.key === "r" && !isTyping && !event.ctrlKey && !event.metaKey) toggleRegion();
});
addEventListener("popstate", (event) => recall(event.state));

await look();
const wanted = new URLSearchParams(location.search).get("id");
if (history.state?.query) recall(history.state);
else if (/^\d{1,15}$/.test(wanted ?? "")) start({ kind: "id", id: Number(wanted), name: `image ${wanted}` }, { push: false });
watch();
