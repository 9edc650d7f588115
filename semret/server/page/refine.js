// What the hits should be like beside the picture that is searched with, and what they should not be like.

import { element, small } from "./hits.js";

export class Refinements {
  // `changed()` is called when there are others.
  constructor(part, changed) {
    this.part = part;
    this.list = part.querySelector("ul");
    this.changed = changed;
    this.set([]);
  }

  // Each is {id, name, avoided}.
  set(chosen) {
    this.chosen = chosen;
    this.part.hidden = chosen.length === 0;
    this.list.replaceChildren(...chosen.map((one) => this.item(one)));
  }

  add(one) {
    this.set([...this.chosen.filter((other) => other.id !== one.id), one]);
    this.changed();
  }

  remove(one) {
    const place = this.chosen.indexOf(one);
    this.set(this.chosen.filter((other) => other !== one));
    // Whoever goes by keyboard goes on with the next.
    (this.list.querySelectorAll("button")[Math.min(place, this.chosen.length - 1)] ?? document.getElementById("answer")).focus();
    this.changed();
  }

  ids(avoided) {
    return this.chosen.filter((one) => one.avoided === avoided).map((one) => one.id);
  }

  item(one) {
    const how = one.avoided ? "Not like" : "Also like";
    const remove = element("button", { type: "button", textContent: "×" });
    remove.setAttribute("aria-label", `Remove: ${how.toLowerCase()} ${one.name}`);
    remove.addEventListener("click", () => this.remove(one));
    return element(
      "li",
      { className: one.avoided ? "avoided" : "" },
      element("img", { src: small(one.id, 160), alt: "" }),
      element("span", {}, element("strong", { textContent: how }), " ", element("span", { className: "path", textContent: one.name })),
      remove,
    );
  }
}
