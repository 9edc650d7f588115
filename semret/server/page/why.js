// Draws an explanation: two pictures, their patches, and lines between partners.

const SVG = "http://www.w3.org/2000/svg";
const DARKEST = 0.7;

const drawn = (name, attributes) => {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};
const per = (share) => `${(100 * share).toFixed(1)} %`;

export class Why {
  constructor(dialog) {
    this.dialog = dialog;
    this.find = (name) => document.getElementById(`why-${name}`);
    this.count = this.find("count");
    this.shade = this.find("shade");
    this.lines = this.find("lines");
    this.chosen = null;
    dialog.addEventListener("click", (event) => event.target.dataset?.do === "close" && dialog.close());
    this.count.addEventListener("input", () => this.join());
    this.shade.addEventListener("change", () => this.paint());
    new ResizeObserver(() => this.join()).observe(this.find("pictures"));
  }

  // `load()` gives the explanation, `pictures` the addresses of both pictures.
  async open(title, load, pictures) {
    this.find("title").textContent = title;
    this.find("body").hidden = true;
    this.find("status").textContent = "Comparing the two pictures …";
    this.explanation = null;
    this.dialog.showModal();
    const found = await load();
    if (!this.dialog.open) return;
    this.explanation = found;
    this.chosen = null;
    const total = found.pairs.length;
    this.find("status").textContent =
      `Score ${found.score.toFixed(4)}, the sum of ${total} ${total === 1 ? "pair" : "pairs"} of patches.`;
    this.count.max = Math.min(total, 144);
    this.layer("query", found.query, pictures[0]);
    this.layer("image", found.image, pictures[1]);
    this.list();
    this.find("body").hidden = false;
    this.paint();
    this.join();
  }

  fail(message) {
    this.find("status").textContent = message;
  }

  layer(side, picture, address) {
    const [width, height] = picture.size;
    const image = document.createElement("img");
    image.src = address;
    image.alt = side === "query" ? "The picture that was searched with" : "The picture that was found";
    image.width = width;
    image.height = height;
    const layer = drawn("svg", { viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" });
    const cells = new Map();
    let outline = `M0 0H${width}V${height}H0Z`;
    this.explanation.pairs.forEach((pair, place) => {
      const box = pair[`${side}_box`];
      if (!box || cells.has(pair[`${side}_cell`])) return;
      const [x, y, w, h] = box;
      const rect = drawn("rect", { x, y, width: w, height: h, "stroke-width": Math.max(width, height) / 160 });
      rect.dataset.pair = place;
      cells.set(pair[`${side}_cell`], rect);
      layer.append(rect);
      outline += `M${x} ${y}h${w}v${h}h${-w}Z`;
    });
    // Where no patch met another one, nothing was added.
    this[`${side}Rest`] = drawn("path", { d: outline, "fill-rule": "evenodd" });
    layer.prepend(this[`${side}Rest`]);
    layer.addEventListener("pointerover", (event) => this.choose(event.target.dataset?.pair));
    layer.addEventListener("click", (event) => this.choose(event.target.dataset?.pair));
    layer.addEventListener("pointerleave", () => this.choose(null));
    this.find(side).replaceChildren(image, layer);
    this.find(side).parentElement.querySelector("figcaption").textContent =
      (side === "query" ? "Searched with: " : "Found: ") + (picture.shown ?? picture.name ?? picture.path);
    image.addEventListener("load", () => this.join());
    this[side] = cells;
  }

  // What adds little is dark.
  paint() {
    const found = this.explanation;
    if (!found) return;
    const sums = { query: new Map(), image: new Map() };
    for (const pair of found.pairs)
      for (const side of ["query", "image"]) {
        const cell = pair[`${side}_cell`];
        sums[side].set(cell, (sums[side].get(cell) ?? 0) + pair.share);
      }
    for (const side of ["query", "image"]) {
      this[`${side}Rest`].style.fillOpacity = this.shade.checked ? DARKEST : 0;
      const most = Math.max(...sums[side].values(), 1e-12);
      for (const [cell, rect] of this[side]) {
        const bright = Math.min(Math.max(sums[side].get(cell) / most, 0), 1);
        rect.style.fillOpacity = this.shade.checked ? DARKEST * (1 - Math.sqrt(bright)) : 0;
      }
    }
  }

  list() {
    const columns = { query: this.explanation.query.grid[1], image: this.explanation.image.grid[1] };
    const spot = (side, cell) => `row ${Math.floor(cell / columns[side]) + 1}, column ${(cell % columns[side]) + 1}`;
    this.describe = (pair) =>
      `${per(pair.share / this.explanation.score)} of the score: ${spot("query", pair.query_cell)} met ${spot("image", pair.image_cell)}`;
    const short = (pair) =>
      `${per(pair.share / this.explanation.score)}: ${spot("query", pair.query_cell)} ↔ ${spot("image", pair.image_cell)}`;
    const items = this.explanation.pairs.slice(0, 20).map((pair, place) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = short(pair);
      for (const name of ["focus", "pointerenter"]) button.addEventListener(name, () => this.choose(place));
      const item = document.createElement("li");
      item.append(button);
      return item;
    });
    this.find("pairs").replaceChildren(...items);
  }

  choose(place) {
    this.chosen = place === undefined || place === null ? null : Number(place);
    for (const rect of this.dialog.querySelectorAll("rect.on")) rect.classList.remove("on");
    const pair = this.chosen === null ? null : this.explanation.pairs[this.chosen];
    if (pair) {
      this.query.get(pair.query_cell)?.classList.add("on");
      this.image.get(pair.image_cell)?.classList.add("on");
    }
    this.find("pair").textContent = pair ? this.describe(pair) : "";
    this.join();
  }

  join() {
    if (!this.explanation || this.find("body").hidden) return;
    const shown = Math.min(Number(this.count.value), this.explanation.pairs.length);
    this.find("shown").textContent = shown;
    const places = new Set(Array.from({ length: shown }, (_, place) => place));
    if (this.chosen !== null) {
      places.delete(this.chosen);
      places.add(this.chosen);
    }
    const frame = this.lines.getBoundingClientRect();
    const middle = (rect) => {
      const box = rect.getBoundingClientRect();
      return [box.left + box.width / 2 - frame.left, box.top + box.height / 2 - frame.top];
    };
    const made = [];
    for (const place of places) {
      const pair = this.explanation.pairs[place];
      const from = this.query.get(pair.query_cell);
      const to = this.image.get(pair.image_cell);
      if (!from || !to) continue;
      const [x1, y1] = middle(from);
      const [x2, y2] = middle(to);
      const on = place === this.chosen ? " on" : "";
      for (const kind of ["under", "over"]) made.push(drawn("line", { x1, y1, x2, y2, class: kind + on }));
    }
    this.lines.replaceChildren(...made);
    for (const rect of this.dialog.querySelectorAll("rect.mark")) rect.classList.remove("mark");
    for (const place of places) {
      const pair = this.explanation.pairs[place];
      this.query.get(pair.query_cell)?.classList.add("mark");
      this.image.get(pair.image_cell)?.classList.add("mark");
    }
  }
}
