// The list of hits, and one of them in full.

export const small = (id, edge) => `api/images/${id}/thumbnail?edge=${edge}`;

export const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

// The name of a file, and the folder it lies in: from the root of the index where it lies there. It is the end of a path
// that tells files apart, and long ones are cut at their end.
function named(shown, root) {
  const inside = root && shown.startsWith(`${root}/`) ? shown.slice(root.length + 1) : shown;
  const cut = inside.lastIndexOf("/") + 1;
  return { name: inside.slice(cut) || inside, folder: inside.slice(0, Math.max(cut - 1, 0)) };
}

export class HitList {
  // `does` has why(hit), search(hit), refine(hit, avoided), explains(): whether a picture is searched with, and root(): the
  // folder that paths are shown from.
  constructor(list, dialog, does) {
    this.list = list;
    this.dialog = dialog;
    this.does = does;
    this.hits = [];
    this.at = 0;
    list.addEventListener("keydown", (event) => this.key(event));
    dialog.addEventListener("click", (event) => this.act(event.target.dataset?.do));
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: "before", ArrowRight: "after", w: "why", s: "search" }[event.key];
      if (step && !event.ctrlKey && !event.metaKey) this.act(step);
    });
  }

  show(hits) {
    this.hits = hits;
    const best = Math.max(...hits.map((hit) => hit.score), 1e-9);
    this.list.replaceChildren(...hits.map((hit, place) => this.item(hit, place, best)));
  }

  item(hit, place, best) {
    const picture = element("img", { src: small(hit.id, 400), alt: "", loading: "lazy", decoding: "async" });
    const missing = element("span", { className: "missing", textContent: "cannot be shown any more", hidden: true });
    picture.addEventListener("error", () => {
      picture.className = "gone";
      missing.hidden = false;
    });
    const open = element("button", { type: "button", className: "open" }, picture, missing);
    open.setAttribute("aria-label", `Hit ${hit.rank}, ${hit.shown}`);
    open.addEventListener("click", () => this.open(place));
    const fill = element("div");
    fill.style.width = `${Math.max(0, (100 * hit.score) / best)}%`;
    const copies = hit.paths.length > 1 ? `+${hit.paths.length - 1} ${hit.paths.length > 2 ? "copies" : "copy"}` : "";
    const why = element("button", { type: "button", textContent: "Why?" });
    why.setAttribute("aria-label", `Why hit ${hit.rank} was found`);
    why.addEventListener("click", () => this.does.why(hit));
    why.hidden = !this.does.explains();
    const search = element("button", { type: "button", textContent: "Search" });
    search.setAttribute("aria-label", `Search with hit ${hit.rank}`);
    search.addEventListener("click", () => this.does.search(hit));
    const refine = ["Also like", "Not like"].map((how, avoided) => {
      const button = element("button", { type: "button", textContent: avoided ? "− Not" : "+ Also" });
      button.setAttribute("aria-label", `${how} hit ${hit.rank}`);
      button.title = avoided ? "Find pictures that are not like this one" : "Find pictures that are like this one, too";
      button.addEventListener("click", () => this.does.refine(hit, avoided === 1));
      button.hidden = !this.does.explains();
      return button;
    });
    const { name, folder } = named(hit.shown, this.does.root());
    return element(
      "li",
      {},
      open,
      element("p", { className: "score" }, element("strong", { textContent: hit.score.toFixed(3) }), copies),
      element("div", { className: "bar" }, fill),
      element("p", { className: "path", textContent: name, title: hit.shown }),
      element("p", { className: "path folder", textContent: folder, title: hit.shown, hidden: !folder }),
      element("div", { className: "row" }, why, search),
      element("div", { className: "row more" }, ...refine),
    );
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const items = [...this.list.children];
    const place = items.findIndex((item) => item.contains(document.activeElement));
    if (place < 0) return;
    if (event.key === "w") return void (this.does.explains() && this.does.why(this.hits[place]));
    if (event.key === "s") return void this.does.search(this.hits[place]);
    if (event.key === "+" || event.key === "-")
      return void (this.does.explains() && this.does.refine(this.hits[place], event.key === "-"));
    const top = items[0].offsetTop;
    const columns = items.findIndex((item) => item.offsetTop > top);
    const row = columns < 0 ? items.length : columns;
    const step = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -place, End: items.length - 1 - place }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    items[Math.min(Math.max(place + step, 0), items.length - 1)].querySelector(".open").focus();
  }

  open(place) {
    this.at = place;
    const hit = this.hits[place];
    const picture = document.getElementById("full-picture");
    // Not every format is one that browsers know.
    picture.onerror = () => {
      picture.onerror = null;
      picture.src = small(hit.id, 2048);
    };
    picture.src = `api/images/${hit.id}`;
    picture.alt = hit.shown;
    document.getElementById("full-name").textContent = `${hit.rank}. ${hit.shown} · score ${hit.score.toFixed(4)}`;
    const copies = document.getElementById("full-copies");
    copies.hidden = hit.paths.length < 2;
    copies.textContent = `Also at: ${hit.shown_copies.join(" · ")}`;
    document.getElementById("full-file").href = `api/images/${hit.id}`;
    for (const [name, isOff] of [["before", place === 0], ["after", place === this.hits.length - 1]])
      this.dialog.querySelector(`[data-do=${name}]`).disabled = isOff;
    this.dialog.querySelector("[data-do=why]").hidden = !this.does.explains();
    if (!this.dialog.open) this.dialog.showModal();
  }

  act(what) {
    const hit = this.hits[this.at];
    if (what === "before" && this.at > 0) this.open(this.at - 1);
    else if (what === "after" && this.at < this.hits.length - 1) this.open(this.at + 1);
    else if (what === "close") this.close();
    else if (what === "why" && this.does.explains()) {
      this.close();
      this.does.why(hit);
    } else if (what === "search") {
      this.close();
      this.does.search(hit);
    }
  }

  close() {
    this.dialog.close();
    this.list.children[this.at]?.querySelector(".open").focus();
  }
}
