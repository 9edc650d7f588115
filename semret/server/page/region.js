// The region on the picture of the query: drawn with a pointer, or moved with keys. In shares of the picture, 0 to 1.

const LEAST = 0.02;
const STEP = 0.02;
const within = (value, least, most) => Math.min(Math.max(value, least), most);

export class RegionBox {
  // `changed(region)` is called when the region is another one, null for none.
  constructor(frame, box, changed) {
    this.frame = frame;
    this.box = box;
    this.changed = changed;
    this.region = null;
    this.touch = false;
    frame.addEventListener("pointerdown", (event) => this.begin(event));
    box.addEventListener("keydown", (event) => this.key(event));
  }

  set(region, { tell = true } = {}) {
    const before = this.text();
    this.region = region;
    this.box.hidden = region === null;
    if (region) {
      const [x, y, w, h] = region.map((share) => `${100 * share}%`);
      Object.assign(this.box.style, { left: x, top: y, width: w, height: h });
    }
    if (tell && this.text() !== before) this.changed(region);
  }

  // As the server takes it.
  text() {
    return this.region && this.region.map((share) => `${(100 * share).toFixed(2)}%`).join(",");
  }

  // A first region in the middle, for keys.
  start() {
    this.set([0.3, 0.3, 0.4, 0.4]);
    this.box.focus();
  }

  allowTouch(allowed) {
    this.touch = allowed;
    this.frame.classList.toggle("touch", allowed);
  }

  begin(event) {
    if (event.button !== 0 || (event.pointerType === "touch" && !this.touch)) return;
    event.preventDefault();
    const frame = this.frame.getBoundingClientRect();
    const at = (moved) => [
      within((moved.clientX - frame.left) / frame.width, 0, 1),
      within((moved.clientY - frame.top) / frame.height, 0, 1),
    ];
    const [fromX, fromY] = at(event);
    const old = event.target === this.box || this.box.contains(event.target) ? this.region : null;
    let drawn = null;
    const move = (moved) => {
      const [x, y] = at(moved);
      drawn = old
        ? [within(old[0] + x - fromX, 0, 1 - old[2]), within(old[1] + y - fromY, 0, 1 - old[3]), old[2], old[3]]
        : [Math.min(x, fromX), Math.min(y, fromY), Math.abs(x - fromX), Math.abs(y - fromY)];
      this.place(drawn);
    };
    const end = () => {
      this.frame.removeEventListener("pointermove", move);
      if (drawn && drawn[2] >= LEAST && drawn[3] >= LEAST) this.set(drawn);
      else if (!old) this.set(null);
      else this.set(old);
    };
    this.frame.setPointerCapture(event.pointerId);
    this.frame.addEventListener("pointermove", move);
    this.frame.addEventListener("pointerup", end, { once: true });
    this.frame.addEventListener("pointercancel", end, { once: true });
  }

  place(region) {
    const before = this.region;
    this.set(region, { tell: false });
    this.region = before;
  }

  key(event) {
    const turn = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (event.key === "Delete" || event.key === "Backspace") {
      event.preventDefault();
      this.set(null);
      return;
    }
    if (!turn || !this.region) return;
    event.preventDefault();
    event.stopPropagation();
    const [x, y, w, h] = this.region;
    const [dx, dy] = turn.map((one) => one * STEP);
    this.set(
      event.shiftKey
        ? [x, y, within(w + dx, LEAST, 1 - x), within(h + dy, LEAST, 1 - y)]
        : [within(x + dx, 0, 1 - w), within(y + dy, 0, 1 - h), w, h],
    );
  }
}
