// The page's picture with what lies on it: regions, prompts and the mask; and what a pointer or the keyboard does there.

const SVG = "http://www.w3.org/2000/svg";
const DRAG = 6; // pixels of the screen that make a box of a click
const TONES = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#e3730e", "#8c564b", "#17a08c", "#c5409b"];

const KNOWN = { text: "#1f77b4", title: "#d62728", sub_title: "#e3730e", table: "#2ca02c", image: "#9467bd", equation: "#8c564b" };

export const tone = (label) => KNOWN[label.toLowerCase()] ?? TONES[[...label.toLowerCase()].reduce((sum, letter) => (31 * sum + letter.charCodeAt(0)) >>> 0, 7) % TONES.length];

export class Stage {
  constructor(root, acts) {
    this.root = root;
    this.acts = acts; // tool(), light(place | null), point([x, y] | null), click(x, y, label), frame(box)
    this.image = root.querySelector("img");
    this.svg = root.querySelector("svg");
    this.cross = this.corner = null;
    this.listen();
  }

  show(page) {
    this.page = page;
    this.cross = this.corner = null;
    this.root.hidden = false;
    if (this.image.src !== page.url) this.image.src = page.url;
    this.image.alt = `Page ${page.number}`;
    this.svg.setAttribute("viewBox", `0 0 ${page.size[0]} ${page.size[1]}`);
    this.draw();
  }

  draw() {
    const { page } = this;
    if (!page) return;
    const parts = page.regions.flatMap((region, place) => region.boxes.map((box) => this.region(region.label, place, box)));
    parts.push(...page.located.map((box) => Object.assign(rect(box, "region located"))));
    const { points, labels, box } = page.cutting;
    if (box) parts.push(rect(box, "band"));
    points.forEach(([x, y], index) => parts.push(dot(x, y, this.pixels(6), labels[index] ? "point" : "point beside")));
    if (this.band) parts.push(rect(this.band, "band"));
    if (this.corner) parts.push(rect(spanned(this.corner, this.cross), "band"));
    if (this.cross) parts.push(...this.crossLines());
    this.svg.replaceChildren(...parts);
  }

  region(label, place, box) {
    const shape = rect(box, this.page.lit === place ? "region lit" : "region");
    shape.style.setProperty("--tone", tone(label));
    shape.dataset.place = place;
    return shape;
  }

  crossLines() {
    const [x, y] = this.cross;
    const arm = this.pixels(12);
    return [[x - arm, y, x + arm, y], [x, y - arm, x, y + arm]].map(([x1, y1, x2, y2]) => shape("line", { x1, y1, x2, y2, class: "cross" }));
  }

  pixels(screen) {
    return (screen * this.page.size[0]) / (this.root.clientWidth || 1);
  }

  place(event) {
    const frame = this.root.getBoundingClientRect();
    const inside = (value, size) => Math.min(Math.max(value, 0), size - 0.01);
    const [width, height] = this.page.size;
    return [inside(((event.clientX - frame.left) / frame.width) * width, width), inside(((event.clientY - frame.top) / frame.height) * height, height)];
  }

  under([x, y]) {
    const holds = ([x1, y1, x2, y2]) => x1 <= x && x < x2 && y1 <= y && y < y2;
    const found = this.page.regions.findIndex((region) => region.boxes.some(holds));
    return found < 0 ? null : found;
  }

  listen() {
    const { root } = this;
    root.addEventListener("contextmenu", (event) => event.preventDefault());
    root.addEventListener("pointerdown", (event) => {
      if (!this.page || (event.button !== 0 && event.button !== 2)) return;
      this.press = { event, at: this.place(event) };
      if (this.boxes(event)) root.setPointerCapture(event.pointerId);
    });
    root.addEventListener("pointermove", (event) => this.moved(event));
    root.addEventListener("pointerup", (event) => this.released(event));
    root.addEventListener("pointercancel", () => { this.press = this.band = null; });
    root.addEventListener("pointerleave", () => { this.acts.light(null); this.acts.point(null); });
    root.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(root);
  }

  // Fingers scroll, unless they have been told to draw
  boxes(event) {
    return event.pointerType === "mouse" || this.acts.tool() === "box";
  }

  moved(event) {
    if (!this.page) return;
    const at = this.place(event);
    if (this.press?.event.button === 0 && this.boxes(this.press.event) && far(event, this.press.event)) {
      this.band = spanned(this.press.at, at);
      this.acts.point(null);
      this.draw();
    } else if (!this.press) {
      this.acts.light(this.under(at));
      if (event.pointerType !== "touch") this.acts.point(at);
    }
  }

  released(event) {
    if (!this.press) return;
    const { band, press } = this;
    this.press = this.band = null;
    if (band) this.acts.frame(band);
    else if (!far(event, press.event)) this.acts.click(...press.at, this.label(event));
  }

  label(event) {
    return event.button === 2 || event.altKey || this.acts.tool() === "remove" ? 0 : 1;
  }

  // By keyboard: a point, or one corner of a box and then the other
  enter(event) {
    if (this.acts.tool() !== "box") this.acts.click(...this.cross, this.label(event));
    else if (!this.corner) this.corner = this.cross;
    else {
      const box = spanned(this.corner, this.cross);
      this.corner = null;
      if (box[0] < box[2] && box[1] < box[3]) this.acts.frame(box);
    }
    this.draw();
  }

  key(event) {
    const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if (!this.page) return;
    if (steps) {
      const [width, height] = this.page.size;
      const [x, y] = this.cross ?? [width / 2, height / 2];
      const far = this.pixels(event.shiftKey ? 40 : 8);
      this.cross = [Math.min(Math.max(x + far * steps[0], 0), width - 0.01), Math.min(Math.max(y + far * steps[1], 0), height - 0.01)];
      this.acts.light(this.under(this.cross));
      this.draw();
    } else if (event.key === "Enter" && this.cross) this.enter(event);
    else return;
    event.preventDefault();
  }
}

const far = (one, other) => Math.hypot(one.clientX - other.clientX, one.clientY - other.clientY) > DRAG;

const spanned = ([x1, y1], [x2, y2]) => [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];

const rect = ([x1, y1, x2, y2], kind) => shape("rect", { x: x1, y: y1, width: x2 - x1, height: y2 - y1, class: kind });

const dot = (cx, cy, r, kind) => shape("circle", { cx, cy, r, class: kind });

function shape(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
